/**
 * The rules of the house that no linter knows, as pure functions of file names and texts. Each returns one sentence
 * for each violation. Paths are relative to the repository root, with forward slashes.
 */
import { posix } from 'node:path';
import ts from 'typescript';

/** What a file of each room under `src/` may import: rooms, single files, or the `#platform` switch. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  gpu: [],
  platform: ['src/gpu/errors.ts'],
  tensor: ['gpu', '#platform', 'src/platform/adapter.ts'],
  io: ['tensor', 'gpu'],
  kernels: ['tensor', 'gpu', 'shaders'],
  autograd: ['tensor', 'gpu'],
  ops: ['kernels', 'autograd', 'tensor', 'gpu'],
  // Measures the ops that a device, far below it, is to take; and opens devices, so that they know of it and of the tape.
  tuning: ['ops', 'autograd', 'kernels', 'tensor', 'gpu', '#platform', 'package.json'],
  // Keys and values of earlier tokens, and which of them lie where.
  caches: ['ops', 'tensor', 'src/gpu/errors.ts'],
  // Modules compose ops and never touch the GPU.
  modules: ['caches', 'ops', 'autograd', 'tensor', 'src/gpu/errors.ts'],
  // What changes the parameters of modules, which they know as tensors.
  optimisers: ['ops', 'autograd', 'kernels', 'tensor', 'src/gpu/errors.ts'],
  // Whole networks of modules, and what reads them from files; they touch the GPU no more than those.
  models: ['modules', 'caches', 'ops', 'autograd', 'io', 'tensor', 'src/gpu/errors.ts'],
  cli: [
    'models',
    'modules',
    'caches',
    'tuning',
    'ops',
    'kernels',
    'autograd',
    'tensor',
    'gpu',
    'io',
    '#platform',
    'src/platform/adapter.ts',
  ].concat(['src/index.ts', 'package.json', 'bench']),
  bench: ['modules', 'caches', 'ops', 'kernels', 'tensor', 'gpu'].concat([
    'src/index.ts',
    'src/cli/text.ts',
    'src/cli/heatmap.ts',
    'package.json',
  ]),
  'index.ts': [
    'models',
    'modules',
    'optimisers',
    'caches',
    'tuning',
    'ops',
    'autograd',
    'tensor',
    'gpu',
    'io',
    'src/platform/adapter.ts',
  ],
};

/** Imports point down: models → modules → caches → ops → kernels, autograd → tensor → gpu; only the CLI imports the public surface. */
export function importErrors(file: string, source: string): string[] {
  const room = roomOf(file);
  const allowed = MAY_IMPORT[room];
  if (allowed === undefined) return [`${file}: there is no room named ${room}; add its direction to MAY_IMPORT`];
  const errors: string[] = [];
  for (const { fileName: specifier } of ts.preProcessFile(source, true, true).importedFiles) {
    const isOwn = specifier.startsWith('.') || specifier.startsWith('#');
    if (!isOwn) continue;
    const target = specifier.startsWith('#') ? specifier : posix.join(posix.dirname(file), specifier);
    const targetRoom = roomOf(target);
    if (targetRoom === room && room !== 'index.ts') continue;
    if (!allowed.includes(targetRoom) && !allowed.includes(target)) errors.push(`${file}: must not import ${target}`);
  }
  return errors;
}

function roomOf(path: string): string {
  const [top = '', ...rest] = path.split('/');
  return top === 'src' ? (rest[0] ?? '') : top;
}

/**
 * A `var` inside a function without an initialiser: Dawn's compiler zeroes it once rather than at each iteration of
 * a surrounding loop, so that it silently keeps its last value.
 */
export function uninitialisedVars(file: string, source: string): string[] {
  const text = blankComments(source);
  const errors: string[] = [];
  let depth = 0;
  for (const match of text.matchAll(/[{}]|\bvar\b\s*(?:<[^>]*>)?\s*(\w+)[^;=]*([;=])/g)) {
    if (match[0] === '{') depth++;
    else if (match[0] === '}') depth--;
    else if (depth > 0 && match[2] === ';') {
      const line = text.slice(0, match.index).split('\n').length;
      errors.push(`${file}:${line}: var ${match[1]} needs an initialiser`);
    }
  }
  return errors;
}

/** Replaces WGSL comments by spaces, keeping line breaks; block comments nest. */
function blankComments(source: string): string {
  let depth = 0;
  return source.replace(/\/\/.*|\/\*|\*\/|[^]/g, (token) => {
    if (token === '/*') depth++;
    else if (token === '*/') depth--;
    else if (token === '\n' || (depth === 0 && !token.startsWith('//'))) return token;
    return ' '.repeat(token.length);
  });
}

/**
 * A shader joins the parts named on its first line (`// parts: load, visibility`). A part is joined as it is, so it
 * cannot name parts of its own, and anywhere else the line would do nothing.
 */
export function partErrors(file: string, source: string, parts: ReadonlySet<string>): string[] {
  const [first = '', ...rest] = source.split(/\r?\n/);
  const isHeader = (line: string): boolean => /^\s*\/\/\s*parts\s*:/.test(line);
  if (rest.some(isHeader)) return [`${file}: the parts must be named on the first line`];
  if (!isHeader(first)) return [];
  if (file.startsWith('shaders/parts/')) return [`${file}: a part cannot name parts`];
  const list = /^\/\/ parts: ([\w-]+(?:, [\w-]+)*)$/.exec(first);
  if (list === null) return [`${file}: the first line must read "// parts: a, b"`];
  const names = list[1].split(', ');
  return [
    ...names.filter((name) => !parts.has(name)).map((name) => `${file}: there is no shaders/parts/${name}.wgsl`),
    ...(new Set(names).size < names.length ? [`${file}: a part is named twice`] : []),
  ];
}

/**
 * Each `shaders/x.wgsl` has its host twin `src/kernels/x.ts`, and each kernel file is the twin of a shader or of a part.
 * `hostOnly` maps the kernel files that are neither to the reason.
 */
export function twinErrors(names: {
  shaders: readonly string[];
  parts: readonly string[];
  kernels: readonly string[];
  hostOnly: Readonly<Record<string, string>>;
}): string[] {
  const { shaders, parts, kernels, hostOnly } = names;
  const isTwin = (name: string): boolean => shaders.includes(name) || parts.includes(name);
  return [
    ...shaders
      .filter((name) => !kernels.includes(name))
      .map((name) => `shaders/${name}.wgsl has no src/kernels/${name}.ts`),
    ...kernels
      .filter((name) => !isTwin(name) && !(name in hostOnly))
      .map((name) => `src/kernels/${name}.ts has no shaders/${name}.wgsl`),
    ...Object.keys(hostOnly)
      .filter((name) => !kernels.includes(name) || isTwin(name))
      .map((name) => `the exception for src/kernels/${name}.ts is not needed`),
  ];
}

/** Names that readers and tools look for. */
const USUAL_NAMES = ['README.md', '.npmrc'];

/** Folders and files are kebab-case, extensions lower case; a few have their usual names. */
export function nameErrors(paths: readonly string[]): string[] {
  const kebab = /^\.?[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)*$/;
  return paths
    .filter((path) => path.split('/').some((segment) => !kebab.test(segment) && !USUAL_NAMES.includes(segment)))
    .map((path) => `${path}: names are kebab-case`);
}
