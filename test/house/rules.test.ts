import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  circleErrors,
  importErrors,
  nameErrors,
  partErrors,
  shaderImportErrors,
  truncatedComments,
  uninitialisedVars,
} from './rules.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Files of those of these top-level folders that there are, as paths from the root with forward slashes. */
function filesIn(...folders: string[]): string[] {
  return folders
    .filter((folder) => existsSync(root + folder))
    .flatMap((folder) =>
      readdirSync(root + folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => `${entry.parentPath}/${entry.name}`.replaceAll('\\', '/').slice(root.length))
        .filter((path) => !/\/(__pycache__|node_modules)\/|^docs\/(api|\.vitepress\/(cache|dist|\.temp))\//.test(path)),
    );
}

const read = (path: string): string => readFileSync(root + path, 'utf8');

const sources = filesIn('src').filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
const benchSources = filesIn('bench').filter((path) => path.endsWith('.ts'));
const pageSources = filesIn('playground').filter(
  (path) => path.endsWith('.ts') && !path.startsWith('playground/dist/'),
);
const shaders = filesIn('shaders').filter((path) => path.endsWith('.wgsl'));
const benchShaders = filesIn('bench').filter((path) => path.endsWith('.wgsl'));

describe('imports point down', () => {
  test('in every file of src, bench and the playground', () => {
    expect(sources.length).toBeGreaterThan(0);
    expect([...sources, ...benchSources, ...pageSources].flatMap((path) => importErrors(path, read(path)))).toEqual([]);
  });

  test.each([
    ['src/gpu/buffers.ts', `import type { Tensor } from '../tensor/tensor.ts';`],
    ['src/tensor/tensor.ts', `export { matmul } from '../ops/matmul.ts';`],
    ['src/tensor/device.ts', `import { openAdapter } from '../platform/node.ts';`],
    ['src/kernels/matmul.ts', `const ops = await import('../ops/matmul.ts');`],
    ['src/ops/matmul.ts', `type Linear = import('../modules/linear.ts').Linear;`],
    ['src/ops/matmul.ts', `import source from '../../shaders/matmul/tile.wgsl';`],
    ['src/ops/matmul.ts', `import { assertClose } from '../close.ts';`],
    ['src/modules/linear.ts', `import { plan } from '../kernels/matmul.ts';`],
    ['src/modules/linear.ts', `import { matmul } from '../index.ts';`],
    ['src/io/safetensors.ts', `import { matmul } from '../ops/matmul.ts';`],
    ['src/tuning/tune.ts', `import { noGrad } from '../autograd/tape.ts';`],
    ['src/tuning/tune.ts', `import { createDevice } from '../create-device.ts';`],
    ['src/platform/web.ts', `import { Pool } from '../gpu/pool.ts';`],
    ['src/index.ts', `export { main } from './cli/main.ts';`],
    ['src/ops/matmul.ts', `import { measure } from '../../bench/measure.ts';`],
    ['bench/measure.ts', `import { runCommandLine } from '../src/cli/commands.ts';`],
    ['bench/measure.ts', `import { tokenizer } from '../playground/model.ts';`],
    ['playground/main.ts', `import { matmul } from '../src/ops/matmul.ts';`],
    ['src/attic/old.ts', ``],
  ])('%s is refused: %s', (file, source) => {
    expect(importErrors(file, source)).toHaveLength(1);
  });

  test('imports that point down are accepted', () => {
    const source = [
      `import { ArgumentError } from '../gpu/errors.ts';`,
      `import { plan } from '../kernels/matmul.ts';`,
      `import { checkShapes } from './check.ts';`,
      `import { cac } from 'cac';`,
    ].join('\n');
    expect(importErrors('src/ops/matmul.ts', source)).toEqual([]);
    expect(importErrors('src/kernels/matmul.ts', `import source from '../../shaders/matmul/tile.wgsl';`)).toEqual([]);
    expect(importErrors('src/tensor/device.ts', `import { openAdapter } from '#platform';`)).toEqual([]);
  });
});

describe('no imports lead in a circle', () => {
  const file = (path: string, source: string) => ({ path, source });

  test('in src and the playground', () => {
    expect(circleErrors([...sources, ...pageSources].map((path) => file(path, read(path))))).toEqual([]);
  });

  test('not even those of types', () => {
    const a = file('src/ops/a.ts', `import { b } from './internal/b.ts';`);
    const b = file('src/ops/internal/b.ts', `import type { A } from '../a.ts';`);
    expect(circleErrors([a, b])).toHaveLength(2);
    expect(circleErrors([a, { ...b, source: '' }])).toEqual([]);
  });

  test('but for device and tensor, which are one thing', () => {
    const device = file('src/tensor/device.ts', `import { Tensor } from './tensor.ts';`);
    const tensor = file('src/tensor/tensor.ts', `import type { Device } from './device.ts';`);
    expect(circleErrors([device, tensor])).toEqual([]);
  });
});

describe('a WGSL var in a function has an initialiser', () => {
  test('in every shader', () => {
    expect(shaders.length).toBeGreaterThan(0);
    expect([...shaders, ...benchShaders].flatMap((path) => uninitialisedVars(path, read(path)))).toEqual([]);
  });

  test.each([
    ['plain', 'fn f() {\n  var x: f32;\n}', 2],
    ['in a loop', 'fn f() {\n  for (var i = 0u; i < 4u; i++) {\n    var sum: array<vec4<f32>, 4>;\n  }\n}', 3],
    ['in a for clause', 'fn f() { for (var i: u32; i < 4u; i++) {} }', 1],
    ['with a template', 'fn f() { var<function> x: f32; }', 1],
    ['over two lines', 'fn f() {\n\n  var x:\n    f32;\n}', 3],
    ['after a comment', '/* { /* nested */ */\nfn f() { // }\n  var x: f32; // = 1.0\n}', 3],
  ])('%s: found', (_name, source, line) => {
    const errors = uninitialisedVars('a.wgsl', source);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(`a.wgsl:${line}: `);
  });

  test('initialised, at module scope or in a comment: accepted', () => {
    const source = [
      '@group(0) @binding(0) var<storage, read_write> output: array<f32>;',
      'var<workgroup> tile: array<f32, 64>;',
      'struct Params { variance: f32, }',
      'fn f() {',
      '  var x: f32 = 0.0; var y = vec2(1u); let var_count = 1u;',
      '  // var z: f32;',
      '  /* var z: f32; */',
      '  for (var i = 0u; i < 4u; i++) { var acc: array<f32, 4> = array<f32, 4>(); }',
      '}',
      'var<private> seed: u32;',
    ].join('\n');
    expect(uninitialisedVars('a.wgsl', source)).toEqual([]);
  });
});

describe('the first line of a WGSL file names the parts that it uses itself', () => {
  const load = { path: 'shaders/parts/load', source: 'fn load() {}' };
  const quad = { path: 'shaders/rows/parts/quad', source: '// parts: load\nfn quad() { load(); }' };
  const errors = (source: string) => partErrors([load, quad, { path: 'shaders/rows/a', source }]);

  test('in every shader and part', () => {
    expect(partErrors(shaders.map((path) => ({ path: path.replace('.wgsl', ''), source: read(path) })))).toEqual([]);
  });

  test.each([
    ['an unknown part', '// parts: load, masks\nfn f() { load(); }'],
    ['no separator', '// parts: load rows/quad\nfn f() { load(); quad(); }'],
    ['a part twice', '// parts: load, load\nfn f() { load(); }'],
    ['a later line', '// The kernel.\n// parts: load\nfn f() {}'],
    ['a part that is not used', '// parts: rows/quad, load\nfn f() { quad(); } // load'],
    ['a part that is used and not named', '// parts: rows/quad\nfn f() { quad(); load(); }'],
  ])('%s is refused', (_name, source) => {
    expect(errors(source)).toHaveLength(1);
  });

  test('parts that lead back to themselves are refused', () => {
    const circle = { ...load, source: '// parts: rows/quad\nfn load() { quad(); }' };
    expect(partErrors([circle, quad])).toHaveLength(2);
  });

  test('or none', () => {
    expect(errors('// parts: rows/quad, load\nfn f() { load(); quad(); }')).toEqual([]);
    expect(errors('// Copies: it needs no parts: none.\n')).toEqual([]);
    expect(errors('// parts: rows/quad\nfn f(x: X) { let load = x.load; quad(); }')).toEqual([]);
  });
});

describe('each shader is imported in exactly one file', () => {
  const files = ['shaders/a/a.wgsl', 'shaders/a/parts/p.wgsl'];
  const importer = (path: string, name: string) => ({ path, source: `import a from '../../shaders/a/${name}.wgsl';` });

  test('of src', () => {
    expect(
      shaderImportErrors(
        shaders,
        sources.map((path) => ({ path, source: read(path) })),
      ),
    ).toEqual([]);
  });

  test('none, two, or another are refused', () => {
    const one = importer('src/kernels/a.ts', 'a');
    expect(shaderImportErrors(files, [one])).toEqual([]);
    expect(shaderImportErrors(files, [])).toHaveLength(1);
    expect(shaderImportErrors(files, [one, importer('src/kernels/b.ts', 'a')])).toHaveLength(1);
    expect(shaderImportErrors(files, [one, importer('src/kernels/b.ts', 'c')])).toHaveLength(1);
  });
});

describe('no comment begins with "Of"', () => {
  test('in src, shaders, bench and the playground', () => {
    const paths = filesIn('src', 'shaders', 'bench', 'playground').filter(
      (path) => !path.startsWith('playground/dist/') && /\.(?:ts|mjs|wgsl)$/.test(path),
    );
    expect(paths.length).toBeGreaterThan(0);
    expect(paths.flatMap((path) => truncatedComments(path, read(path)))).toEqual([]);
  });

  test.each([
    ['a docstring', '/** Of the output. */'],
    ['a line', '// Of the output.'],
    ['a line of a block', '/**\n   * Of the output.\n   */'],
    ['the end of a line', 'const width = 4; // Of the output.'],
  ])('%s is refused', (_name, source) => {
    expect(truncatedComments('a.ts', source)).toHaveLength(1);
  });

  test('what names its subject is accepted', () => {
    const source = [
      '/** Dtype of the output. */',
      '// Often slow.',
      '// Rows',
      '// of the output.',
      "f('Of the output.');",
    ];
    expect(truncatedComments('a.ts', source.join('\n'))).toEqual([]);
  });
});

describe('names are kebab-case', () => {
  test('everywhere', () => {
    expect(nameErrors(filesIn('src', 'shaders', 'test', 'bench', 'examples', 'docs').concat(pageSources))).toEqual([]);
  });

  test.each(['src/ops/flashAttention.ts', 'test/Ops/matmul.test.ts', 'shaders/flash_attention.wgsl', 'docs/README.MD'])(
    '%s is refused',
    (path) => {
      expect(nameErrors([path])).toHaveLength(1);
    },
  );

  test('as these are', () => {
    expect(nameErrors(['src/ops/flash-attention.ts', 'test/ops/matmul.test.ts', 'examples/README.md'])).toEqual([]);
  });
});
