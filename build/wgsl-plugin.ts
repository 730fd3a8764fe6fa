/**
 * Makes a `.wgsl` file a module: `import shader from './matmul.wgsl'` is a `Shader` (src/gpu/shader.ts), its text and the
 * parts that its first line names (`// parts: attention/score, store`) as imports of their own, so that a bundler
 * keeps a part once and only where it is used. `attention/score` is `shaders/attention/parts/score.wgsl`, `store`
 * is `shaders/parts/store.wgsl`.
 *
 * For tsdown (Rolldown) and for vitest (Vite).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { minifier } from './minify.ts';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const PARTS_LINE = /^\/\/ parts: (.+)\r?\n/;

interface Options {
  /** Whether the texts are as they are shipped: short. */
  readonly isMinified?: boolean;
}

export function wgslPlugin({ isMinified = false }: Options = {}) {
  const shorten = isMinified ? minifyAll() : (text: string) => text;
  return {
    name: 'wgsl',
    transform(code: string, id: string): { code: string; moduleType: 'js' } | undefined {
      if (!id.endsWith('.wgsl')) return undefined;
      const path = id.replaceAll('\\', '/');
      const root = path.slice(0, path.lastIndexOf('/shaders/') + '/shaders/'.length);
      const name = path.slice(root.length, -'.wgsl'.length);
      const parts = PARTS_LINE.exec(code)?.[1].split(', ') ?? [];
      const imports = parts.map((part, i) => `import part${i} from ${JSON.stringify(root + partPath(part))};`);
      const fields = JSON.stringify({ name, text: shorten(code) }).slice(1, -1);
      const list = parts.map((_, i) => `part${i}`).join(', ');
      return { code: `${imports.join('\n')}\nexport default { ${fields}, parts: [${list}] };\n`, moduleType: 'js' };
    },
  };
}

/** A chunk of a bundle, as far as it is read here. */
interface Chunk {
  readonly type: 'chunk' | 'asset';
  readonly imports?: readonly string[];
  code?: string;
}

/**
 * Makes a package's entry import its shaders first, but for those that are loaded on demand. Bundlers keep the order of
 * imports, and the texts then lie side by side, where gzip finds in one what it saw in another: it looks back 32 kB only.
 * The imports change nothing else: a bundler leaves out what a program does not use, as package.json allows.
 *
 * @param entry the file of the entry
 */
export function shadersFirst(entry: string) {
  return {
    name: 'shaders-first',
    generateBundle(_: unknown, bundle: Record<string, Chunk>): void {
      const reached = new Set([entry]);
      for (const file of reached) for (const other of bundle[file]?.imports ?? []) reached.add(other);
      const shaders = [...reached].filter((file) => file.startsWith('shaders/')).sort();
      const first = shaders.map((file) => `import "./${file}";`);
      bundle[entry].code = `${first.join('\n')}\n${bundle[entry].code}`;
    },
  };
}

/** The same for a bundle of one file, whose source is `path`. */
export function shadersBefore(path: string) {
  return {
    name: 'shaders-before',
    transform(code: string, id: string): string | undefined {
      if (id.replaceAll('\\', '/') !== path.replaceAll('\\', '/')) return undefined;
      return [...pathsIn('shaders', '.wgsl').map((file) => `import '${file}';`), code].join('\n');
    },
  };
}

function minifyAll(): (text: string) => string {
  const read = (folder: string, extension: string) =>
    pathsIn(folder, extension).map((path) => readFileSync(path, 'utf8'));
  // the benchmark's shaders too, which a page or the command runs beside the library's
  const bench = readdirSync(`${PACKAGE}bench`).flatMap((name) =>
    name.endsWith('.ts') ? [readFileSync(`${PACKAGE}bench/${name}`, 'utf8')] : [],
  );
  const words = [...read('src', '.ts'), ...bench].flatMap((text) => text.match(/\b[A-Z]\w*/g) ?? []);
  return minifier([...read('shaders', '.wgsl'), ...read('bench/shaders', '.wgsl')], new Set(words));
}

function pathsIn(folder: string, extension: string): string[] {
  return readdirSync(PACKAGE + folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(extension))
    .sort()
    .map((path) => `${PACKAGE}${folder}/${path}`.replaceAll('\\', '/'));
}

/** Where a part lies below `shaders/`. */
function partPath(part: string): string {
  const slash = part.lastIndexOf('/');
  return slash < 0 ? `parts/${part}.wgsl` : `${part.slice(0, slash)}/parts${part.slice(slash)}.wgsl`;
}
