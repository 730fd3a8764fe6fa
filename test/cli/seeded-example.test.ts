import { expect, test } from 'vitest';
import { largestError } from '../../src/cli/measure.ts';
import { resultsOf, seededExample } from '../../src/cli/seeded-example.ts';
import { SIX_RUNS } from '../../src/cli/six-runs.ts';
import { elementsOf } from '../../src/io/safetensors.ts';
import { decodeFloat16 } from '../../src/tensor/float16.ts';
import { readExample } from './example.ts';

test.each(SIX_RUNS)("the float64 results of $name are PyTorch's", (run) => {
  const { tensors } = readExample();
  const read = (name: string) => {
    const { dtype, shape, data } = tensors[name];
    expect(dtype).toBe('F16');
    return { shape, data: decodeFloat16(elementsOf(dtype, data) as Uint16Array) };
  };
  const results = resultsOf(run, read);
  expect(Object.keys(results).sort()).toEqual([...run.results].sort());
  for (const [name, { shape, data }] of Object.entries(results)) {
    const expected = tensors[`${run.name}/${name}`];
    expect(shape).toEqual(expected.shape);
    expect(largestError(data, elementsOf('F32', expected.data))).toBeLessThanOrEqual(1e-6); // PyTorch's are stored as float32
  }
});

test('the seeded example has what the file has, with the same shapes', () => {
  const { tensors } = readExample();
  const seeded = seededExample(SIX_RUNS.filter(({ name }) => name !== 'FlashAttention' && name !== 'LocalAttention'));
  const shapesOf = (entries: typeof tensors) =>
    Object.fromEntries(Object.entries(entries).map(([name, { dtype, shape }]) => [name, [dtype, shape]]));
  const { 'FlashAttention/output': _flash, 'LocalAttention/output': _local, ...rest } = shapesOf(tensors); // are slow
  expect(shapesOf(seeded.tensors)).toEqual(rest);
});
