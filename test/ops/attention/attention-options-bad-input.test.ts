/** What wrong options of the attention ops get: one sentence, thrown at once; nothing is allocated, the device stays usable. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  createDevice,
  flashAttention,
  localAttention,
  mergeAttention,
  scaledDotProductAttention,
  type Device,
  type DType,
  type Tensor,
} from '../../../src/index.ts';
import { testDevice } from '../../device.ts';

let device: Device;
let other: Device;
beforeAll(async () => {
  device = await testDevice();
  other = await createDevice();
});
afterAll(() => other.dispose());

const zeros = (shape: readonly number[], dtype?: DType) => device.zeros(shape, { dtype });
/** What a program without types may pass. */
const untyped = <T>(value: unknown) => value as T;

const [B, H, N, D] = [2, 4, 5, 8];

/** What is wrong, and the sentence that follows the op's name. */
type Case = [name: string, options: () => Record<string, unknown>, message: string | RegExp];

const SLOPES = 'alibiSlopes must be a float32 tensor of [4] or [2, 4]';
const LENGTHS = 'keyLengths must be 2 whole numbers from 0 to 5, one for each batch entry';
const BOUND = 2 ** 28;
const OFFSETS = `queryOffset must be 2 whole numbers from -${BOUND} to ${BOUND}, one for each batch entry`;
const SIDE = 'must be a whole number of keys, or -1 for unbounded';

const CASES: readonly Case[] = [
  ['a negative softcap', () => ({ softcap: -1 }), 'softcap must be positive, got -1'],
  ['a softcap of 0', () => ({ softcap: 0 }), 'softcap must be positive, got 0'],
  ['an infinite softcap', () => ({ softcap: Infinity }), 'softcap must be a finite number, got Infinity'],
  ['a softcap of NaN', () => ({ softcap: NaN }), 'softcap must be a finite number, got NaN'],
  ['a softcap in words', () => ({ softcap: '2' }), "softcap must be a finite number, got '2'"],
  [
    'too few slopes',
    () => ({ alibiSlopes: [1, 2, 3] }),
    'alibiSlopes must be 4 finite numbers, one for each head, got [1, 2, 3]',
  ],
  ['one slope for all', () => ({ alibiSlopes: 0.5 }), /^alibiSlopes must be .*, got 0\.5$/],
  ['a slope of NaN', () => ({ alibiSlopes: [1, NaN, 1, 1] }), /^alibiSlopes must be .*, got \[1, NaN, 1, 1\]$/],
  [
    'a slope of −∞',
    () => ({ alibiSlopes: [1, -Infinity, 1, 1] }),
    /^alibiSlopes must be 4 finite numbers, .*-Infinity, 1, 1\]$/,
  ],
  ['slopes of another shape', () => ({ alibiSlopes: zeros([H, B]) }), `${SLOPES}, got a float32 tensor of [4, 2]`],
  ['slopes in float16', () => ({ alibiSlopes: zeros([H], 'float16') }), `${SLOPES}, got a float16 tensor of [4]`],
  [
    'slopes of another device',
    () => ({ alibiSlopes: other.zeros([H]) }),
    "alibiSlopes must be on query's device, got a tensor of another device",
  ],
  [
    'disposed slopes',
    () => ({ alibiSlopes: disposed([H]) }),
    'alibiSlopes must not be disposed, got a disposed tensor of [4]',
  ],
  [
    'too many sinks',
    () => ({ sinks: [1, 2, 3, 4, 5] }),
    'sinks must be 4 finite numbers, one for each head, got [1, 2, 3, 4, 5]',
  ],
  [
    'sinks for each batch entry',
    () => ({ sinks: zeros([B, H]) }),
    'sinks must be a float32 tensor of [4], got a float32 tensor of [2, 4]',
  ],
  [
    'sinks of int32',
    () => ({ sinks: zeros([H], 'int32') }),
    /^sinks must be a float32 tensor of \[4\], got an? int32 tensor/,
  ],
  ['a window of fractions', () => ({ window: { left: 0.5, right: 0 } }), `window.left ${SIDE}, got 0.5`],
  ['a window of one side', () => ({ window: { left: 1 } }), `window.right ${SIDE}, got undefined`],
  ['a window in one number', () => ({ window: 3 }), 'window must be { left, right }, got 3'],
  [
    'an unknown alignment',
    () => ({ window: { left: 1, right: 1, align: 'end' } }),
    "window.align must be 'top-left' or 'bottom-right', got 'end'",
  ],
  [
    'two alignments where lengths vary',
    () => ({ window: { left: 1, right: 1, align: 'top-left' }, isCausal: 'bottom-right', keyLengths: [1, 2] }),
    "window.align must be isCausal's 'bottom-right' if lengths vary, got 'top-left'",
  ],
  ['a fraction of an offset', () => ({ queryOffset: 0.5 }), /^queryOffset must be a whole number.*, got 0\.5$/],
  ['an infinite offset', () => ({ queryOffset: Infinity }), /^queryOffset must be a whole number.*, got Infinity$/],
  ['an offset beyond every key', () => ({ queryOffset: 2 ** 31 }), /^queryOffset must be .*, got 2147483648$/],
  ['too few offsets', () => ({ queryOffset: [1] }), `${OFFSETS}, got [1]`],
  ['offsets in words', () => ({ queryOffset: ['a', 'b'] }), `${OFFSETS}, got ['a', 'b']`],
  [
    'offsets of float32',
    () => ({ queryOffset: zeros([B]) }),
    'queryOffset must be an int32 tensor of [2], got a float32 tensor of [2]',
  ],
  ['too many key lengths', () => ({ keyLengths: [1, 2, 3] }), `${LENGTHS}, got [1, 2, 3]`],
  ['a negative key length', () => ({ keyLengths: [1, -1] }), `${LENGTHS}, got [1, -1]`],
  ['more keys than there are', () => ({ keyLengths: [1, N + 1] }), `${LENGTHS}, got [1, 6]`],
  ['one key length for all', () => ({ keyLengths: 3 }), /^keyLengths must be .*, got 3$/],
  [
    'key lengths of float32',
    () => ({ keyLengths: zeros([B]) }),
    'keyLengths must be an int32 or uint32 tensor of [2], got a float32 tensor of [2]',
  ],
  [
    'key lengths of another shape',
    () => ({ keyLengths: zeros([B, 1], 'int32') }),
    /^keyLengths must be an int32 or uint32 tensor of \[2\], got an? int32 tensor of \[2, 1\]$/,
  ],
];

