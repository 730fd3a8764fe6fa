import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { importErrors, nameErrors, partErrors, twinErrors, uninitialisedVars } from './rules.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Files of those of these top-level folders that there are, as paths from the root with forward slashes. */
function filesIn(...folders: string[]): string[] {
  return folders
    .filter((folder) => existsSync(root + folder))
    .flatMap((folder) =>
      readdirSync(root + folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => `${entry.parentPath}/${entry.name}`.replaceAll('\\', '/').slice(root.length))
        .filter((path) => !/\/(__pycache__|node_modules)\//.test(path)),
    );
}

const read = (path: string): string => readFileSync(root + path, 'utf8');
const baseNames = (paths: string[], pattern: RegExp): string[] =>
  paths.flatMap((path) => pattern.exec(path)?.slice(1) ?? []);

const sources = filesIn('src').filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
const benchSources = filesIn('bench').filter((path) => path.endsWith('.ts'));
const shaders = filesIn('shaders').filter((path) => path.endsWith('.wgsl'));
const benchShaders = filesIn('bench').filter((path) => path.endsWith('.wgsl'));

const partNames = baseNames(shaders, /^shaders\/parts\/(.+)\.wgsl$/);

/** Parts that the host joins in the place of another. */
const STAND_INS: Readonly<Record<string, string>> = { 'subgroup-matrix-scalars': 'subgroup-matrix' };

/** Kernel files that are the twin of no shader and of no part, and why. */
const HOST_ONLY = {
  choice: 'which of several kernels computes an op',
  'fused-attention': 'the kernels among which attention chooses',
  'fused-attention-gradient': 'the kernels among which its gradient chooses',
  modifiers: 'what the modifiers of scores and masks insert into kernels',
  parts: 'gathers the texts of shaders/parts',
};

describe('imports point down', () => {
  test('in every file of src and bench', () => {
    expect(sources.length).toBeGreaterThan(0);
    expect([...sources, ...benchSources].flatMap((path) => importErrors(path, read(path)))).toEqual([]);
  });

  test.each([
    ['src/gpu/buffers.ts', `import type { Tensor } from '../tensor/tensor.ts';`],
    ['src/tensor/tensor.ts', `export { matmul } from '../ops/matmul.ts';`],
    ['src/tensor/device.ts', `import { openAdapter } from '../platform/node.ts';`],
    ['src/kernels/matmul.ts', `const ops = await import('../ops/matmul.ts');`],
    ['src/ops/matmul.ts', `type Linear = import('../modules/linear.ts').Linear;`],
    ['src/ops/matmul.ts', `import source from '../../shaders/matmul.wgsl';`],
    ['src/ops/matmul.ts', `import { assertClose } from '../../test/close.ts';`],
    ['src/modules/linear.ts', `import { plan } from '../kernels/matmul.ts';`],
    ['src/modules/linear.ts', `import { matmul } from '../index.ts';`],
    ['src/io/safetensors.ts', `import { matmul } from '../ops/matmul.ts';`],
    ['src/platform/web.ts', `import { Pool } from '../gpu/pool.ts';`],
    ['src/index.ts', `export { main } from './cli/main.ts';`],
    ['src/ops/matmul.ts', `import { measure } from '../../bench/measure.ts';`],
    ['bench/measure.ts', `import { runCommandLine } from '../src/cli/commands.ts';`],
    ['src/attic/old.ts', ``],
  ])('%s is refused: %s', (file, source) => {
    expect(importErrors(file, source)).toHaveLength(1);
  });

  test('and what points down is accepted', () => {
    const source = [
      `import { ArgumentError } from '../gpu/errors.ts';`,
      `import { plan } from '../kernels/matmul.ts';`,
      `import { checkShapes } from './check.ts';`,
      `import { cac } from 'cac';`,
    ].join('\n');
    expect(importErrors('src/ops/matmul.ts', source)).toEqual([]);
    expect(importErrors('src/kernels/matmul.ts', `import source from '../../shaders/matmul.wgsl';`)).toEqual([]);
    expect(importErrors('src/tensor/device.ts', `import { openAdapter } from '#platform';`)).toEqual([]);
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

describe('the first line of a shader names its parts', () => {
  const parts = new Set(['load', 'softmax-update']);

  test('in every shader, and every part is used', () => {
    const present = new Set(partNames);
    expect(shaders.flatMap((path) => partErrors(path, read(path), present))).toEqual([]);
    const headers = shaders.map((path) => /^\/\/ parts: (.+)/.exec(read(path))?.[1] ?? '');
    const used = new Set(headers.flatMap((header) => header.split(', ')));
    expect([...present].filter((part) => !used.has(STAND_INS[part] ?? part))).toEqual([]);
  });

  test.each([
    ['an unknown part', 'shaders/a.wgsl', '// parts: load, masks\n'],
    ['no separator', 'shaders/a.wgsl', '// parts: load softmax-update\n'],
    ['a part twice', 'shaders/a.wgsl', '// parts: load, load\n'],
    ['a later line', 'shaders/a.wgsl', '// The kernel.\n// parts: load\n'],
    ['a part with parts', 'shaders/parts/load.wgsl', '// parts: softmax-update\n'],
  ])('%s is refused', (_name, file, source) => {
    expect(partErrors(file, source, parts)).toHaveLength(1);
  });

  test('or none', () => {
    expect(partErrors('shaders/a.wgsl', '// parts: load, softmax-update\nfn f() {}\n', parts)).toEqual([]);
    expect(partErrors('shaders/a.wgsl', '// Copies: it needs no parts: none.\n', parts)).toEqual([]);
  });
});

describe('a shader and its host twin share a name', () => {
  const none = { shaders: [], parts: [], kernels: [], hostOnly: {} };

  test('both ways', () => {
    const names = {
      shaders: baseNames(shaders, /^shaders\/([^/]+)\.wgsl$/),
      parts: partNames,
      kernels: baseNames(sources, /^src\/kernels\/(.+)\.ts$/),
      hostOnly: HOST_ONLY,
    };
    expect(twinErrors(names)).toEqual([]);
  });

  test.each([
    ['a shader alone', { shaders: ['matmul'] }],
    ['a kernel alone', { kernels: ['matmul'] }],
    ['an exception for nothing', { hostOnly: { tiles: 'shared by all' } }],
    [
      'an exception for a kernel with a shader',
      { shaders: ['matmul'], kernels: ['matmul'], hostOnly: { matmul: 'shared by all' } },
    ],
  ])('%s is refused', (_name, names) => {
    expect(twinErrors({ ...none, ...names })).toHaveLength(1);
  });

  test('but for the twins of parts and the exceptions', () => {
    const kernels = ['matmul', 'load', 'tiles'];
    const hostOnly = { tiles: 'shared by all' };
    expect(twinErrors({ shaders: ['matmul'], parts: ['load', 'masks'], kernels, hostOnly })).toEqual([]);
  });
});

describe('names are kebab-case', () => {
  test('everywhere', () => {
    expect(nameErrors(filesIn('src', 'shaders', 'test', 'bench', 'examples', 'docs'))).toEqual([]);
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
