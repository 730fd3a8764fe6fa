import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  causalMask,
  createBlockMask,
  createDevice,
  documentMask,
  maskMod,
  ShaderError,
  slidingWindow,
  type BlockMask,
  type BlockMaskOptions,
  type Captures,
  type Device,
  type DType,
  type MaskMod,
  type Tensor,
} from '../../../src/index.ts';
import { testDevice } from '../../device.ts';
import { counted } from '../../gpu/affine.ts';
import { blockKinds, type MaskFunction } from '../../reference/block-mask.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

function mask(body: string, captures?: Captures): MaskMod {
  return maskMod(`fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {\n  ${body}\n}`, { captures });
}

/** Fails unless the kinds are what the same function in JavaScript gives. */
async function expectKinds(maskMod: MaskMod, options: BlockMaskOptions, expected: MaskFunction): Promise<void> {
  using blocks = createBlockMask(device, maskMod, options);
  const { shape, kinds } = blockKinds(expected, options);
  expect(blocks.kinds.shape).toEqual(shape);
  expect(blocks.kinds.dtype).toBe('uint32');
  expect([...(await blocks.kinds.data())]).toEqual(kinds);
}

describe('createBlockMask', () => {
  test.each<[string, BlockMaskOptions]>([
    ['whole blocks', { queryLength: 128, keyLength: 96, blockSize: 32 }],
    ['ragged ends', { queryLength: 97, keyLength: 161, blockSize: 32 }],
    ['one block that is not full', { queryLength: 5, keyLength: 7, blockSize: 1024 }],
    ['one query', { queryLength: 1, keyLength: 300, blockSize: 64 }],
    ['the default size', { queryLength: 300, keyLength: 257 }],
    ['batch entries and heads', { batch: 2, heads: 3, queryLength: 70, keyLength: 100, blockSize: 32 }],
  ])('%s', async (_name, options) => {
    await expectKinds(causalMask(), options, (_b, _h, i, j) => j <= i);
    await expectKinds(
      mask('return (i + j + 13u * b) % 47u < 20u * h;'),
      options,
      (b, h, i, j) => (i + j + 13 * b) % 47 < 20 * h,
    );
  });

  test('positions past the lengths count neither way', async () => {
    const options = { queryLength: 33, keyLength: 34, blockSize: 32 };
    await expectKinds(mask('return i < 33u && j < 34u;'), options, () => true);
    await expectKinds(mask('return i >= 33u || j >= 34u;'), options, () => false);
  });

  test('a block is empty or full only if the whole block is', async () => {
    const options = { queryLength: 64, keyLength: 64, blockSize: 64 };
    for (const [i, j] of [
      [0, 0],
      [63, 63],
      [17, 40],
    ]) {
      await expectKinds(
        mask('return i == u32(a()) && j == u32(c());', { a: i, c: j }),
        options,
        (_b, _h, q, k) => q === i && k === j,
      );
      await expectKinds(
        mask('return !(i == u32(a()) && j == u32(c()));', { a: i, c: j }),
        options,
        (_b, _h, q, k) => q !== i || k !== j,
      );
    }
  });

  test('ready-made masks', async () => {
    const options = { queryLength: 200, keyLength: 230, blockSize: 32 };
    await expectKinds(slidingWindow(40, { offset: 30 }), options, (_b, _h, i, j) => i + 30 >= j && i + 30 - j <= 40);
    const ids = Int32Array.from({ length: 230 }, (_, i) => Math.floor(i / 60) - 2);
    using documents = device.tensor(ids, [230]);
    await expectKinds(documentMask(documents), options, (_b, _h, i, j) => ids[i] === ids[j]);
    await expectKinds(
      documentMask(documents, { isCausal: true }),
      options,
      (_b, _h, i, j) => ids[i] === ids[j] && j <= i,
    );
  });

  test('density', async () => {
    using blocks = createBlockMask(device, causalMask(), { queryLength: 320, keyLength: 320, blockSize: 32 });
    expect(await blocks.density()).toBe(0.55);
  });
});