const rising = (name: string) => `${name} must be whole numbers rising from 0 to the total length 5`;

/** Bad inputs of a packed problem, [1, H, N, D]. */
const PACKED: readonly Case[] = [
  [
    'query offsets alone',
    () => ({ queryOffsets: [0, N] }),
    'keyOffsets must be given with queryOffsets, got undefined',
  ],
  ['key offsets alone', () => ({ keyOffsets: [0, N] }), 'queryOffsets must be given with keyOffsets, got undefined'],
  [
    'lists of two lengths',
    () => ({ queryOffsets: [0, N], keyOffsets: [0, 1, N] }),
    "keyOffsets must have queryOffsets' length 2, got 3",
  ],
  ['no sequence', () => ({ queryOffsets: [0], keyOffsets: [0] }), `${rising('queryOffsets')}, got [0]`],
  [
    'a first offset that is not 0',
    () => ({ queryOffsets: [1, N], keyOffsets: [0, N] }),
    `${rising('queryOffsets')}, got [1, 5]`,
  ],
  [
    'a last offset that is not the end',
    () => ({ queryOffsets: [0, N], keyOffsets: [0, N - 1] }),
    `${rising('keyOffsets')}, got [0, 4]`,
  ],
  [
    'offsets that fall',
    () => ({ queryOffsets: [0, 4, 2, N], keyOffsets: [0, 1, 2, N] }),
    `${rising('queryOffsets')}, got [0, 4, 2, 5]`,
  ],
  [
    'fractions',
    () => ({ queryOffsets: [0, 1.5, N], keyOffsets: [0, 1, N] }),
    `${rising('queryOffsets')}, got [0, 1.5, 5]`,
  ],
  [
    'a mask',
    () => ({ queryOffsets: [0, N], keyOffsets: [0, N], mask: zeros([N, N]) }),
    'mask must not come with queryOffsets, got both: use maskMod or keyLengths',
  ],
  [
    'slopes for more sequences than there are',
    () => ({ queryOffsets: [0, N], keyOffsets: [0, N], alibiSlopes: zeros([2, H]) }),
    'alibiSlopes must be a float32 tensor of [4] or [1, 4], got a float32 tensor of [2, 4]',
  ],
];

function disposed(shape: readonly number[]): Tensor {
  const tensor = zeros(shape);
  tensor.dispose();
  return tensor;
}

