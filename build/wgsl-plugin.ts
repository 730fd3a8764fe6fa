/**
 * Makes a `.wgsl` file a module: `import shader from './matmul.wgsl'` is a `Shader` (src/gpu/shader.ts), its text and the
 * parts that its first line names (`// parts: attention/score, store`) as imports of their own, so that a bundler
 * keeps a part once and only where it is used. `attention/score` is `shaders/attention/parts/score.wgsl`, `store`
 * is `shaders/parts/store.wgsl`. What the file declares is read here, and goes with it as data.
 *
 * For tsdown (Rolldown) and for vitest (Vite).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { joinParts, partsOf, type Shader } from '../src/gpu/shader.ts';
import { minifier } from './minify.ts';
import { reflect } from './reflect.ts';

const PARTS_LINE = /^\/\/ parts: (.+)\r?\n/;

/** What a bundler's plugin is called with, as far as it is used here. */
interface Watcher {
  addWatchFile?: (path: string) => void;
}

interface Options {
  /** Whether the texts are as they are shipped: short. */
  readonly isMinified?: boolean;
}

export function wgslPlugin({ isMinified = false }: Options = {}) {
  const shorten = isMinified ? minifyAll() : (text: string) => text;
  return {
    name: 'wgsl',
    transform(this: Watcher, code: string, id: string): { code: string; moduleType: 'js' } | undefined {
      if (!id.endsWith('.wgsl')) return undefined;
      const path = id.replaceAll('\\', '/');
      const root = path.slice(0, path.lastIndexOf('/shaders/') + '/shaders/'.length);
      const file = readFile(root, path.slice(root.length), code);
      // the layout depends on the parts
      for (const { name } of partsOf(file)) this.addWatchFile?.(`${root}${name}.wgsl`);
      const imports = file.parts.map(({ name }, i) => `import part${i} from ${JSON.stringify(`${root}${name}.wgsl`)};`);
      const list = file.parts.map((_, i) => `part${i}`).join(', ');
      const { name, text, storage, uniform } = declare(file);
      const fields = JSON.stringify({ name, text: shorten(text), storage, uniform }).slice(1, -1);
      return { code: `${imports.join('\n')}\nexport default { ${fields}, parts: [${list}] };\n`, moduleType: 'js' };
    },
  };
}

function minifyAll(): (text: string) => string {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const read = (path: string) => readFileSync(root + path, 'utf8');
  const files = readdirSync(`${root}shaders`, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.wgsl'),
  );
  return minifier(
    files.sort().map((path) => read(`shaders/${path}`)),
    read('src/kernels/modifiers.ts').match(/\w+/g) ?? [],
  );
}

function readFile(root: string, path: string, text = readFileSync(root + path, 'utf8')): Shader {
  const parts = PARTS_LINE.exec(text)?.[1].split(', ') ?? [];
  return { name: path.slice(0, -'.wgsl'.length), text, parts: parts.map((part) => readFile(root, partPath(part))) };
}

/** Where a part lies below `shaders/`. */
function partPath(part: string): string {
  const slash = part.lastIndexOf('/');
  return slash < 0 ? `parts/${part}.wgsl` : `${part.slice(0, slash)}/parts${part.slice(slash)}.wgsl`;
}

/** The same file with what it declares itself; its parts have declarations of their own. */
export function declare(file: Shader): Shader {
  const { name, text } = file;
  if (!text.includes('@binding')) return file;
  const joined = joinParts(file);
  const isKernel = joined.includes('@compute');
  const { entryPoint, storage, uniform } = reflect(name, isKernel ? joined : `${joined}\n${ENTRY}`);
  if (entryPoint !== 'main') throw new Error(`shader ${name}: the entry point must be main, got ${entryPoint}`);
  const isOwn = ({ binding }: { binding: number }) => text.includes(`@group(0) @binding(${binding}) var<`);
  return { ...file, storage: storage.filter(isOwn), uniform: uniform && isOwn(uniform) ? uniform : undefined };
}

/** For a part that declares bindings, which has no entry point of its own. */
const ENTRY = '@compute @workgroup_size(1) fn main() {}';
