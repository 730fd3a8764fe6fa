/**
 * Where the library was called, for debugging: the innermost line of the stack outside of the library's folder, such as
 * `main (file:///app.js:3:9)`. In a bundle of one file no line is outside, and it is all of them.
 */
export function callSite(): string {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 100; // an op is deeper than the usual 10
  const { stack = '' } = new Error();
  Error.stackTraceLimit = stackTraceLimit;
  return callSiteIn(stack);
}

/** The same in a stack whose innermost function is in this folder. */
export function callSiteIn(stack: string): string {
  const lines = stack
    .split('\n')
    .filter((line) => /:\d+\)?$/.test(line))
    .map((line) => line.trim().replace(/^at (async )?/, ''));
  // this file is in the folder of the built package, or in src/tensor
  const own = folderOf(lines[0] ?? '').replace(/\/src\/tensor\/$/, '/src/');
  return lines.find((line) => !folderOf(line).startsWith(own)) ?? lines.slice(1).join(' < ');
}

/** The folder of a line's file, which stands after the function's name: `name (address)` in V8, `name@address` elsewhere. */
function folderOf(line: string): string {
  return line
    .replace(line.endsWith(')') ? /^.*? \(/ : /^.*?@(?=[a-z-]+:)/, '') // a folder may have an @ or a bracket too
    .replace('file://', '') // test runners show paths, Node shows addresses
    .replace(/[^/\\]*$/, '');
}