async function expectRefused(call: () => unknown, op: string, message: string | RegExp): Promise<void> {
  const { live } = device.memory();
  const failure = (() => {
    try {
      device.scope(() => void call());
    } catch (error) {
      return error as Error;
    }
    return undefined;
  })();
  expect(failure?.message.slice(0, op.length + 2)).toBe(`${op}: `);
  const sentence = failure!.message.slice(op.length + 2);
  expect(sentence).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
  expect(failure).toBeInstanceOf(ArgumentError);
  expect(failure!.message).not.toContain('\n');
  expect(device.memory().live).toBe(live);
  await device.sync();
}

describe.each(['flashAttention', 'localAttention', 'scaledDotProductAttention'] as const)('%s', (op) => {
  const run = (batch: number, options: Record<string, unknown>) => {
    const x = zeros([batch, H, N, D]);
    switch (op) {
      case 'flashAttention':
        return flashAttention(x, x, x, options);
      case 'localAttention':
        return localAttention(x, x, x, untyped({ window: { left: 1, right: 1 }, ...options }));
      case 'scaledDotProductAttention':
        return scaledDotProductAttention(x, x, x, options);
    }
  };

  test.each(CASES)('%s', async (_name, options, message) => {
    await expectRefused(() => run(B, options()), op, message);
  });

  describe('packed', () => {
    test.each(PACKED)('%s', async (_name, options, message) => {
      await expectRefused(() => run(1, options()), op, message);
    });

    test('in more than one batch entry', async () => {
      const options = { queryOffsets: [0, N], keyOffsets: [0, N] };
      const message = 'query must be [1, heads, total, headDim] with queryOffsets, got [2, 4, 5, 8]';
      await expectRefused(() => run(B, options), op, message);
    });
  });
});

describe('scaledDotProductAttention alone', () => {
  test.each([
    ['raw', "'raw'"],
    [true, 'true'],
    [3, '3'],
  ])('scores %j', async (returnScores, got) => {
    const x = () => zeros([B, H, N, D]);
    await expectRefused(
      () => scaledDotProductAttention(x(), x(), x(), untyped({ returnScores })),
      'scaledDotProductAttention',
      `returnScores must be 'scaled', 'capped' or 'masked', got ${got}`,
    );
  });
});

describe('mergeAttention', () => {
  const part = (rows: number[], valueDim: number, dtype: DType = 'float32') => ({
    output: zeros([...rows, valueDim], dtype),
    logSumExp: zeros(rows),
  });
  const rows = [1, 2, 3];
  const like = 'parts[1].output must be a float32 tensor of [1, 2, 3, 4] like the first';
  const ofRows = 'parts[0].logSumExp must be a float32 tensor of [1, 2, 3]';

  test.each<[name: string, parts: () => unknown, message: string | RegExp]>([
    ['no parts', () => [], 'parts must hold at least one { output, logSumExp }, got []'],
    ['no list', () => part(rows, 4), /^parts must hold at least one \{ output, logSumExp \}, got /],
    ['a part that is a tensor', () => [zeros([...rows, 4])], 'parts[0].output must be a Tensor, got undefined'],
    ['a part that is nothing', () => [null], 'parts[0].output must be a Tensor, got undefined'],
    [
      'a part without its log-sum-exp',
      () => [{ output: zeros([...rows, 4]) }],
      'parts[0].logSumExp must be a Tensor, got undefined',
    ],
    ['shapes that differ', () => [part(rows, 4), part(rows, 5)], `${like}, got a float32 tensor of [1, 2, 3, 5]`],
    [
      'dtypes that differ',
      () => [part(rows, 4), part(rows, 4, 'float16')],
      `${like}, got a float16 tensor of [1, 2, 3, 4]`,
    ],
    ['two axes', () => [part([3], 4)], 'parts[0].output must have three or four axes, got [3, 4]'],
    [
      'a log-sum-exp of other rows',
      () => [{ output: zeros([...rows, 4]), logSumExp: zeros([1, 2, 4]) }],
      `${ofRows}, got a float32 tensor of [1, 2, 4]`,
    ],
    [
      'a log-sum-exp in float16',
      () => [{ output: zeros([...rows, 4], 'float16'), logSumExp: zeros(rows, 'float16') }],
      `${ofRows}, got a float16 tensor of [1, 2, 3]`,
    ],
    [
      'a part of another device',
      () => [part(rows, 4), { output: other.zeros([...rows, 4]), logSumExp: other.zeros(rows) }],
      "parts[1].output must be on parts[0].output's device, got a tensor of another device",
    ],
  ])('%s', async (_name, parts, message) => {
    await expectRefused(() => mergeAttention(untyped(parts())), 'mergeAttention', message);
  });
});
