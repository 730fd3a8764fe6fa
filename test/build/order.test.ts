import { describe, expect, test } from 'vitest';
import { shadersBefore, shadersFirst } from '../../build/wgsl-plugin.ts';

describe('shaders come first', () => {
  test('in an entry, if they are loaded at once', () => {
    const chunk = (code: string, imports: string[]) => ({ type: 'chunk' as const, code, imports });
    const bundle = {
      'index.js': chunk(`export { op } from './op.js';`, ['op.js']),
      'op.js': chunk(`import b from './shaders/b.js';`, ['shaders/b.js', 'shaders/a.js', '#platform']),
      'shaders/b.js': chunk('', ['shaders/parts/c.js']),
      'shaders/a.js': chunk('', []),
      'shaders/parts/c.js': chunk('', []),
      'shaders/on-demand.js': chunk('', []),
      'cli.js': chunk('', ['shaders/on-demand.js']),
    };
    const before = structuredClone(bundle);
    shadersFirst('index.js').generateBundle(undefined, bundle);
    expect(bundle['index.js'].code.split('\n')).toEqual([
      `import "./shaders/a.js";`,
      `import "./shaders/b.js";`,
      `import "./shaders/parts/c.js";`,
      `export { op } from './op.js';`,
    ]);
    expect({ ...bundle, 'index.js': before['index.js'] }).toEqual(before);
  });

  test('in the source of one file, and in no other', () => {
    const plugin = shadersBefore('/package/src/browser.ts');
    const transform = (code: string, id: string) => plugin.transform(code, id);
    const lines = transform(`export * from './index.ts';`, '/package/src/browser.ts')!.split('\n');
    expect(lines.pop()).toBe(`export * from './index.ts';`);
    expect(lines).toContain(`import '${process.cwd().replaceAll('\\', '/')}/shaders/matmul/tile.wgsl';`);
    expect(transform('', '/package/src/index.ts')).toBeUndefined();
  });
});
