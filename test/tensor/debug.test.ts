import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createDevice,
  gelu,
  Linear,
  linear,
  matmul,
  noGrad,
  scoreMod,
  flashAttention,
  ShaderError,
  softmax,
  ValidationError,
  type Device,
  type Tensor,
} from '../../src/index.ts';
import { AFFINE } from '../gpu/affine.ts';

let device: Device;
let plain: Device;
beforeAll(async () => {
  [device, plain] = [await createDevice({ debug: true }), await createDevice()];
});
afterAll(() => {
  device.dispose();
  plain.dispose();
});

/** Workgroups that no device has. */
const TOO_MANY: [number, number, number] = [2 ** 20, 1, 1];

function dispatch(on: Device, workgroups: [number, number, number], label: string): void {
  on.scope(() => {
    const params = { count: 4, addend: 0 };
    const [x, output] = [on.zeros([4]), on.zeros([4])];
    on.dispatch(label, { shader: AFFINE, constants: {}, params, workgroups }, { x, output });
  });
}

describe('memory({ detail: true })', () => {
  test.each([false, true])('lists what is live by shape, dtype and bytes, the most first (debug: %s)', (debug) => {
    const on = debug ? device : plain;
    const make = () => on.zeros([100, 10]);
    const tensors = [on.zeros([3]), make(), make(), make(), on.zeros([2000], { dtype: 'float16' })];
    tensors.push(tensors[1].transpose(), tensors[1].slice(0, 1));
    const { tensors: living, ...use } = on.memory({ detail: true });
    expect(use).toEqual(on.memory());
    const madeAt = debug && { madeAt: expect.stringMatching(/debug\.test\.ts[^ :]*:\d+:\d+/) as string };
    expect(living).toEqual([
      { shape: [100, 10], dtype: 'float32', bytes: 4096, count: 3, ...madeAt },
      { shape: [2000], dtype: 'float16', bytes: 4096, count: 1, ...madeAt },
      { shape: [3], dtype: 'float32', bytes: 256, count: 1, ...madeAt },
    ]);
    expect(living.reduce((sum, { bytes, count }) => sum + bytes * count, 0)).toBe(use.live);
    for (const tensor of tensors) tensor.dispose();
    expect(on.memory({ detail: true })).toEqual({ ...on.memory(), tensors: [] });
  });

  test('tells apart what two lines made, and names them for results of ops and modules too', async () => {
    const layer = new Linear(device, { inFeatures: 4, outFeatures: 4, bias: false });
    const made = noGrad(() => {
      const x = device.randn([4, 4]);
      const y = softmax(layer.forward(x));
      return [x, y, matmul(x, y)];
    });
    const lines = device
      .memory({ detail: true })
      .tensors.map(({ madeAt }) => Number(/test\.ts[^ :]*:(\d+)/.exec(madeAt!)![1]));
    // their order, because a page is served the file without its types, and with other numbers
    const distinct = [...new Set(lines)].sort((a, b) => a - b);
    const order = lines.map((line) => distinct.indexOf(line)).sort((a, b) => a - b);
    expect(order).toEqual([0, 1, 2, 2, 3].slice(0, lines.length));
    await device.sync();
    for (const tensor of made) tensor.dispose();
    layer.dispose();
  });

  test('is empty after dispose, and refuses other options', async () => {
    const other = await createDevice();
    const x = other.zeros([4]);
    expect(other.memory({ detail: true }).tensors).toHaveLength(1);
    other.dispose();
    expect(other.memory({ detail: true })).toMatchObject({ live: 0, tensors: [] });
    x.dispose();
    expect(() => plain.memory({ details: true } as never)).toThrow(
      "device.memory: unknown option 'details'; did you mean 'detail'?",
    );
  });
});

describe('an error that the GPU finds', () => {
  test('names the op and the line that called it, and no other op', async () => {
    const x = device.randn([8]);
    using y = gelu(x);
    dispatch(device, TOO_MANY, 'broken');
    using z = softmax(y);
    const failure = await z.data().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ValidationError);
    expect((failure as Error).message).toMatch(/\(in broken, called at [^ ]*debug\.test\.ts[^ :]*:\d+:\d+\)$/);
    expect((failure as Error).message).toMatch(/^device: recorded work was rejected: /);
    expect((failure as Error).message).not.toMatch(/softmax|gelu/);
    await z.data();
    x.dispose();
  });

  test('names its op for a shader that does not compile', async () => {
    const qkv = [1, 2, 3].map(() => device.zeros([1, 1, 4, 8])) as [Tensor, Tensor, Tensor];
    const broken = scoreMod(
      'fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 { return 1 + true; }',
    );
    const { output } = noGrad(() => flashAttention(...qkv, { scoreMod: broken }));
    const failure = await output.data().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ShaderError);
    expect((failure as Error).message).toMatch(/^flashAttention: /);
    for (const tensor of [...qkv, output]) tensor.dispose();
  });

  test('names the line that cleared a tensor, not the op after it', async () => {
    const buffer = device.gpu.createBuffer({ size: 256, usage: 0x80 | 0x4 }); // nothing may be copied to it
    const wrapped = device.wrap(buffer, [8]);
    const x = device.randn([8]);
    function clearWrapped() {
      device.runtime.clear(wrapped.storage('test'));
    }
    clearWrapped();
    using y = gelu(x);
    const failure = await y.data().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ValidationError);
    expect((failure as Error).message).toMatch(/\(called at clearWrapped \([^ ]*debug\.test\.ts[^ :]*:\d+:\d+\)\)$/);
    for (const tensor of [x, wrapped]) tensor.dispose();
    buffer.destroy();
  });

  test('says nothing of the kind without debug', async () => {
    dispatch(plain, TOO_MANY, 'broken');
    const failure = await plain.sync().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ValidationError);
    expect((failure as Error).message).not.toContain('called at');
  });
});

test('debugging changes no result, and submits each dispatch by itself', async () => {
  const results = await Promise.all(
    [device, plain].map(async (on) => {
      const [x, weight] = [on.randn([8, 16], { seed: 1 }), on.randn([16, 16], { seed: 2, requiresGrad: true })];
      const output = on.scope(() => matmul(softmax(linear(x, weight)), weight));
      output.backward(x);
      const read = await Promise.all([output.data(), weight.grad!.data()]);
      for (const tensor of [x, weight, output]) tensor.dispose();
      return read;
    }),
  );
  expect(results[0]).toEqual(results[1]);
  const submits = (on: Device) => {
    on.flush();
    const before = on.runtime.counters().submits;
    on.scope(() => gelu(gelu(on.zeros([4]))));
    on.flush();
    return on.runtime.counters().submits - before;
  };
  expect([submits(device), submits(plain)]).toEqual([3, 1]); // the zeros, and each gelu
});

test.each([0, 'true', null])('createDevice refuses debug: %s', async (debug) => {
  await expect(createDevice({ debug: debug as never })).rejects.toThrow(
    `createDevice: debug must be true or false, got ${debug}`,
  );
});
