/** Most levels of objects and lists: far deeper than any file of a model, and far less than what recursion bears. */
export const MAX_DEPTH = 64;

/**
 * Parses JSON from a file.
 *
 * @throws SyntaxError for other text, and RangeError for values that nest deeper than `MAX_DEPTH`
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  let level = [value].filter(isNested);
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw new RangeError(`JSON must nest at most ${MAX_DEPTH} levels, got more`);
    level = level.flatMap((item) => Object.values(item).filter(isNested));
  }
  return value;
}

function isNested(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
