/**
 * Shortens the WGSL that is shipped: comments, indentation and empty lines go, and every name that the shaders declare gets
 * a short one, the same in all files. No two names become one, so a kernel means what it meant. These names stay:
 *
 * - constants of a module, which a launch specialises (src/gpu/shader.ts);
 * - functions below a line `// replaceable`, and all words of the text that replaces them (src/kernels/modifiers.ts);
 * - functions of WGSL, also where a variable has the name of one;
 * - names that could be swizzles, the entry point, and whatever the shaders do not declare.
 *
 * The layouts that go with the text keep the names that launches use. (Names of a function's own that begin anew in each
 * function were tried: compressed, they save nothing.)
 */
const REPLACEABLE = '// replaceable';
const DIRECTIVE = /^(?:enable|requires|diagnostic)\b/;
const MODULE_CONSTANT = /^const (\w+): /;
const SWIZZLE = /^(?:[xyzw]{1,4}|[rgba]{1,4})$/;
/** A word, or an attribute with the name that it may hold: `@group(0) @builtin(workgroup_id) group`. */
const WORD = /(@(?:builtin|interpolate)\([^)]*\)|@\w+)|\b[A-Za-z_]\w*/g;

/**
 * @param files the text of every shader and part
 * @param kept further names that stay
 */
export function minifier(files: readonly string[], kept: Iterable<string>): (text: string) => string {
  const stripped = files.map(strip);
  const reserved = new Set([...kept, 'main', 'default']);
  const declared = new Set<string>();
  const callable = new Set<string>();
  for (const text of stripped) {
    for (const [, name] of text.matchAll(/\b(?:fn|struct|alias)\s+(\w+)/g)) callable.add(name);
  }
  for (const text of stripped) {
    for (const [, name] of text.matchAll(/\b(\w+)\(/g)) if (!callable.has(name)) reserved.add(name);
    for (const [, name] of text.matchAll(/^const (\w+): /gm)) reserved.add(name);
    for (const [, name] of text.matchAll(/^\/\/ replaceable\nfn (\w+)/gm)) reserved.add(name);
    for (const [, name] of text.matchAll(/\b(?:fn|let|var(?:<[^>]*>)?|struct|alias|const)\s+(\w+)/g))
      declared.add(name);
    for (const [, name] of text.matchAll(/\b(\w+)\s*:/g)) declared.add(name);
  }
  const uses = new Map<string, number>();
  const others = new Set(WGSL_WORDS);
  for (const word of stripped.flatMap(words)) {
    if (!declared.has(word) || reserved.has(word) || SWIZZLE.test(word)) others.add(word);
    else uses.set(word, (uses.get(word) ?? 0) + 1);
  }
  const names = shortNames(others);
  const renamed = new Map([...uses].sort((a, b) => b[1] - a[1]).map(([name]) => [name, names.next().value]));
  const rename = (line: string) => {
    if (line === REPLACEABLE || DIRECTIVE.test(line)) return line;
    return line.replace(WORD, (word, attribute) => (attribute ? word : (renamed.get(word) ?? word)));
  };
  return (text) =>
    strip(text)
      .split('\n')
      .map((line) => tighten(rename(line)))
      .join('\n');
}

/** Lines stay lines, because src/gpu/shader.ts finds constants, directives and the mark of replaceable functions by them. */
function strip(text: string): string {
  const lines = text.split(/\r?\n/).map((line) => {
    if (line === REPLACEABLE) return line;
    const bare = line.replace(/\/\/.*/, '').trim();
    // at the beginning of a line it would pass for one of the module
    return /^\s+const\b/.test(line) ? ` ${bare}` : bare;
  });
  return `${lines.filter((line) => line !== '').join('\n')}\n`;
}

/** Without spaces beside what needs none. Operators keep theirs: `a - -b`, `array<f32, 2> = c`. */
function tighten(line: string): string {
  if (line === REPLACEABLE || DIRECTIVE.test(line) || MODULE_CONSTANT.test(line)) return line;
  return line.replace(/ ?([{}();,:[\]]) ?/g, '$1');
}

function words(text: string): string[] {
  const lines = text.split('\n').filter((line) => line !== REPLACEABLE && !DIRECTIVE.test(line));
  return lines.flatMap((line) => [...line.matchAll(WORD)].flatMap(([word, attribute]) => (attribute ? [] : [word])));
}

const FIRST = Array.from('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ');
const REST = FIRST.concat(Array.from('0123456789'));
/** Reserved words of two letters. Longer ones of WGSL are words that the shaders use, or too long to be met. */
const WGSL_WORDS = ['as', 'do', 'fn', 'if', 'in', 'is', 'of', 'on', 'or'];

/** Names of one letter, then of two, and so on, that are none of these and no swizzle. */
function* shortNames(taken: ReadonlySet<string>): Generator<string, never> {
  let names = FIRST;
  for (;;) {
    for (const name of names) if (!taken.has(name) && !SWIZZLE.test(name)) yield name;
    names = names.flatMap((name) => REST.map((letter) => name + letter));
  }
}
