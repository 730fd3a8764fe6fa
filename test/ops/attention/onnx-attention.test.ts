/**
 * ONNX's own tests of its operator Attention, through the reference and through every op that can compute the case, at ONNX's
 * bar for both dtypes: in float16, whose last place is at most 2⁻¹⁰ of a number, it lets a result err by one.
 */
import { describe, expect, test } from 'vitest';
import {
  concat,
  type Device,
  flashAttention,
  localAttention,
  reshape,
  scaledDotProductAttention,
  type Tensor,
} from '../../../src/index.ts';
import { describeConformance, type OnnxCase } from '../../conformance.ts';
import { testDevice } from '../../device.ts';
import { attention } from '../../reference/attention.ts';
import { expectClose } from '../../reference/compare.ts';
import { joinHeads, splitHeads } from '../../reference/heads.ts';
import { concat as hostConcat, type HostArray, sizeOf } from '../../reference/host-array.ts';
import { onnxAttention, type OnnxAlgebra } from './onnx-attention.ts';
import { type Float, upload } from '../upload.ts';

const bar = { atol: 1e-7, rtol: 1e-3 };

const dtypeOf = (c: OnnxCase) => c.tensor('Q').dtype as Float;

function expectOutputs(c: OnnxCase, actual: Record<string, { shape: readonly number[]; data: ArrayLike<number> }>) {
  expect(Object.keys(actual).sort()).toEqual([...c.outputs].sort());
  for (const slot of c.outputs) {
    const { shape, data } = c.tensor(slot);
    expect(actual[slot].shape).toEqual(shape);
    const isCopy = slot.startsWith('present_');
    expectClose(actual[slot].data, data, isCopy ? { atol: 0, rtol: 0 } : bar, slot);
  }
}

function reference(c: OnnxCase): OnnxAlgebra<HostArray> {
  return {
    input: (slot) => c.tensor(slot),
    shapeOf: (x) => x.shape,
    split: splitHeads,
    join: joinHeads,
    concat: (first, second, axis) => hostConcat([first, second], axis),
    hidden: (shape, like) => hiddenMask(shape, like.data instanceof Uint8Array),
    attend(q, k, v, options, extra) {
      const returnScores = extra === 'weights' ? undefined : extra;
      const { output, weights, scores } = attention(q, k, v, { ...options, returnScores });
      return { output, extra: extra === 'weights' ? weights : scores };
    },
  };
}

function hiddenMask(shape: readonly number[], isBool: boolean): HostArray {
  const size = sizeOf(shape);
  return { shape, data: isBool ? new Uint8Array(size) : new Float32Array(size).fill(-Infinity) };
}

type Op = 'flashAttention' | 'localAttention' | 'scaledDotProductAttention';

function onDevice(device: Device, c: OnnxCase, op: Op): OnnxAlgebra<Tensor> {
  return {
    input: (slot) => upload(device, c.tensor(slot), dtypeOf(c)),
    shapeOf: (x) => x.shape,
    split: (x, heads) => x.reshape([...x.shape.slice(0, 2), heads, x.shape[2] / heads]).transpose(1, 2),
    join: (x) => reshape(x.transpose(1, 2), [x.shape[0], x.shape[2], x.shape[1] * x.shape[3]]),
    concat,
    hidden: (shape, like) => upload(device, hiddenMask(shape, like.dtype === 'bool'), dtypeOf(c)),
    attend(q, k, v, options, extra) {
      if (op === 'flashAttention') return flashAttention(q, k, v, options);
      if (op === 'localAttention') {
        return localAttention(q, k, v, { ...options, window: options.window ?? { left: -1, right: -1 } });
      }
      const isWeights = extra === 'weights';
      const { output, weights, scores } = scaledDotProductAttention(q, k, v, {
        ...options,
        ...(extra && (isWeights ? { returnWeights: true } : { returnScores: extra })),
      });
      return { output, extra: isWeights ? weights : scores };
    },
  };
}

async function runOnDevice(c: OnnxCase, op: Op) {
  const device = await testDevice();
  const tensors = device.scope(() => onnxAttention(c, onDevice(device, c, op)));
  const entries = await Promise.all(
    Object.entries(tensors).map(async ([slot, tensor]) => {
      const { shape } = tensor;
      const data = (await tensor.data()) as Float32Array;
      tensor.dispose();
      return [slot, { shape, data }] as const;
    }),
  );
  return Object.fromEntries(entries);
}

describe.each([
  ['onnx_attention', 76],
  ['onnx_attention_window', 11],
] as const)('%s', async (set, count) => {
  await describeConformance(set, (cases) => {
    test('has all its cases', () => expect(cases).toHaveLength(count));

    describe('reference', () => {
      test.each(cases)('$name', (c) => expectOutputs(c, onnxAttention(c, reference(c))));
    });

    const fused = cases.filter((c) => !c.outputs.includes('qk_matmul_output'));
    describe('flashAttention', () => {
      test.each(fused)('$name', async (c) => expectOutputs(c, await runOnDevice(c, 'flashAttention')));
    });
    describe('localAttention', () => {
      test.each(fused)('$name', async (c) => expectOutputs(c, await runOnDevice(c, 'localAttention')));
    });
    describe('scaledDotProductAttention', () => {
      test.each(cases)('$name', async (c) => expectOutputs(c, await runOnDevice(c, 'scaledDotProductAttention')));
    });
  });
});
