/**
 * PyTorch's own numbers through the ops: scaled_dot_product_attention, sliding windows, and the course's six modules put
 * together from matmul and attention. In float16 an op may err at most twice as much as an evaluation that stores every
 * stage in float16 (test/reference/attention-float16.ts), plus a small absolute term.
 */
import { f16round } from '@petamoriken/float16';
import { describe, test } from 'vitest';
import {
  type Device,
  flashAttention,
  localAttention,
  matmul,
  reshape,
  scaledDotProductAttention,
  type Tensor,
} from '../../../src/index.ts';
import {
  type CaseTensor,
  describeConformance,
  type LocalCase,
  type SdpaCase,
  type SeedCase,
} from '../../conformance.ts';
import { testDevice, triesEveryKernel } from '../../device.ts';
import { narrow } from '../../matrix/narrow.ts';
import { attentionInFloat16 } from '../../reference/attention-float16.ts';
import { expectClose, expectFloat16Close } from '../../reference/compare.ts';
import { localOptions, sdpaOptions } from '../../reference/golden-options.ts';
import { joinHeads, splitHeads } from '../../reference/heads.ts';
import type { HostArray } from '../../reference/host-array.ts';
import { matmul as hostMatmul } from '../../reference/matmul.ts';
import { tolerances, widen } from '../../reference/tolerances.ts';
import { visibility } from '../../reference/visibility.ts';
import { type AttentionOp, largest, type Problem, runAttention } from './attention-run.ts';
import { type Float, upload } from '../upload.ts';

const DTYPES: readonly Float[] = ['float32', 'float16'];
const isBroad = await triesEveryKernel();

await describeConformance('sdpa', (cases) => {
  describe.each(['flashAttention', 'scaledDotProductAttention'] as const)('%s', (op) => {
    describe.each(DTYPES)('%s', (dtype) => {
      test.each(
        narrow(
          cases.filter((c) => compilesFew(op, c, dtype)),
          cases,
        ),
      )('$name', async (c) => {
        await expectGolden(op, c, { ...operands(c), ...sdpaOptions(c) }, dtype);
      });
    });
  });
});

await describeConformance('local', (cases) => {
  describe.each(DTYPES)('%s', (dtype) => {
    test.each(
      narrow(
        cases.filter((c) => compilesFew('localAttention', c, dtype)),
        cases,
      ),
    )('$name', async (c) => {
      await expectGolden('localAttention', c, { ...operands(c), ...localOptions(c) }, dtype);
    });
  });
});

/** Whether a case's bucket of head dims is one that other tests compile too: all of them are what takes the time. */
function compilesFew(op: AttentionOp, c: SdpaCase | LocalCase, dtype: Float): boolean {
  const dim = Math.max(c.tensor('q').shape.at(-1)!, c.tensor('v').shape.at(-1)!);
  return op === 'scaledDotProductAttention' || dim <= (dtype === 'float32' && isBroad ? 64 : 32);
}

function operands(c: SdpaCase | LocalCase): Pick<Problem, 'q' | 'k' | 'v'> {
  return { q: c.tensor('q'), k: c.tensor('k'), v: c.tensor('v') };
}

async function expectGolden(op: AttentionOp, c: SdpaCase | LocalCase, problem: Problem, dtype: Float): Promise<void> {
  const { output, logSumExp, weights } = await runAttention(op, problem, dtype);
  const [out, lse] = [c.tensor('out').data, c.tensor('lse').data];
  const golden = weights && c.has('weights') ? { actual: weights, expected: c.tensor('weights').data } : undefined;
  const maxScore = largest(lse);
  expectClose(logSumExp, lse, widen(tolerances[dtype].logSumExp, { maxScore }), 'logSumExp');
  if (dtype === 'float32') {
    const { attention, weights: ofWeights } = tolerances.float32;
    expectClose(output, out, widen(attention, { maxScore, maxValue: largest(problem.v.data) }), 'output');
    if (golden) expectClose(golden.actual, golden.expected, widen(ofWeights, { maxScore }), 'weights');
    return;
  }
  const { q, k, v, ...options } = problem;
  const rounded = attentionInFloat16(q, k, v, options);
  const { beyondStraightforward } = tolerances.float16;
  expectFloat16Close(output, rounded.output.data, out, beyondStraightforward, 'output');
  if (golden) {
    expectFloat16Close(golden.actual, rounded.weights.data, golden.expected, beyondStraightforward, 'weights');
  }
}

