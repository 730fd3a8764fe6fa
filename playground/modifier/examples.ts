/** Modifiers to begin with. Which kind a source is, its function's name says. */
const score = (comment: string, body: string) =>
  `// ${comment}\nfn score_mod(
  score: f32, batch: u32, head: u32, query: u32, key: u32,
) -> f32 {\n${body}\n}\n`;
const mask = (comment: string, body: string) =>
  `// ${comment}\nfn mask_mod(
  batch: u32, head: u32, query: u32, key: u32,
) -> bool {\n${body}\n}\n`;

export const EXAMPLES: Readonly<Record<string, string>> = {
  'Nearer counts more': score(
    'Subtracts half of the distance from each score.',
    '  let distance = abs(i32(query) - i32(key));\n  return score - 0.5 * f32(distance);',
  ),
  'Every second key': mask(
    'Keys at an even distance, and the first.',
    '  return (query - key) % 2u == 0u || key == 0u;',
  ),
  Sharpen: score('Triples the scores, so that the largest takes nearly all.', '  return 3.0 * score;'),
  'Heads that differ': score(
    'Even heads keep their scores, odd heads prefer what they dislike.',
    '  if (head % 2u == 0u) {\n    return score;\n  }\n  return -score;',
  ),
  'A prefix for all': mask(
    'Everyone sees the first five tokens: switch Causal off.',
    '  let prefix = 5u;\n  return key < prefix || key <= query;',
  ),
};
