import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createDevice, softmax, type Device } from '../../src/index.ts';
import { Pace } from '../../src/gpu/pace.ts';
import { shaderOf } from '../shader-of.ts';
import { AFFINE, affine, counted } from './affine.ts';

// A device of its own: its counters and its pool begin at zero.
let device: Device;
beforeAll(async () => {
  device = await createDevice();
});
afterAll(() => device.dispose());

const filled = (length: number, value: number) => new Float32Array(length).fill(value);

describe('batches', () => {
  test('many ops are one submit', async () => {
    let x = device.tensor(filled(100, 1), [100]);
    const { runtime } = device;
    const recorded = counted(runtime, () => {
      for (let i = 0; i < 50; i++) x = affine(x, { addend: 1 });
    });
    expect(recorded).toMatchObject({ submits: 0, dispatches: 50 });
    expect(counted(runtime, () => device.flush()).submits).toBe(1);
    expect(counted(runtime, () => device.flush()).submits).toBe(0);
    expect(await x.data()).toEqual(filled(100, 51));
  });

  test('one compute pass holds them', async () => {
    let passes = 0;
    const { gpu } = device;
    const create = gpu.createCommandEncoder.bind(gpu);
    const spy = vi.spyOn(gpu, 'createCommandEncoder').mockImplementation((descriptor) => {
      const encoder = create(descriptor);
      const begin = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (pass) => {
        passes++;
        return begin(pass);
      };
      return encoder;
    });
    try {
      let x = device.tensor(filled(8, 0), [8]);
      for (let i = 0; i < 20; i++) x = affine(x, { addend: 1 });
      expect(await x.data()).toEqual(filled(8, 20));
    } finally {
      spy.mockRestore();
    }
    expect(passes).toBe(1);
  });

  test('more dispatches than a batch holds are submitted on the way, each with its own uniforms', async () => {
    const x = device.tensor(filled(4, 0), [4]);
    const results: ReturnType<typeof affine>[] = [];
    const { submits } = counted(device.runtime, () => {
      for (let i = 0; i < 700; i++) results.push(affine(x, { addend: i }));
    });
    expect(submits).toBe(2);
    const first = await Promise.all(results.map(async (result) => (await result.data())[0]));
    expect(first).toEqual(Array.from({ length: 700 }, (_, i) => i));
    for (const result of results) result.dispose();
  });

  test('a uniform struct may be longer than a slot', async () => {
    const members = Array.from({ length: 20 }, (_, i) => `v${i}: vec4<u32>`);
    const shader = shaderOf(
      'wide',
      `
struct Params { ${members.join(', ')} }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(1)
fn main() { output[0] = params.v0.x; output[1] = params.v19.w; }
`,
    );
    const outputs = Array.from({ length: 300 }, (_, i) => {
      const params = Object.fromEntries(members.map((_, m) => [`v${m}`, [i, m, i, i + m]]));
      const output = device.empty([2], 'uint32', 'wide');
      const launch = { shader, constants: {}, params, workgroups: [1, 1, 1] as const };
      device.runtime.dispatch(launch, { output: output.storage('wide') });
      return output;
    });
    for (const [i, output] of outputs.entries()) {
      expect([...(await output.data())]).toEqual([i, i + 19]);
      output.dispose();
    }
  });

  test('an op that is refused leaves what was recorded before and after it intact', async () => {
    const x = device.tensor(filled(4, 1), [4]);
    const before = affine(x, { addend: 1 });
    const target = device.zeros([4]);
    const bindings = { x: x.storage('t'), output: target.storage('t') };
    const launch = {
      shader: AFFINE,
      constants: { FACTOR: 1 },
      params: { count: 4, addend: 1 },
      workgroups: [1, 1, 1] as const,
    };
    expect(() => device.runtime.dispatch({ ...launch, params: { count: 4 } }, bindings)).toThrow('addend is not set');
    expect(() => device.runtime.dispatch({ ...launch, constants: { FACTR: 1 } }, bindings)).toThrow('const FACTR');
    expect(() => device.runtime.dispatch(launch, { ...bindings, y: bindings.x })).toThrow('there is no binding y');
    const after = affine(x, { addend: 2 });
    expect([(await before.data())[0], (await target.data())[0], (await after.data())[0]]).toEqual([2, 0, 3]);
  });
});

