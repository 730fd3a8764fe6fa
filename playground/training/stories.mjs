/**
 * Small stories for a small model to learn from, written by a program, so that the text is this repository's own and there is
 * no end of it. They repeat what attention can find again: who owns what, its colour, whom a pronoun means, refrains,
 * and made-up words.
 */
const GIRLS = 'Anna Emma Lucy Mia Nora Rosa Sara Tess'.split(' ');
const BOYS = 'Ben Dan Finn Jack Leo Max Sam Tom'.split(' ');
const ANIMALS = 'bear bird cat cow dog duck fish fox frog hen horse mouse owl pig rabbit sheep'.split(' ');
const COLOURS = 'black blue brown green grey orange pink purple red white yellow'.split(' ');
const THINGS = 'apple ball bag bell boat book box cake car coat cup doll drum hat key kite lamp letter map shoe'.split(
  ' ',
);
const PLACES = (
  'in the garden, in the house, in the park, in the wood, under the tree, under the table, at the river, ' +
  'on the hill, on the mat, by the sea, near the old mill, behind the door'
).split(', ');
const TRAITS = 'brave clever funny happy hungry kind little old quick quiet sad small tired warm'.split(' ');
const VERBS = 'jumped ran sang sat slept swam walked danced'.split(' ');
const RELATIVES = 'mother father sister brother friend teacher'.split(' ');
const SOUNDS = 'la di do mi fa so ti ba'.split(' ');
const DAYS = ['One day', 'One morning', 'That night', 'The next day', 'Then', 'In the evening'];
const CONSONANTS = 'bdfgklmnprstvwz';
const VOWELS = 'aeiou';

/**
 * @param {() => number} random uniform in [0, 1)
 * @returns {string} one story, a line of plain ASCII that ends with a line break
 */
export function tellStory(random) {
  const below = (count) => Math.floor(random() * count);
  const pick = (list) => list[below(list.length)];
  const chance = (share) => random() < share;
  const several = (list, count) => {
    const rest = [...list];
    return Array.from({ length: count }, () => rest.splice(below(rest.length), 1)[0]);
  };
  const person = (isGirl, name) => ({
    name,
    he: isGirl ? 'she' : 'he',
    him: isGirl ? 'her' : 'him',
    his: isGirl ? 'her' : 'his',
  });
  const girl = person(true, pick(GIRLS));
  const boy = person(false, pick(BOYS));
  const [one, other] = chance(0.5) ? [girl, boy] : [boy, girl];
  const [animal, second] = several(ANIMALS, 2);
  const [colour, otherColour, thirdColour] = several(COLOURS, 3);
  const [thing, otherThing] = several(THINGS, 2);
  const [place, otherPlace] = several(PLACES, 2);
  const made = Array.from({ length: 1 + below(2) }, () => pick(CONSONANTS) + pick(VOWELS)).join('') + pick(CONSONANTS);

  const scenes = [
    () =>
      `${one.name} had ${a(colour)} ${thing}. ${other.name} had ${a(otherColour)} ${otherThing}. ` +
      `${other.name} liked the ${colour} ${thing}, and ${one.name} liked the ${otherColour} ${otherThing}. ` +
      `What colour was the ${thing}? The ${thing} was ${colour}.`,
    () =>
      `${pick(DAYS)} ${one.name} lost ${one.his} ${thing}. ${cap(one.he)} looked ${place}, but the ${thing} was not there. ` +
      `${cap(one.he)} looked ${otherPlace}, and there was the ${thing}! ${one.name} was happy.`,
    () => `The ${animal} ${pick(VERBS)} ${place} because it was ${pick(TRAITS)}.`,
    () =>
      `The ${animal} saw the ${second}. The ${second} saw the ${animal}. The ${animal} and the ${second} ${pick(VERBS)} ${place}.`,
    () =>
      `"Where is my ${thing}?" said ${one.name}. "Your ${thing} is ${place}," said ${other.name}. ` +
      `So ${one.name} went to look ${place}, and ${one.he} found ${one.his} ${thing}.`,
    () =>
      `${one.name} gave ${other.name} ${a(colour)} ${thing}. "Thank you, ${one.name}," said ${other.name}. ` +
      `Now ${other.name} had the ${colour} ${thing}.`,
    () => {
      const song = Array.from({ length: 3 + below(3) }, () => pick(SOUNDS)).join(' ');
      return `The ${animal} sang: ${song}. The ${second} sang it too: ${song}. They all sang: ${song}.`;
    },
    () =>
      `Once there was ${a(made)}. The ${made} was ${a(pick(TRAITS))} ${animal}. Nobody knew the ${made}, ` +
      `but ${one.name} liked the ${made}. "Hello, ${made}," said ${one.name}.`,
    () =>
      `${cap(a(colour))} ${animal}, ${a(otherColour)} ${second} and ${a(thirdColour)} ${thing} were ${place}. ` +
      `The ${animal} was ${colour}, the ${second} was ${otherColour} and the ${thing} was ${thirdColour}.`,
    () => {
      const relative = pick(RELATIVES);
      return (
        `${pick(DAYS)} ${one.name} met ${one.his} ${relative} ${place}. ${cap(one.his)} ${relative} was ${pick(TRAITS)}. ` +
        `${one.name} and ${one.his} ${relative} went home, and ${one.he} was ${pick(TRAITS)} too.`
      );
    },
    () =>
      `The ${thing} did not fit in the ${otherThing} because it was too big. ` +
      `So ${one.name} put the ${thing} ${place} and the ${otherThing} ${otherPlace}. The ${thing} was ${place}.`,
    () =>
      `${one.name} and ${other.name} ${pick(VERBS)} ${place}. ${one.name} was ${pick(TRAITS)}, but ${other.name} was not.`,
  ];
  const opening = chance(0.4) ? `Once upon a time there was a ${pick(TRAITS)} ${animal}. ` : '';
  const told = several(scenes, 1 + below(3)).map((scene) => scene());
  return `${opening}${told.join(' ')}${chance(0.3) ? ' The end.' : ''}\n`;
}

function a(word) {
  return `${/^[aeiou]/.test(word) ? 'an' : 'a'} ${word}`;
}

function cap(text) {
  return text[0].toUpperCase() + text.slice(1);
}
