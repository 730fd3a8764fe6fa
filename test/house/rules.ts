/**
 * The rules of the house that no linter knows, as pure functions of file names and texts. Each returns one sentence
 * for each violation. Paths are relative to the repository root, with forward slashes.
 */
import { posix } from 'node:path';
import ts from 'typescript';

/** What a file of each room under `src/` may import: rooms, single files, or the `#platform` switch. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  gpu: [],
  platform: ['src/gpu/errors.ts', 'src/gpu/global-types.ts'],
  tensor: ['gpu', '#platform', 'src/platform/adapter.ts'],
  io: ['tensor', 'gpu'],
  kernels: ['tensor', 'gpu', 'shaders'],
  autograd: ['tensor', 'gpu'],
  ops: ['kernels', 'autograd', 'tensor', 'gpu'],
  // Measures the ops that a device, far below it, is to take.
  tuning: ['ops', 'kernels', 'tensor', 'gpu', '#platform', 'package.json'],
  // Opens devices, and hands them their tuner and their tape.
  'create-device.ts': ['tuning', 'ops', 'autograd', 'kernels', 'tensor'],
  // Keys and values of earlier tokens, and their places.
  caches: ['ops', 'kernels', 'tensor', 'src/gpu/errors.ts'],
  // Modules compose ops and never touch the GPU.
  modules: ['caches', 'ops', 'autograd', 'tensor', 'src/gpu/errors.ts'],
  // What changes the parameters of modules, which they know as tensors.
  optimisers: ['modules', 'ops', 'autograd', 'kernels', 'tensor', 'src/gpu/errors.ts'],
  // Whole networks of modules, and what reads them from files; they touch the GPU no more than those.
  models: [
    '#platform',
    'modules',
    'caches',
    'ops',
    'autograd',
    'io',
    'tensor',
    'src/gpu/errors.ts',
    'src/gpu/global-types.ts',
  ],
  // Text, tables and pictures of what the rooms above it show.
  display: ['tensor', 'src/gpu/errors.ts'],
  cli: [
    'display',
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
    'src/platform/files-node.ts',
  ].concat(['src/index.ts', 'src/models.ts', 'package.json', 'bench']),
  bench: ['display', 'modules', 'caches', 'ops', 'kernels', 'tensor', 'gpu'].concat(['src/index.ts', 'package.json']),
  // Uses the library as its users do, by its name, and the benchmark's cases.
  playground: ['bench', 'build'],
  'models.ts': ['models'],
  'browser.ts': ['src/index.ts', 'src/models.ts'],
  'index.ts': [
    'modules',
    'optimisers',
    'caches',
    'create-device.ts',
    'ops',
    'autograd',
    'tensor',
    'gpu',
    'io',
    'src/platform/adapter.ts',
    'src/display/attention-heatmap.ts',
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

/** The one circle: a device makes tensors, and a tensor knows the type of its device. */
const TENSOR_KNOWS_DEVICE = { from: 'src/tensor/tensor.ts', to: 'src/tensor/device.ts' };

/** No file's imports lead back to it, not even imports of types: a reader would need all files of the circle at once. */
export function circleErrors(sources: readonly { readonly path: string; readonly source: string }[]): string[] {
  const imports = new Map(
    sources.map(({ path, source }) => {
      const targets = ts
        .preProcessFile(source, true, true)
        .importedFiles.filter(({ fileName }) => fileName.startsWith('.'))
        .map(({ fileName }) => posix.join(posix.dirname(path), fileName));
      const { from, to } = TENSOR_KNOWS_DEVICE;
      return [path, path === from ? targets.filter((target) => target !== to) : targets];
    }),
  );
  return leadingBack(imports).map((path) => `${path}: its imports must not lead back to it`);
}

