/** Gradients of mergeAttention, through its output, its log-sum-exp, and both. */
import { describe, expect, test } from 'vitest';
import { add, cast, clone, mergeAttention, multiply, sum, type Tensor, type TensorData } from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { Random } from '../../random.ts';
import { expectClose } from '../../reference/compare.ts';
import { numericalGradients } from '../../reference/finite-differences.ts';
import { type HostArray, zeros } from '../../reference/host-array.ts';
import { mergeAttention as reference } from '../../reference/merge-attention.ts';
import { tolerances } from '../../reference/tolerances.ts';
import { map } from './attention-suite.ts';
import { changeTraits } from '../traits.ts';
import { type Float, type Layout, stored, upload } from '../upload.ts';

interface Given {
  readonly parts: readonly { readonly output: HostArray; readonly logSumExp: HostArray }[];
  readonly dtype: Float;
  /** Which results the loss is of; default both. */
  readonly through?: 'output' | 'logSumExp';
  readonly layout?: Layout;
  /** Rows of each part without keys. */
  readonly isEmpty?: (part: number, row: number) => boolean;
}

const random = new Random(79);
const normals = (...shape: number[]): HostArray => ({ shape, data: random.normals(shape) });

function randomParts(count: number, rows: number[], valueDim: number): Given['parts'] {
  return Array.from({ length: count }, () => ({ output: normals(...rows, valueDim), logSumExp: normals(...rows) }));
}

async function expectGradients({ parts, dtype, through, layout = {}, isEmpty = () => false }: Given): Promise<void> {
  const device = await testDevice();
  const { live } = device.memory();
  const like = parts[0];
  const [g, h] = [normals(...like.output.shape), normals(...like.logSumExp.shape)];
  const emptied = parts.map(({ output, logSumExp }, p) => ({
    output: map(output, (x, at) => (isEmpty(p, Math.floor(at / output.shape.at(-1)!)) ? NaN : x)),
    logSumExp: map(logSumExp, (x, row) => (isEmpty(p, row) ? -Infinity : x)),
  }));

  const run = async (): Promise<TensorData[]> => {
    const gradients = device.scope(() => {
      const leaves = emptied.map(({ output, logSumExp }) => ({
        output: upload(device, output, dtype, layout),
        logSumExp: upload(device, logSumExp, 'float32'),
      }));
      for (const { output, logSumExp } of leaves) output.requiresGrad = logSumExp.requiresGrad = true;
      const merged = mergeAttention(leaves);
      const losses: Tensor[] = [];
      if (through !== 'logSumExp') {
        losses.push(sum(multiply(cast(merged.output, 'float32'), upload(device, stored(g, dtype), 'float32'))));
      }
      if (through !== 'output') losses.push(sum(multiply(merged.logSumExp, upload(device, h, 'float32'))));
      losses.reduce(add).backward();
      return leaves.flatMap(({ output, logSumExp }) => {
        expect([output.grad!.dtype, logSumExp.grad!.dtype]).toEqual([dtype, 'float32']);
        return [clone(output.grad!), clone(logSumExp.grad!)];
      });
    });
    const values: TensorData[] = [];
    for (const gradient of gradients) {
      values.push(await gradient.data());
      gradient.dispose();
    }
    return values;
  };

  // a part without keys: a log-sum-exp so low that it weighs nothing
  const inputs = parts.flatMap(({ output, logSumExp }, p) => [
    stored(output, dtype),
    map(logSumExp, (x, row) => (isEmpty(p, row) ? -1e4 : x)),
  ]);
  const dOutput = through === 'logSumExp' ? zeros(g.shape) : stored(g, dtype);
  const dLogSumExp = through === 'output' ? zeros(h.shape) : h;
  const expected = numericalGradients(
    (...arrays) => {
      const given = parts.map((_, p) => ({ output: arrays[2 * p], logSumExp: arrays[2 * p + 1] }));
      const merged = reference(given);
      return [merged.output, merged.logSumExp];
    },
    inputs,
    [dOutput, dLogSumExp],
  );
  const values = await run();
  values.forEach((gradient, i) => {
    const [name, part] = [i % 2 === 0 ? 'output' : 'logSumExp', Math.floor(i / 2)];
    const wanted = expected[i].data.map((x, at) => {
      const row = i % 2 === 0 ? Math.floor(at / like.output.shape.at(-1)!) : at;
      return isEmpty(part, row) ? 0 : x; // where all are empty too
    });
    expectClose(gradient, wanted, tolerances[dtype].opGradient, `${name} of part ${part}`);
  });
  expect(await run()).toEqual(values);
  expect(device.memory().live).toBe(live);
}

describe.each(['float32', 'float16'] as const)('gradients in %s', (dtype) => {
  test.each<[number, number[], number]>([
    [1, [1, 2, 3], 4],
    [2, [2, 3], 5],
    [3, [1, 2, 3], 9],
    [4, [1, 1, 1], 1],
    [2, [1, 2, 40], 3],
  ])('of %i parts, rows %j, %i values', async (count, rows, valueDim) => {
    const parts = randomParts(count, rows, valueDim);
    for (const through of ['output', 'logSumExp', undefined] as const) await expectGradients({ parts, dtype, through });
    await expectGradients({ parts, dtype, layout: { before: [1] } });
  });

  test('of parts without keys in some rows, whose output may be anything', async () => {
    const parts = randomParts(3, [1, 2, 6], 5);
    await expectGradients({ parts, dtype, isEmpty: (part, row) => row % (part + 2) === 0 });
    await expectGradients({ parts, dtype, isEmpty: (part) => part === 1 });
    await expectGradients({ parts, dtype, isEmpty: () => true });
  });
});

test('rows are shared among invocations as on a GPU', async () => {
  const restore = changeTraits(await testDevice(), { isSoftware: false });
  try {
    await expectGradients({ parts: randomParts(2, [1, 1, 9], 21), dtype: 'float32' });
  } finally {
    restore();
  }
});
