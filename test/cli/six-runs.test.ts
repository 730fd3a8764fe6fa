import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../src/index.ts';
import { chooseRuns, SIX_RUNS } from '../../src/cli/six-runs.ts';
import { readExample } from './example.ts';

describe('the table of runs', () => {
  test('is what the example file holds', () => {
    const { runs } = readExample();
    const told = runs.map(({ name, inputs, outputs, options }) => ({ name, inputs, results: outputs, options }));
    expect(SIX_RUNS.map(({ name, inputs, results, options }) => ({ name, inputs, results, options }))).toEqual(told);
  });

  test('names tensors that the file has', () => {
    const { tensors } = readExample();
    const named = SIX_RUNS.flatMap(({ name, inputs, results }) => [...inputs, ...results].map((t) => `${name}/${t}`));
    const others = Object.keys(tensors).filter((name) => !name.startsWith('projections/'));
    expect(named.sort()).toEqual(others.sort());
  });

  test('has words for every row and column of the maps', () => {
    const { runs, tensors } = readExample();
    for (const { name, outputs, queryLabels, keyLabels, headLabels } of runs) {
      if (!outputs.includes('weights')) continue;
      const { shape } = tensors[`${name}/weights`];
      const [batch, queries, keys] = [shape[0], shape.at(-2), shape.at(-1)];
      expect(queryLabels!.map((words) => words.length)).toEqual(Array.from({ length: batch }, () => queries));
      expect(keyLabels!.map((words) => words.length)).toEqual(Array.from({ length: batch }, () => keys));
      expect(headLabels?.length ?? 1).toBe(shape.length === 4 ? shape[1] : 1);
    }
  });
});

describe('--module', () => {
  test('chooses all, or one by its name in any case', () => {
    expect(chooseRuns()).toBe(SIX_RUNS);
    expect(chooseRuns('crossattention').map(({ name }) => name)).toEqual(['CrossAttention']);
  });

  test.each([
    ['CrossAtention', 'CrossAttention'],
    ['self', 'SelfAttention'],
    ['MultiheadAttentoin', 'MultiHeadAttention'],
  ])('%s is refused with %s as the nearest', (name, near) => {
    const names = SIX_RUNS.map((run) => run.name).join(', ');
    expect(() => chooseRuns(name)).toThrow(ArgumentError);
    expect(() => chooseRuns(name)).toThrow(
      `demo: module must be one of ${names}, got '${name}' (did you mean ${near}?)`,
    );
  });

  test.each(['', 'convolution'])("'%s' is near to none", (name) => {
    expect(() => chooseRuns(name)).toThrow(/, got '\w*'$/);
  });
});