await describeConformance('seed', (cases) => {
  describe.each([
    ['ops that store the weights', false],
    ['fused ops', true],
  ] as const)('%s', (_name, isFused) => {
    test.each(cases)('$name, float32', async (c) => {
      const { output, weights } = await onDevice(await testDevice(), c, 'float32', isFused);
      expectClose(output, c.tensor('out').data, tolerances.float32.module, 'output');
      if (!weights || !c.has('attn')) return;
      expectClose(headMajor(c, weights), c.tensor('attn').data, tolerances.float32.weights, 'weights');
    });

    // fused, each block size is a kernel of its own
    test.each(isFused ? narrow([], cases) : cases)('$name, float16', async (c) => {
      const { output, weights } = await onDevice(await testDevice(), c, 'float16', isFused);
      const rounded = seedModule(c, hostFloat16(c));
      const room = tolerances.float16.moduleBeyondStraightforward;
      expectFloat16Close(output, rounded.output.data, c.tensor('out').data, room, 'output');
      if (!weights || !c.has('attn')) return;
      const [actual, straightforward] = [weights, rounded.weights!.data].map((values) => headMajor(c, values));
      expectFloat16Close(actual, straightforward, c.tensor('attn').data, room, 'weights');
    });
  });
});

interface Results<T> {
  output: T;
  weights?: T;
}

/** The operations that the course's modules are made of, on the device or on the host. */
interface Algebra<T> {
  input: (name: string) => T;
  /** x [N, L, I] · w [I, O], or w [O, I] with `transposeB`. */
  multiply: (x: T, w: T, options?: { transposeB?: boolean; bias?: T }) => T;
  /** [N, L, H·D] → [N, H, L, D] */
  split: (x: T, heads: number) => T;
  /** [N, H, L, D] → [N, L, H·D] */
  merge: (x: T) => T;
  /** Under the case's mask; `scale` defaults to 1/√D, `half` is the window's, on either side. */
  attend: (q: T, k: T, v: T, options?: { scale?: number; half?: number }) => Results<T>;
}

function seedModule<T>(c: SeedCase, { input, multiply, split, merge, attend }: Algebra<T>): Results<T> {
  const linear = (x: T, name: string) =>
    multiply(x, input(`state/${name}.weight`), {
      transposeB: true,
      bias: c.has(`state/${name}.bias`) ? input(`state/${name}.bias`) : undefined,
    });
  const byHeads = (q: T, k: T, v: T, heads: number, prefix: string, half?: number): Results<T> => {
    const [Q, K, V] = [q, k, v].map((x, i) => split(linear(x, prefix + 'qkv'[i]), heads));
    const { output, weights } = attend(Q, K, V, { half });
    return { output: linear(merge(output), `${prefix}o`), weights };
  };
  switch (c.kind) {
    case 'seed.ScaledDotProductAttention':
      return attend(input('q'), input('k'), input('v'), { scale: 1 / c.scale! });
    case 'seed.FlashAttention':
      return attend(input('q'), input('k'), input('v'));
    case 'seed.MultiHeadAttention':
      return byHeads(input('q'), input('k'), input('v'), c.n_head!, 'fc_');
    case 'seed.SelfAttention': {
      const [q, k, v] = ['wq', 'wk', 'wv'].map((name) => multiply(input('x'), input(`state/${name}`)));
      return byHeads(q, k, v, c.n_head!, 'mha.fc_');
    }
    case 'seed.CrossAttention':
      return byHeads(input('q'), input('kv'), input('kv'), c.n_heads!, 'multihead_attn.W_');
    case 'seed.LocalAttention':
      return byHeads(input('x'), input('x'), input('x'), c.n_heads!, 'W_', c.half);
    default:
      throw new Error(`unknown kind ${c.kind}`);
  }
}

