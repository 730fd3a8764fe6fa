import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checkFunction } from '../../src/gpu/user-function/check-function.ts';
import {
  captureFields,
  DERIVATIVE,
  planModifiers,
  SIGNATURES,
  type ModifierSource,
} from '../../src/kernels/modifiers.ts';
import type { DType } from '../../src/tensor/dtype.ts';

const SCORE = 'fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return score; }';
const MASK = 'fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return true; }';

type Tensors = [name: string, dtype: DType, shape: number[]][];

type Captured = { readonly dtype: DType; readonly shape: number[] };

function source(
  kind: 'scoreMod' | 'maskMod',
  tensors: Tensors,
  numbers: [string, number][] = [],
): ModifierSource<Captured> {
  return {
    kind,
    code: checkFunction(kind, kind === 'scoreMod' ? SCORE : MASK, SIGNATURES[kind], []),
    tensors: tensors.map(([name, dtype, shape]) => [name, { dtype, shape }]),
    numbers,
  };
}

describe('planModifiers', () => {
  test('a modifier without captures is its text', () => {
    const { insertions, derivatives } = planModifiers('op', [source('maskMod', [])]);
    expect(insertions.map(({ name }) => name)).toEqual(['mask_mod']);
    expect(insertions[0].text).toBe(
      'fn mask_mod(mask_mod_b: u32, mask_mod_h: u32, mask_mod_i: u32, mask_mod_j: u32) -> bool { return true; }',
    );
    expect(derivatives).toEqual([]);
  });

  test('two share the slots for captures, the first first', () => {
    const score = source(
      'scoreMod',
      [['bias', 'float32', [3]]],
      [
        ['a', 1],
        ['b', 2],
      ],
    );
    const mask = source('maskMod', [['bias', 'int32', [4, 5]]], [['a', 3]]);
    const { insertions, captures, fields } = planModifiers('op', [score, mask]);
    expect(captures.map(({ shape }) => shape)).toEqual([[3], [4, 5]]);
    expect(fields([7, 9])).toEqual(captureFields([[3], [4, 5]], [1, 2, 3], [7, 9]));
    const [first, second] = insertions.map(({ text }) => text);
    expect(first).toContain('fn score_mod_bias(i0: u32) -> f32 {\n  let shape = params.options.captures.shapes[0];');
    expect(first).toContain('fn score_mod_b() -> f32 { return params.options.captures.numbers[0][1]; }');
    expect(second).toContain(
      'fn mask_mod_bias(i0: u32, i1: u32) -> i32 {\n  let shape = params.options.captures.shapes[1];',
    );
    expect(second).toContain('fn mask_mod_a() -> f32 { return params.options.captures.numbers[0][2]; }');
  });

  test('the text depends on ranks and dtypes, not on lengths and numbers', () => {
    const text = (shape: number[], dtype: DType, value: number) =>
      planModifiers('op', [source('scoreMod', [['t', dtype, shape]], [['n', value]])]).insertions[0].text;
    expect(text([3, 4], 'float32', 1)).toBe(text([7, 1], 'float32', -2.5));
    expect(text([3, 4], 'float32', 1)).not.toBe(text([3, 4, 5], 'float32', 1));
    const dtypes = (['float32', 'float16', 'int32', 'uint32', 'bool'] as const).map((dtype) => text([3, 4], dtype, 1));
    expect(new Set(dtypes).size).toBe(5);
  });

  test('a derivative has a name of its own, the same captures, and a place in the gradient’s kernels only', () => {
    const text = 'fn score_mod_derivative(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return half() * t(i); }';
    const derivative = checkFunction("scoreMod's derivative", text, DERIVATIVE, ['half', 't']);
    const captures = [[['t', 'float32', [3]]] as Tensors, [['half', 0.5]] as [string, number][]] as const;
    const mask = source('maskMod', [['t', 'bool', [4, 5]]], [['a', 3]]);
    const score = { ...source('scoreMod', ...captures), derivativeCode: derivative };
    const { insertions, derivatives, fields } = planModifiers('op', [mask, score]);
    expect(fields([])).toEqual(captureFields([[4, 5], [3]], [3, 0.5], []));
    expect(insertions.map(({ name }) => name)).toEqual(['mask_mod', 'score_mod']);
    expect(derivatives.map(({ name }) => name)).toEqual(['d_score_mod']);
    const [inserted] = derivatives;
    expect(inserted.text).toMatch(
      /^fn d_score_mod\(.*return d_score_mod_half\(\) \* d_score_mod_t\(d_score_mod_i\); }/,
    );
    expect(inserted.text).toContain(
      'fn d_score_mod_t(i0: u32) -> f32 {\n  let shape = params.options.captures.shapes[1];',
    );
    expect(inserted.text).toContain('fn d_score_mod_half() -> f32 { return params.options.captures.numbers[0][1]; }');
    const column = inserted.text.indexOf('d_score_mod_t(') + 1;
    expect(inserted.explain("in d_score_mod: 'd_score_mod_t' is wrong", 1, column)).toBe(
      `scoreMod's derivative line 1, column ${text.indexOf('t(i)') + 1}: in score_mod_derivative: 't' is wrong`,
    );
    expect(planModifiers('op', [mask]).derivatives).toEqual([]);
  });

  test('refuses more than a kernel has room for', () => {
    const tensors: Tensors = [
      ['a', 'float32', [1]],
      ['b', 'float32', [1]],
      ['c', 'float32', [1]],
    ];
    const numbers: [string, number][] = ['d', 'e', 'f', 'g', 'h'].map((name) => [name, 0]);
    expect(() => planModifiers('op', [source('scoreMod', tensors), source('maskMod', tensors)])).toThrow(
      'op: scoreMod and maskMod must capture at most 4 tensors, got 6',
    );
    expect(() => planModifiers('op', [source('scoreMod', [], numbers), source('maskMod', [], numbers)])).toThrow(
      'op: scoreMod and maskMod must capture at most 8 numbers, got 10',
    );
  });
});