describe('captures', () => {
  // 64 values that each dtype holds
  const values = Array.from({ length: 64 }, (_, i) => (i * 37) % 23);
  const of = (dtype: DType, shape: number[]) => {
    const data = values.slice(
      0,
      shape.reduce((a, b) => a * b),
    );
    if (dtype === 'bool')
      return device.tensor(
        Uint8Array.from(data, (x) => x % 2),
        shape,
        { dtype },
      );
    if (dtype === 'int32')
      return device.tensor(
        Int32Array.from(data, (x) => x - 11),
        shape,
      );
    if (dtype === 'uint32') return device.tensor(Uint32Array.from(data), shape);
    return device.tensor(
      data.map((x) => x / 4),
      shape,
      { dtype },
    );
  };
  /** What WGSL makes of the n-th value, as a bool. */
  const TEST: Readonly<Record<DType, [wgsl: (value: string) => string, (x: number) => boolean]>> = {
    float32: [(value) => `${value} > 2.5`, (x) => x / 4 > 2.5],
    float16: [(value) => `${value} > 2.5`, (x) => x / 4 > 2.5],
    int32: [(value) => `${value} < -3`, (x) => x - 11 < -3],
    uint32: [(value) => `${value} >= 12u`, (x) => x >= 12],
    bool: [(value) => value, (x) => x % 2 === 1],
  };
  const options = { queryLength: 160, keyLength: 192, blockSize: 32 };
  const block = (at: number) => Math.floor(at / 32);

  describe.each(['float32', 'float16', 'int32', 'uint32', 'bool'] as const)('%s', (dtype) => {
    const [wgsl, test_] = TEST[dtype];

    test('of every rank, odd rows too, clamped at the ends', async () => {
      using line = of(dtype, [5]);
      await expectKinds(mask(`return ${wgsl('t(j / 32u)')};`, { t: line }), options, (_b, _h, _i, j) =>
        test_(values[Math.min(block(j), 4)]),
      );
      using table = of(dtype, [4, 3]);
      await expectKinds(mask(`return ${wgsl('t(i / 32u, j / 32u)')};`, { t: table }), options, (_b, _h, i, j) =>
        test_(values[3 * Math.min(block(i), 3) + Math.min(block(j), 2)]),
      );
      using cube = of(dtype, [2, 3, 5]);
      await expectKinds(
        mask(`return ${wgsl('t(h, i / 32u, j / 32u)')};`, { t: cube }),
        { ...options, heads: 3 },
        (_b, h, i, j) => test_(values[15 * Math.min(h, 1) + 5 * Math.min(block(i), 2) + Math.min(block(j), 4)]),
      );
      using whole = of(dtype, [2, 1, 3, 7]);
      await expectKinds(
        mask(`return ${wgsl('t(b, h, i / 32u, j / 32u)')};`, { t: whole }),
        { ...options, batch: 2 },
        (b, _h, i, j) => test_(values[21 * b + 7 * Math.min(block(i), 2) + block(j)]),
      );
    });

    test('views', async () => {
      using whole = of(dtype, [7, 9]);
      using part = whole.slice(0, 1, 4).slice(1, 3, 8);
      using transposed = part.transpose(0, 1);
      using tail = of(dtype, [11]).slice(0, 3);
      for (const [t, i0, i1, expected] of [
        [part, 'i', 'j', (i: number, j: number) => values[9 * (Math.min(i, 2) + 1) + Math.min(j, 4) + 3]],
        [transposed, 'i', 'j', (i: number, j: number) => values[9 * (Math.min(j, 2) + 1) + Math.min(i, 4) + 3]],
      ] as const) {
        await expectKinds(mask(`return ${wgsl(`t(${i0} / 32u, ${i1} / 32u)`)};`, { t }), options, (_b, _h, i, j) =>
          test_(expected(block(i), block(j))),
        );
      }
      await expectKinds(mask(`return ${wgsl('t(j / 32u)')};`, { t: tail }), options, (_b, _h, _i, j) =>
        test_(values[block(j) + 3]),
      );
    });
  });

  test('four tensors and eight numbers at once', async () => {
    using floats = of('float32', [5]);
    using bools = of('bool', [5]);
    using halves = of('float16', [3]);
    using ints = of('int32', [2, 2]);
    const numbers = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`n${i}`, i / 2]));
    const sum = Object.keys(numbers).map((name, i) => `${2 ** i}.0 * ${name}()`);
    const sumOfNumbers = Object.values(numbers).reduce((total, value, i) => total + 2 ** i * value, 0);
    await expectKinds(
      mask(
        `let sum = floats(j / 32u) + halves(i / 32u) + f32(ints(0u, 1u)) + ${sum.join(' + ')};
         return bools(j / 32u) && sum < ${sumOfNumbers + values[1] - 11 + 6}.0;`,
        { floats, bools, halves, ints, ...numbers },
      ),
      options,
      (_b, _h, i, j) => {
        const [x, y] = [values[Math.min(block(j), 4)], values[Math.min(block(i), 2)]];
        return x % 2 === 1 && (x + y) / 4 < 6;
      },
    );
  });

  test('of another length, value or tensor compile nothing; nor does the same text in another modifier', async () => {
    const make = (length: number, limit: number, queryLength: number) => {
      using bias = device.zeros([length, 2]);
      using _ = createBlockMask(device, mask('return bias(i, j) < limit();', { bias, limit }), {
        queryLength,
        keyLength: 70,
      });
    };
    make(3, 1, 100);
    const { pipelines, dispatches } = counted(device.runtime, () => {
      make(9, -2, 100);
      make(3, 1, 50);
    });
    expect({ pipelines, dispatches }).toEqual({ pipelines: 0, dispatches: 2 });
    expect(
      counted(device.runtime, () => {
        using _ = createBlockMask(device, mask('return limit() > 0.0;', { limit: 1 }), {
          queryLength: 9,
          keyLength: 70,
        });
      }).pipelines,
    ).toBe(1);
  });
});