test('launches can be listed in place of being made, up to what the work throws', async () => {
  const x = device.tensor(filled(4, 1), [4]);
  const { runtime } = device;
  const before = runtime.counters();
  const launches = runtime.launchesOf(() => affine(affine(x, { addend: 1 }), { addend: 2 }));
  expect(launches.map(({ shader, params }) => [shader.name, params['addend']])).toEqual([
    ['affine', 1],
    ['affine', 2],
  ]);
  const failing = () => {
    throw new RangeError('mine');
  };
  expect(() => runtime.launchesOf(failing)).toThrow(new RangeError('mine'));
  expect(runtime.counters()).toMatchObject({ dispatches: before.dispatches, pipelines: before.pipelines });
  expect(await affine(x, { addend: 1 }).data()).toEqual(filled(4, 2));
});

test('the work of a launch belongs to the submission that it is in, though it ends the one before', () => {
  const submitted = vi.spyOn(Pace.prototype, 'submitted');
  const [x, output] = [device.zeros([4]), device.zeros([4])];
  device.flush();
  submitted.mockClear();
  const { runtime } = device;
  const launch = { shader: AFFINE, constants: {}, params: { count: 4, addend: 0 }, workgroups: [1, 1, 1] as const };
  const bindings = { x: x.storage('test'), output: output.storage('test') };
  while (submitted.mock.calls.length === 0) runtime.dispatch({ ...launch, operations: 1 }, bindings);
  device.flush();
  const [first, second] = submitted.mock.calls.map(([operations]) => operations);
  expect(first).toBeGreaterThan(1);
  expect(second).toBe(1); // of the launch that found the batch full
  submitted.mockRestore();
  x.dispose();
  output.dispose();
});

describe('writes from the host', () => {
  test('never overtake recorded work that reads the recycled buffer', async () => {
    const shape = [5000]; // a size class that nothing else here uses
    const old = device.tensor(filled(5000, 1), shape);
    const { id } = old.storage('test');
    const result = affine(old, { addend: 10 });
    old.dispose();
    const next = device.tensor(filled(5000, 2), shape);
    expect(next.storage('test').id).toBe(id);
    expect(await result.data()).toEqual(filled(5000, 11));
    expect(await next.data()).toEqual(filled(5000, 2));
  });

  test('nor recorded work that writes it', async () => {
    const shape = [7000];
    const x = device.tensor(filled(7000, 1), shape);
    const scratch = affine(x, { addend: 1 });
    const { id } = scratch.storage('test');
    scratch.dispose();
    const next = device.tensor(filled(7000, 5), shape);
    expect(next.storage('test').id).toBe(id);
    expect(await next.data()).toEqual(filled(7000, 5));
  });

  test('nor a recorded clear', async () => {
    const zeros = device.zeros([9000]);
    const { id } = zeros.storage('test');
    zeros.dispose();
    const next = device.tensor(filled(9000, 5), [9000]);
    expect(next.storage('test').id).toBe(id);
    expect(await next.data()).toEqual(filled(9000, 5));
  });

  test('do not flush when nothing recorded uses the buffer', () => {
    const x = device.tensor(filled(4, 1), [4]);
    affine(x, { addend: 1 });
    expect(counted(device.runtime, () => device.tensor(filled(100, 1), [100])).submits).toBe(0);
  });

  test('of a few words for a kernel submit nothing, however many are made while others are read', async () => {
    const results: ReturnType<typeof affine>[] = [];
    const round = () => {
      for (let i = 0; i < 20; i++) {
        const bits = new Uint32Array(Float32Array.of(i).buffer);
        results.push(device.scope(() => affine(device.words(bits, 'test'), { addend: 0.5 })));
      }
    };
    expect(counted(device.runtime, round).submits).toBe(0);
    device.flush();
    expect(counted(device.runtime, round).submits).toBe(0);
    const first = await Promise.all(results.map(async (result) => (await result.data())[0]));
    expect(first).toEqual(Array.from({ length: 40 }, (_, i) => (i % 20) + 0.5));
    for (const result of results) result.dispose();
  });

  test('take lengths that are no multiple of four bytes', async () => {
    for (const length of [1, 2, 3, 5, 9]) {
      const bytes = Uint8Array.from({ length }, (_, i) => (i + 1) % 2);
      expect(await device.tensor(bytes, [length]).data()).toEqual(bytes);
    }
  });

  test('take views into larger arrays, and shared memory', async () => {
    const all = Float32Array.from({ length: 10 }, (_, i) => i);
    expect(await device.tensor(all.subarray(3, 7), [4]).data()).toEqual(all.slice(3, 7));
    const shared = new Float32Array(new SharedArrayBuffer(16)).fill(7);
    expect(await device.tensor(shared, [4]).data()).toEqual(filled(4, 7));
  });
});

