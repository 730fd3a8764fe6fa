/**
 * Rewrites `var x: T;` inside WGSL functions as `var x: T = T();`, which means the same in WGSL. Dawn's compiler zeroes a
 * variable without an initialiser only once, not at each iteration of the loop around it, so it keeps its last value.
 */
export function initialiseVariables(source: string): string {
  let depth = 0;
  const token = /\/\/.*|\/\*[^]*?\*\/|[{}]|\bvar(?:\s*<\s*function\s*>)?\s+\w+\s*:\s*([^;={}]*[^;={}\s])\s*;/g;
  return source.replace(token, (text: string, type: string | undefined) => {
    if (text === '{') depth++;
    else if (text === '}') depth--;
    else if (depth > 0 && type !== undefined) return `${text.slice(0, -1).trimEnd()} = ${type}();`;
    return text;
  });
}
