import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { initialiseVariables } from '../../bench/peers/initialise-variables.ts';
import { testDevice } from '../device.ts';

const inFunction = (body: string): string => `fn f() {\n${body}\n}`;

describe('a variable without an initialiser gets its zero', () => {
  test.each([
    ['var x: f32;', 'var x: f32 = f32();'],
    ['var x : array<vec4<f32>, 4> ;', 'var x : array<vec4<f32>, 4> = array<vec4<f32>, 4>();'],
    ['var<function> x: u32;', 'var<function> x: u32 = u32();'],
    ['var x: array<f32, TILE / 4>;', 'var x: array<f32, TILE / 4> = array<f32, TILE / 4>();'],
    ['for (var i: u32; i < 4; i++) { var y: Pair; }', 'for (var i: u32 = u32(); i < 4; i++) { var y: Pair = Pair(); }'],
    ['var x:\n  f32;', 'var x:\n  f32 = f32();'],
  ])('%s', (before, after) => {
    expect(initialiseVariables(inFunction(before))).toBe(inFunction(after));
  });
});

describe('everything else stays as it is', () => {
  test.each([
    'var<workgroup> tile: array<f32, 64>;',
    'var<private> x: f32;',
    '@group(0) @binding(0) var<storage, read> a: array<f32>;',
    inFunction('var x: f32 = 1;'),
    inFunction('var x = 1;'),
    inFunction('let x: f32 = 1; variable = x;'),
    inFunction('// var x: f32;'),
    inFunction('/* var x: f32; */'),
    '/* { */ var<private> x: f32; // {\nvar<private> y: f32;',
    'struct Pair { a: f32, b: f32 }\nvar<private> pair: Pair;',
    `${inFunction('if (true) { }')}\nvar<private> x: f32;`,
  ])('%s', (source) => {
    expect(initialiseVariables(source)).toBe(source);
  });

  const folder = fileURLToPath(new URL('../../shaders/', import.meta.url));
  const shaders = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.wgsl'));
  test.each(shaders)('%s, which initialises everything', (name) => {
    const source = readFileSync(join(folder, name), 'utf8');
    expect(initialiseVariables(source)).toBe(source);
  });
});

test('what comes out compiles, for every kind of type', async () => {
  const source = `
    struct Pair { a: f32, b: vec2<i32> }
    alias Row = array<f32, 2>;
    @compute @workgroup_size(1) fn main() {
      for (var i: u32; i < 2; i++) {
        var flag: bool; var number: f32; var vector: vec4<f32>; var short: vec3u;
        var matrix: mat2x4<f32>; var list: array<vec4<f32>, 4>; var pair: Pair; var row: Row; var nested: array<Row, 3>;
      }
    }`;
  const { gpu } = await testDevice();
  const module = gpu.createShaderModule({ code: initialiseVariables(source) });
  const { messages } = await module.getCompilationInfo();
  expect(messages.filter(({ type }) => type === 'error')).toEqual([]);
});