/** The files that can be reached from themselves. */
function leadingBack(next: ReadonlyMap<string, readonly string[]>): string[] {
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    (next.get(from) ?? []).some((file) => {
      if (file === to) return true;
      if (seen.has(file)) return false;
      seen.add(file);
      return reaches(file, to, seen);
    });
  return [...next.keys()].filter((file) => reaches(file, file));
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

/** A WGSL file without what only its comments say. */
export interface WgslFile {
  /** Path, without the extension. */
  readonly path: string;
  readonly source: string;
}

/** The path of the part that a first line names: `attention/score` is `shaders/attention/parts/score`. */
function partPath(part: string): string {
  const slash = part.lastIndexOf('/');
  return slash < 0 ? `shaders/parts/${part}` : `shaders/${part.slice(0, slash)}/parts${part.slice(slash)}`;
}

/**
 * A WGSL file names the parts that it uses itself on its first line (`// parts: attention/score, store`), and a part
 * does so too; each is there, is used (but for an entry point, and a part's sibling, which may complete what their user wants of
 * both), and names no part that leads back to it. What a part declares may be used only where that part is named.
 */
export function partErrors(files: readonly WgslFile[]): string[] {
  const errors: string[] = [];
  const named = new Map<string, string[]>();
  const texts = new Map(files.map(({ path, source }) => [path, blankComments(source)]));
  for (const { path, source } of files) {
    const [first = '', ...rest] = source.split(/\r?\n/);
    const isHeader = (line: string): boolean => /^\s*\/\/\s*parts\s*:/.test(line);
    if (rest.some(isHeader)) errors.push(`${path}: the parts must be named on the first line`);
    const list = /^\/\/ parts: ([\w-]+(?:\/[\w-]+)?(?:, [\w-]+(?:\/[\w-]+)?)*)$/.exec(first);
    if (isHeader(first) && list === null) errors.push(`${path}: the first line must read "// parts: a, b/c"`);
    const names = list?.[1].split(', ') ?? [];
    if (new Set(names).size < names.length) errors.push(`${path}: a part is named twice`);
    named.set(path, names.map(partPath));
    for (const part of names.map(partPath)) {
      const text = texts.get(part);
      if (text === undefined) errors.push(`${path}: there is no ${part}.wgsl`);
      else if (
        posix.dirname(part) !== posix.dirname(path) &&
        !text.includes('@compute') && // an entry point uses the shader
        !declared(text).some((name) => new RegExp(`\\b${name}\\b`).test(texts.get(path)!))
      ) {
        errors.push(`${path}: uses nothing of ${part}.wgsl`);
      }
    }
  }
  const reached = (from: string, seen = new Set<string>()): Set<string> => {
    for (const part of named.get(from) ?? []) {
      if (seen.has(part)) continue;
      seen.add(part);
      reached(part, seen);
    }
    return seen;
  };
  for (const path of named.keys()) {
    const parts = reached(path);
    if (parts.has(path)) errors.push(`${path}: names itself`);
    const text = texts.get(path)!;
    for (const part of parts) {
      if (part === path || named.get(path)!.includes(part)) continue;
      const word = declared(texts.get(part) ?? '').find((name) => uses(text, name));
      if (word !== undefined) errors.push(`${path}: uses ${word} of ${part}.wgsl, and must name it`);
    }
  }
  return errors;
}

/** Whether a WGSL text without comments uses a name that it does not declare, not as a variable or parameter either. */
function uses(text: string, name: string): boolean {
  const isOwn = new RegExp(`\\b(?:const|alias|struct|fn|let|var(?:<[^>]*>)?)\\s+${name}\\b|\\b${name}\\s*:`).test(text);
  return !isOwn && new RegExp(`(?<![.\\w])${name}\\b`).test(text);
}

/** Names that a WGSL file without comments declares at module scope. */
function declared(text: string): string[] {
  return [...text.matchAll(/^(?:@group.*)?(?:const|alias|struct|fn|var(?:<[^>]*>)?)\s+(\w+)/gm)].map(
    ([, name]) => name,
  );
}

/** Each shader is imported in exactly one file of `src`; parts are imported by shaders, or replace others. */
export function shaderImportErrors(
  shaders: readonly string[],
  sources: readonly { readonly path: string; readonly source: string }[],
): string[] {
  const importers = new Map<string, string[]>(shaders.map((shader) => [shader, []]));
  const errors: string[] = [];
  for (const { path, source } of sources) {
    for (const { fileName } of ts.preProcessFile(source, true, true).importedFiles) {
      if (!fileName.endsWith('.wgsl')) continue;
      const shader = posix.join(posix.dirname(path), fileName);
      if (!importers.has(shader)) errors.push(`${path}: there is no ${shader}`);
      importers.get(shader)?.push(path);
    }
  }
  for (const [shader, paths] of importers) {
    if (paths.length === 0 && !shader.includes('/parts/')) errors.push(`${shader}: is imported nowhere`);
    if (paths.length > 1) errors.push(`${shader}: is imported in ${paths.join(' and ')}`);
  }
  return errors;
}

/** Comments that begin with "Of": they leave out what they speak of, and a reader must find it in the code below. */
export function truncatedComments(file: string, source: string): string[] {
  return source
    .split('\n')
    .flatMap((line, i) =>
      /(?:\/\/|\/\*\*?|^\s*\*)\s+Of\b/.test(line)
        ? [`${file}:${i + 1}: a comment must name what it speaks of first`]
        : [],
    );
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