describe('what only the compiler finds', () => {
  test.each([
    ['let x = f32(i);\n    return x >= j;', 3, 12, 'operator >= (f32, u32)'],
    ['return i >= 1.5 * f32(j);', 2, 10, 'operator >= (u32, f32)'],
    ['let distance = i32(i) - bias(j); return distance > 0;', 2, 18, 'operator - (i32, f32)'],
    ['return bias(1.5) > 0.0;', 2, 15, ''],
    ['return bias(i, j) > 0.0;', 2, 10, "'bias'"],
    ['if i > j { return true; }', 3, 1, 'missing return'],
    ['return twice(i) > 1.0;\n}\nfn twice(x: f32) -> f32 {\n  return 2.0 * x;', 2, 16, ''],
  ])('is told with line and column: %s', async (body, line, column, what) => {
    using bias = device.zeros([4]);
    for (let attempt = 0; attempt < 2; attempt++) {
      using _ = createBlockMask(device, mask(body, { bias }), { queryLength: 40, keyLength: 40 });
      const error = await device.sync().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(ShaderError);
      expect((error as Error).message).toMatch(`createBlockMask: maskMod line ${line}, column ${column}: `);
      expect((error as Error).message).toContain(what);
      expect((error as Error).message).not.toContain('mask_mod_');
    }
    await expectKinds(causalMask(), { queryLength: 40, keyLength: 40 }, (_b, _h, i, j) => j <= i);
  });
});

describe('refuses', () => {
  let other: Device;
  beforeAll(async () => {
    other = await createDevice();
  });
  afterAll(() => other.dispose());
  const lengths = { queryLength: 8, keyLength: 8 };

  test.each<[string, (t: Tensor) => unknown]>([
    ['device must be a Device, got 3', () => createBlockMask(3 as never, causalMask(), lengths)],
    [
      'maskMod must be made by maskMod(), got a JavaScript function',
      () => createBlockMask(device, (() => true) as never, lengths),
    ],
    ['maskMod must be made by maskMod(), got undefined', () => createBlockMask(device, undefined as never, lengths)],
    [
      "unknown option 'block'; did you mean 'blockSize'?",
      () => createBlockMask(device, causalMask(), { ...lengths, block: 1 } as never),
    ],
    [
      'queryLength must be a positive integer, got undefined',
      () => createBlockMask(device, causalMask(), { keyLength: 8 } as never),
    ],
    [
      'keyLength must be a positive integer, got 1.5',
      () => createBlockMask(device, causalMask(), { ...lengths, keyLength: 1.5 }),
    ],
    ['heads must be a positive integer, got 0', () => createBlockMask(device, causalMask(), { ...lengths, heads: 0 })],
    [
      'blockSize must be a power of two from 32 to 1024, got 16',
      () => createBlockMask(device, causalMask(), { ...lengths, blockSize: 16 }),
    ],
    [
      'blockSize must be a power of two from 32 to 1024, got 48',
      () => createBlockMask(device, causalMask(), { ...lengths, blockSize: 48 }),
    ],
    [
      "maskMod's capture t must be on the given device, got a tensor of another device",
      (t) => createBlockMask(device, mask('return t(i) > 0.0;', { t }), lengths),
    ],
  ])('%s', (message, make) => {
    using t = other.zeros([2]);
    const { live } = device.memory();
    expect(() => make(t)).toThrow(new ArgumentError(`createBlockMask: ${message}`));
    expect(device.memory().live).toBe(live);
  });

  test('a capture that has since been disposed', () => {
    const t = device.zeros([2]);
    const modifier = mask('return t(i) > 0.0;', { t });
    t.dispose();
    expect(() => createBlockMask(device, modifier, lengths)).toThrow(
      new ArgumentError("createBlockMask: maskMod's capture t must not be disposed, got a disposed tensor of [2]"),
    );
  });
});

test('dispose gives its memory back and leaves the captures', () => {
  using t = device.zeros([2]);
  const { live } = device.memory();
  const blocks = createBlockMask(device, mask('return t(i) > 0.0;', { t }), { queryLength: 8, keyLength: 8 });
  expect(device.memory().live).toBeGreaterThan(live);
  blocks.dispose();
  blocks.dispose();
  expect(blocks.disposed).toBe(true);
  expect(device.memory().live).toBe(live);
  expect(t.disposed).toBe(false);
});

test('no scope frees it', async () => {
  let blocks: BlockMask | undefined;
  device.scope(() => {
    blocks = createBlockMask(device, causalMask(), { queryLength: 8, keyLength: 8 });
  });
  expect(blocks!.disposed).toBe(false);
  expect(await blocks!.density()).toBe(1);
  blocks!.dispose();
});
