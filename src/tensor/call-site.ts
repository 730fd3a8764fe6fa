/** This library's own files: the folder of the built package, or `src/`. */
const OWN = withoutScheme(import.meta.url).replace(/(tensor\/)?[^/]*$/, '');

/** Where the library was called, for debugging: the innermost line of the stack outside of it, such as `main (file:///app.js:3:9)`. */
export function callSite(): string {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 100;
  const { stack = '' } = new Error();
  Error.stackTraceLimit = stackTraceLimit;
  const lines = stack
    .split('\n')
    .filter((line) => /:\d+/.test(line))
    .map((line) => line.trim().replace(/^at (async )?/, ''));
  // in a bundle of one file no line is outside, and the user must tell them apart
  return lines.find((line) => !withoutScheme(line).includes(OWN)) ?? lines.slice(1).join(' < ');
}

/** Test runners show paths where others show addresses. */
function withoutScheme(text: string): string {
  return text.replace('file://', '');
}