describe('reading back', () => {
  test('reuses its staging buffers', async () => {
    const x = device.tensor(filled(3000, 1), [3000]);
    await x.data();
    const { buffers } = device.runtime.counters();
    await x.data();
    await x.slice(0, 0, 2900).data();
    expect(device.runtime.counters().buffers).toBe(buffers);
  });

  test('of several tensors at once gives each its own', async () => {
    const tensors = Array.from({ length: 10 }, (_, i) => device.tensor(filled(10, i), [10]));
    const read = await Promise.all(tensors.map((tensor) => tensor.data()));
    expect(read.map((data) => data[9])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('submits what was recorded, and sees it', async () => {
    const x = affine(device.tensor(filled(10, 1), [10]), { addend: 1 });
    const { submits } = device.runtime.counters();
    expect(await x.data()).toEqual(filled(10, 2));
    expect(device.runtime.counters().submits).toBe(submits + 1);
  });

  test('gives what was there when it was called', async () => {
    const x = device.tensor(filled(6000, 1), [6000]);
    const reading = x.data();
    x.dispose();
    device.tensor(filled(6000, 2), [6000]);
    expect(await reading).toEqual(filled(6000, 1));
  });
});

describe('the steady state', () => {
  /** Ops of several kernels with temporaries that are freed on the way. */
  const forward = (x: ReturnType<typeof affine>) =>
    device.scope(() => {
      const shifted = affine(x, { addend: 1 });
      const weights = softmax(shifted, { isCausal: true });
      const scaled = affine(weights, { factor: 2, addend: 0.5 });
      return affine(scaled, { addend: -0.5 });
    });

  test('an identical forward is one submit and makes no buffer, no pipeline, no bind group', async () => {
    const x = device.randn([2, 40, 70]);
    const first = forward(x);
    const expected = await first.data();
    first.dispose();

    const makesBindGroups = vi.spyOn(device.gpu, 'createBindGroup');
    const before = device.runtime.counters();
    for (let i = 1; i <= 3; i++) {
      const output = forward(x);
      expect(await output.data()).toEqual(expected);
      output.dispose();
      expect(device.runtime.counters()).toEqual({
        ...before,
        submits: before.submits + i,
        dispatches: before.dispatches + 4 * i,
      });
    }
    expect(makesBindGroups).not.toHaveBeenCalled();
    makesBindGroups.mockRestore();
  });

  test('a new length compiles nothing', async () => {
    const counters = device.runtime.counters();
    await forward(device.randn([2, 41, 69])).data();
    expect(device.runtime.counters().pipelines).toBe(counters.pipelines);
  });

  test('equal constants in another order are the same pipeline', () => {
    const shader = { ...AFFINE, name: 'two', text: `const B: u32 = 1u;\n${AFFINE.text}` };
    const x = device.zeros([4]);
    const run = (constants: Record<string, number>) =>
      device.runtime.dispatch(
        { shader, constants, params: { count: 4, addend: 0 }, workgroups: [1, 1, 1] },
        { x: x.storage('t'), output: device.zeros([4]).storage('t') },
      );
    run({ B: 1, FACTOR: 1 });
    expect(counted(device.runtime, () => run({ FACTOR: 1, B: 1 })).pipelines).toBe(0);
    expect(counted(device.runtime, () => run({ FACTOR: 1, B: 2 })).pipelines).toBe(1);
  });
});

describe('memory', () => {
  test('zeros are zero in a buffer that held something else', async () => {
    const old = device.tensor(filled(11_000, 3), [11_000]);
    const { id } = old.storage('test');
    old.dispose();
    const zeros = device.zeros([11_000]);
    expect(zeros.storage('test').id).toBe(id);
    expect(await zeros.data()).toEqual(filled(11_000, 0));
  });

  test('live bytes return to where they were, peak stays', async () => {
    const before = device.memory();
    const x = device.randn([100, 100]);
    const y = affine(x, { addend: 1 });
    const view = y.transpose();
    expect(device.memory().live).toBe(before.live + 2 * 40_960);
    y.dispose();
    expect(device.memory().live).toBe(before.live + 2 * 40_960);
    await view.data();
    view.dispose();
    x.dispose();
    expect(device.memory().live).toBe(before.live);
    expect(device.memory().peak).toBeGreaterThanOrEqual(before.live + 2 * 40_960);
  });

  test('placeholders for absent inputs are not counted and made once', () => {
    const x = device.randn([2, 3]);
    softmax(x);
    expect(counted(device.runtime, () => softmax(x).dispose()).buffers).toBeLessThanOrEqual(1); // its output
  });
});