test('captureFields fills up what is not used', () => {
  const zeros = Array.from({ length: 8 }, () => 0);
  const ones = Array.from({ length: 16 }, () => 1);
  expect(captureFields([], [], [])).toEqual({ offsets: [0, 0, 0, 0], shapes: ones, numbers: zeros });
  const shapes = [
    [2, 3],
    [4, 5, 6, 7],
  ];
  expect(captureFields(shapes, [0.5], [10, 16])).toEqual({
    offsets: [10, 16, 0, 0],
    shapes: [2, 3, 1, 1, 4, 5, 6, 7, 1, 1, 1, 1, 1, 1, 1, 1],
    numbers: zeros.with(0, 0.5),
  });
});

test("no shader declares for itself what a modifier takes for WGSL's, nor under a modifier's prefix", () => {
  const folder = new URL('../../shaders/', import.meta.url);
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.wgsl'));
  const declared = files.flatMap((file) => {
    const text = readFileSync(new URL(file.replaceAll('\\', '/'), folder), 'utf8');
    return Array.from(
      text.matchAll(/^(?:@.*\) )?(?:fn|const|struct|alias|override|var(?:<[^>]*>)?) (\w+)/gm),
      ([, name]) => name,
    );
  });
  expect(declared).toEqual(expect.arrayContaining(['params', 'table', 'main', 'Params', 'HIDDEN', 'tile_of']));
  const read = (name: string) => {
    const signature = { ...SIGNATURES.scoreMod, name: 'modifier', parameters: [] };
    return checkFunction('scoreMod', `fn modifier() -> f32 { return ${name}; }`, signature, []);
  };
  expect(() => read('max')).not.toThrow();
  for (const name of declared) expect(() => read(name)).toThrow(`unknown name '${name}'`);
  expect(declared.filter((name) => /^(?:score|mask|d_score)_mod_/.test(name))).toEqual([]);
});
