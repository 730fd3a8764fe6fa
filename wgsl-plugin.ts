/**
 * Makes a `.wgsl` file a module: `import shader from './matmul.wgsl'` is a `Shader` (src/gpu/shader.ts), its text and the
 * parts that its first line names (`// parts: attention/score, store`) as imports of their own, so that a bundler
 * keeps a part once and only where it is used. `attention/score` is `shaders/attention/parts/score.wgsl`, `store`
 * is `shaders/parts/store.wgsl`. For tsdown (Rolldown) and for vitest (Vite).
 */
const PARTS_LINE = /^\/\/ parts: (.+)\r?\n/;

export function wgslPlugin() {
  return {
    name: 'wgsl',
    transform(code: string, id: string): { code: string; moduleType: 'js' } | undefined {
      if (!id.endsWith('.wgsl')) return undefined;
      const path = id.replaceAll('\\', '/');
      const root = path.lastIndexOf('/shaders/') + '/shaders/'.length;
      const name = path.slice(root, -'.wgsl'.length);
      const parts = PARTS_LINE.exec(code)?.[1].split(', ') ?? [];
      const imports = parts.map(
        (part, i) => `import part${i} from ${JSON.stringify(path.slice(0, root) + partPath(part))};`,
      );
      const list = parts.map((_, i) => `part${i}`).join(', ');
      const shader = `{ name: ${JSON.stringify(name)}, text: ${JSON.stringify(code)}, parts: [${list}] }`;
      return { code: `${imports.join('\n')}\nexport default ${shader};\n`, moduleType: 'js' };
    },
  };
}

/** Where a part lies below `shaders/`. */
function partPath(part: string): string {
  const slash = part.lastIndexOf('/');
  return slash < 0 ? `parts/${part}.wgsl` : `${part.slice(0, slash)}/parts${part.slice(slash)}.wgsl`;
}