/** The case's mask, [N, Nq, Nk] with true = blocked, as [N, 1, Nq, Nk] with true = may attend. */
function seedMask(c: SeedCase): HostArray | undefined {
  if (!c.has('mask')) return undefined;
  const { shape, data } = c.tensor('mask');
  return { shape: [shape[0], 1, ...shape.slice(1)], data: Uint8Array.from(data, (blocked) => 1 - blocked) };
}

async function onDevice(
  device: Device,
  c: SeedCase,
  dtype: Float,
  isFused: boolean,
): Promise<Results<Float32Array | undefined> & { output: Float32Array }> {
  const results = device.scope(() => seedModule(c, deviceAlgebra(device, c, dtype, isFused)));
  const [output, weights] = await Promise.all(
    [results.output, results.weights].map(async (tensor) => {
      const data = await tensor?.data();
      tensor?.dispose();
      return data as Float32Array;
    }),
  );
  return { output, weights };
}

function deviceAlgebra(device: Device, c: SeedCase, dtype: Float, isFused: boolean): Algebra<Tensor> {
  const givenMask = seedMask(c);
  return {
    input: (name) => upload(device, c.tensor(name), dtype),
    multiply: (x, w, options) => matmul(x, w, options),
    split: (x, heads) => x.reshape([...x.shape.slice(0, 2), heads, x.shape[2] / heads]).transpose(1, 2),
    merge: (x) => {
      const [batch, heads, length, dim] = x.shape;
      return reshape(x.transpose(1, 2), [batch, length, heads * dim]);
    },
    attend: (q, k, v, { scale, half } = {}) => {
      const isBanded = half !== undefined;
      const band = isBanded ? { left: half, right: half } : undefined;
      // without its own kernel the window is one more mask
      const [batch, length] = [q.shape[0], q.shape.at(-2)!];
      const seen =
        isBanded && !isFused ? visibility([batch, 1, length, length], { mask: givenMask, window: band }) : givenMask;
      const whole = seen && upload(device, seen, dtype);
      const mask = q.rank === 3 ? whole?.reshape([batch, ...whole.shape.slice(2)]) : whole;
      if (!isFused) return scaledDotProductAttention(q, k, v, { mask, scale, returnWeights: true });
      if (band) return localAttention(q, k, v, { mask, window: band });
      return flashAttention(q, k, v, { mask, scale, blockSize: c.block_size });
    },
  };
}

/** Every stage stored in float16. */
function hostFloat16(c: SeedCase): Algebra<HostArray> {
  const round = ({ shape, data }: HostArray): HostArray => ({ shape, data: Float32Array.from(data, f16round) });
  return {
    input: (name) => c.tensor(name),
    multiply: (x, w, options) => round(hostMatmul(x, w, options)),
    split: splitHeads,
    merge: joinHeads,
    attend: (q, k, v, { scale, half } = {}) => {
      const [Q, K, V] = [q, k, v].map((x) => (x.shape.length === 3 ? splitHeads(x, 1) : x));
      const window = half === undefined ? undefined : { left: half, right: half };
      return attentionInFloat16(Q, K, V, { mask: seedMask(c), scale, window });
    },
  };
}

/** [N, H, Nq, Nk] in the order of the case's `attn`: MultiHeadAttention and SelfAttention have the head outermost. */
function headMajor(c: SeedCase, weights: ArrayLike<number>): ArrayLike<number> {
  if (!c.n_head) return weights;
  const { shape }: CaseTensor = c.tensor('attn');
  const [map, batches] = [shape[1] * shape[2], shape[0] / c.n_head];
  return Array.from(weights, (_, at) => {
    const [head, batch] = [Math.floor(at / (map * batches)), Math.floor(at / map) % batches];
    return weights[(batch * c.n_head! + head) * map + (at % map)];
  });
}
