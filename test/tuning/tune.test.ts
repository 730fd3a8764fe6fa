import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  ArgumentError,
  createDevice,
  type Device,
  type DeviceOptions,
  DeviceLostError,
  flashAttention,
  matmul,
  OutOfMemoryError,
  ShaderError,
  type TuneOptions,
  type TuneProgress,
} from '../../src/index.ts';
import type { Launch } from '../../src/gpu/runtime.ts';
import type { KernelChoices } from '../../src/tensor/traits.ts';
import { formatTuned, ownerOf } from '../../src/tuning/memory.ts';
import { decodingProblem, gradientProblem, matmulProblem, type TuningProblem } from '../../src/tuning/problems.ts';
import { candidates as candidatesOf, tuneProblems } from '../../src/tuning/tune.ts';
import { HAS_DEFAULT_LIMITS, testDevice } from '../device.ts';
import { narrow } from '../matrix/narrow.ts';

/** A problem for which every kernel compiles in no time. Each is run once. */
const TINY = { rows: 37, columns: 40, depth: 24 };
const TINY_HEADS = { heads: 1, length: 40, headDim: 8 };
const DEVICE = await testDevice();
const LONG = { least: 50, most: 50, milliseconds: 0, warmUp: 0 };
const ONCE = { effort: { least: 1, most: 1, milliseconds: 0, warmUp: 0 }, keeps: false };

let device: Device;
let untouched: KernelChoices;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  untouched = device.kernels;
  liveBefore = device.memory().live;
});
afterEach(() => {
  device.kernels = untouched;
  vi.restoreAllMocks();
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

/** A product that has but these kernels; the default among them comes first. */
function problemOf(...kernels: string[]): TuningProblem {
  return { ...matmulProblem('float32', TINY, device.traits), kernels };
}

/** Has matmul's dispatches looked at before they are recorded. */
function onDispatch(target: Device, look: (launch: Launch) => void): void {
  const { runtime } = target;
  const dispatch = runtime.dispatch.bind(runtime);
  vi.spyOn(runtime, 'dispatch').mockImplementation((launch, bindings, label) => {
    look(launch);
    dispatch(launch, bindings, label);
  });
}

/** Columns of a workgroup's block, by which tiles of matmul are told apart. */
const blockOf = ({ params }: Launch) => Math.ceil(40 / Number(params['column_tiles']));

describe('tune', () => {
  test('measures every kernel, chooses one, and reports what it did', async () => {
    const progress: string[] = [];
    const result = await tuneProblems(
      device,
      [problemOf('tile-32x32', 'tile-64x64')],
      {
        onProgress: ({ done, total, op, dtype, sizeClass, kernel }) =>
          void progress.push([done, total, op, dtype, sizeClass, kernel].join(' ')),
      },
      ONCE,
    );
    expect(progress).toEqual(['0 1 matmul float32 few tile-32x32', '0 1 matmul float32 few tile-64x64']);
    const { choices, ...kept } = result;
    expect(kept).toEqual({ notKept: 'remembersTuning is false' });
    expect(choices).toHaveLength(1);
    const [{ kernel, candidates, speedup, date }] = choices;
    expect(choices[0]).toMatchObject({ op: 'matmul', dtype: 'float32', sizeClass: 'few' });
    expect(candidates.map((candidate) => candidate.kernel)).toEqual(['tile-32x32', 'tile-64x64']);
    for (const { milliseconds } of candidates) expect(milliseconds).toSatisfy(Number.isFinite);
    expect(speedup).toBeGreaterThanOrEqual(1);
    expect(date).toMatch(/^20\d\d-\d\d-\d\d$/);
    expect(device.kernels.tuned.get('matmul/float32/few')).toEqual({ kernel, date });
    expect(device.kernels.pinned).toBe(untouched.pinned);
  });

  const decoding = ['decoding', 'flashAttention/float32/few-32', decodingProblem('float32', TINY_HEADS, DEVICE.traits)];
  const gradients = [
    'gradients',
    'attentionGradient/float32/32',
    gradientProblem('float32', TINY_HEADS, DEVICE.traits),
  ];
  test.each(narrow([decoding], [decoding, gradients]) as readonly [string, string, TuningProblem][])(
    'measures %s',
    async (_, key, problem) => {
      const { traits } = device;
      const compilesFast = traits.subgroupSize < 8 || problem.op !== 'attentionGradient';
      const wanted = compilesFast ? ['stream', 'tile-16x32', 'tile-32x32', 'subgroup'] : ['subgroup'];
      const kernels = wanted.filter((name) => problem.kernels.includes(name));
      const given = { ...problem, kernels };
      const { choices } = await tuneProblems(device, [given], {}, ONCE);
      const [{ kernel, candidates }] = choices;
      expect(candidates.map((candidate) => candidate.kernel)).toEqual(kernels);
      if (kernels.length === 1) return;
      for (const { note = '' } of candidates) expect(note).not.toMatch(/wrong|failed/);
      expect(device.kernels.tuned.get(key)).toMatchObject({ kernel });
    },
  );

  test('runs each kernel before it times it', async () => {
    const blocks: number[] = [];
    onDispatch(device, (launch) => blocks.push(blockOf(launch)));
    const profile = vi.spyOn(device, 'profile');
    const timedFrom: number[] = [];
    profile.mockImplementation((work) => {
      timedFrom.push(blocks.length);
      return Object.getPrototypeOf(device).profile.call(device, work);
    });
    await tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], {}, ONCE);
    expect(blocks.slice(0, 2)).toEqual([20, 40]);
    if (device.gpu.features.has('timestamp-query')) expect(timedFrom[0]).toBe(2);
  });

  test('measures again only if asked to', async () => {
    const problems = [problemOf('tile-32x32', 'tile-64x64')];
    const { choices } = await tuneProblems(device, problems, {}, ONCE);
    const { dispatches } = device.runtime.counters();
    const [again] = (await tuneProblems(device, problems, {}, ONCE)).choices;
    expect(device.runtime.counters().dispatches).toBe(dispatches);
    expect(again).toEqual({
      op: 'matmul',
      dtype: 'float32',
      sizeClass: 'few',
      kernel: choices[0].kernel,
      date: choices[0].date,
      candidates: [],
    });
    const [anew] = (await tuneProblems(device, problems, { remeasure: true }, ONCE)).choices;
    expect(anew.candidates).toHaveLength(2);
  });

  test('excludes a kernel with a different result', async () => {
    onDispatch(device, (launch) => {
      if (blockOf(launch) === 40) Object.assign(launch.params, { depth: 23 });
    });
    const { choices } = await tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], {}, ONCE);
    expect(choices[0]).toMatchObject({ kernel: 'tile-32x32', speedup: 1 });
    expect(choices[0].candidates[1]).toEqual({
      kernel: 'tile-64x64',
      note: expect.stringMatching(/^wrong: off by \d\.\de-\d of the largest number$/),
    });
  });

  test('excludes a kernel that writes nothing, whatever lay in its output before', async () => {
    onDispatch(device, (launch) => {
      if (blockOf(launch) === 40) Object.assign(launch.params, { rows: 0 });
    });
    const { choices } = await tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], {}, ONCE);
    expect(choices[0].candidates[1].note).toMatch(/^wrong: off by 1\.0e\+0 /);
  });

  test('excludes a kernel that fails, and goes on', async () => {
    onDispatch(device, (launch) => {
      if (blockOf(launch) === 40) throw new ShaderError('matmul: no such thing');
    });
    const problems = [
      problemOf('tile-32x32', 'tile-64x64'),
      { ...problemOf('tile-32x32', 'tile-64x64'), key: 'other' },
    ];
    const { choices } = await tuneProblems(device, problems, {}, ONCE);
    for (const { candidates, kernel } of choices) {
      expect(kernel).toBe('tile-32x32');
      expect(candidates[1]).toEqual({ kernel: 'tile-64x64', note: 'failed: matmul: no such thing' });
    }
    expect(choices).toHaveLength(2);
  });

  test('fails with what the default fails with', async () => {
    onDispatch(device, () => {
      throw new ShaderError('matmul: no such thing');
    });
    const tuning = tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], {}, ONCE);
    await expect(tuning).rejects.toThrow(new ShaderError('matmul: no such thing'));
    expect(device.kernels).toBe(untouched);
  });

  test('keeps the default if there is no memory to measure it', async () => {
    onDispatch(device, () => {
      throw new OutOfMemoryError('matmul: too much');
    });
    const { choices } = await tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], {}, ONCE);
    const candidates = [{ kernel: 'tile-32x32', note: 'failed: matmul: too much' }];
    expect(choices).toEqual([{ op: 'matmul', dtype: 'float32', sizeClass: 'few', kernel: 'tile-32x32', candidates }]);
    expect(device.kernels).toBe(untouched);
  });

  test('measures nothing where there is nothing to choose, or no time', async () => {
    const [alone] = (await tuneProblems(device, [problemOf('tile-32x32')], {}, ONCE)).choices;
    expect(alone.candidates).toEqual([{ kernel: 'tile-32x32', note: 'the only one' }]);
    const problems = [problemOf('tile-32x32', 'tile-64x64')];
    const [late] = (await tuneProblems(device, problems, { timeBudget: Number.MIN_VALUE }, ONCE)).choices;
    expect([late.kernel, late.date]).toEqual(['tile-32x32', undefined]);
    expect(late.candidates.map(({ note }) => note)).toEqual(['no time was left', 'no time was left']);
    expect(device.kernels).toBe(untouched);
  });

  test('takes the default where time ends amid the kernels', async () => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    const onProgress = () => void now.mockReturnValue(2);
    const problems = [problemOf('tile-32x32', 'tile-64x64')];
    const { choices } = await tuneProblems(device, problems, { timeBudget: 1, onProgress }, ONCE);
    expect(choices[0]).toMatchObject({ kernel: 'tile-32x32', date: undefined, speedup: undefined });
    expect(choices[0].candidates).toEqual([
      { kernel: 'tile-32x32' },
      { kernel: 'tile-64x64', note: 'no time was left' },
    ]);
    expect(device.kernels).toBe(untouched);
  });

  test('races those that were tried where time ends amid the kernels', async () => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    const onProgress = ({ kernel }: TuneProgress) => void now.mockReturnValue(kernel === 'tile-64x64' ? 2 : 0);
    const problems = [problemOf('tile-32x32', 'tile-64x64', 'tile-128x64')];
    const { choices } = await tuneProblems(device, problems, { timeBudget: 1, onProgress }, ONCE);
    const [{ candidates, kernel, date, speedup }] = choices;
    expect(candidates[2]).toEqual({ kernel: 'tile-128x64', milliseconds: undefined, note: 'no time was left' });
    expect(speedup).toBeGreaterThanOrEqual(1);
    expect(device.kernels.tuned.get('matmul/float32/few')).toEqual({ kernel, date });
  });

  test.each([
    ['has no clock', undefined, []],
    ['has one that is too coarse', 0.1, [0, 0.1, 0, 0]],
  ])('times by the host where the GPU %s', async (_, gpuTime, times) => {
    const dispatches = times.map((time) => ({ label: 'matmul', gpuTime: time }));
    const profile = vi
      .spyOn(device, 'profile')
      .mockImplementation((work) =>
        Promise.resolve({ value: work(), gpuTime, dispatches, kernels: [], trace: () => '' }),
      );
    const { choices } = await tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], {}, ONCE);
    for (const { milliseconds } of choices[0].candidates) expect(milliseconds).toSatisfy(Number.isFinite);
    expect(profile).toHaveBeenCalledOnce();
  });

  test('ends at a signal before the next kernel', async () => {
    const controller = new AbortController();
    const tried: string[] = [];
    const onProgress = ({ kernel }: { kernel: string }) => {
      tried.push(kernel);
      controller.abort(new Error('enough'));
    };
    const options = { onProgress, signal: controller.signal };
    const tuning = tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], options, ONCE);
    await expect(tuning).rejects.toThrow('enough');
    expect(tried).toEqual(['tile-32x32']);
  });

  test('ends at a signal amid the race', async () => {
    const controller = new AbortController();
    let dispatches = 0;
    onDispatch(device, () => {
      // each kernel was tried once, and one of them probed and warmed up
      if (++dispatches === 8) controller.abort(new Error('enough'));
    });
    const problems = [problemOf('tile-32x32', 'tile-64x64')];
    const tuning = tuneProblems(device, problems, { signal: controller.signal }, { ...ONCE, effort: LONG });
    await expect(tuning).rejects.toThrow('enough');
    expect(dispatches).toBeLessThan(2 * LONG.most);
    expect(device.kernels).toBe(untouched);
  });

  test('ends at a signal where there is nothing to choose, before a problem and after the last', async () => {
    const tuned = new Map([['matmul/float32/few', { kernel: 'tile-32x32', date: '2026-03-01' }]]);
    for (const [kernels, choices] of [
      [['tile-32x32'], untouched],
      [['tile-32x32', 'tile-64x64'], { ...untouched, tuned }],
    ] as const) {
      device.kernels = choices;
      for (const at of [1, 2]) {
        const controller = new AbortController();
        let problems = 0;
        const problem = () => ({
          ...problemOf(...kernels),
          get key() {
            if (++problems === at) controller.abort(new Error('enough'));
            return 'matmul/float32/few';
          },
        });
        const tuning = tuneProblems(device, [problem(), problem()], { signal: controller.signal }, ONCE);
        await expect(tuning).rejects.toThrow('enough');
        expect(problems).toBe(at);
      }
    }
  });

  test('ends with what a callback throws', async () => {
    const onProgress = () => {
      throw new RangeError('enough');
    };
    const tuning = tuneProblems(device, [problemOf('tile-32x32', 'tile-64x64')], { onProgress }, ONCE);
    await expect(tuning).rejects.toThrow(new RangeError('enough'));
  });
});

test('the kernels that are tried are two on a CPU driver, on a GPU not the narrowest, unless it is the default', () => {
  const kernels = ['tile-8x32', 'tile-16x32', 'tile-8x64', 'subgroup'];
  expect(candidatesOf({ kernels }, true)).toEqual(['tile-8x32', 'tile-16x32']);
  expect(candidatesOf({ kernels }, false)).toEqual(['tile-8x32', 'tile-16x32', 'subgroup']);
  // few queries fill a tile of eight
  expect(candidatesOf({ kernels, isDecoding: true }, false)).toEqual(kernels);
});

describe('ops', () => {
  const product = (target: Device) =>
    target.scope(() => void matmul(target.zeros([TINY.rows, TINY.depth]), target.zeros([TINY.depth, TINY.columns])));

  test('take what was tuned, unless another kernel is pinned', () => {
    const blocks: number[] = [];
    onDispatch(device, (launch) => blocks.push(blockOf(launch)));
    const tuned = new Map([['matmul/float32/few', { kernel: 'tile-64x64', date: '2026-03-01' }]]);
    device.kernels = { pinned: new Map(), tuned };
    product(device);
    device.kernels = { pinned: new Map([['matmul', 'tile-32x32']]), tuned };
    product(device);
    expect(blocks).toEqual([40, 20]);
  });

  test('take what another device remembered, and not where that is not wanted', async ({ skip }) => {
    skip(HAS_DEFAULT_LIMITS, 'a device that is opened later has other limits, and another memory');
    const folder = mkdtempSync(join(tmpdir(), 'tuning-test-'));
    vi.stubEnv('WEBGPU_ATTENTION_TUNING', folder);
    try {
      const problems = [problemOf('tile-64x64', 'tile-32x32')];
      const { keptIn, notKept, choices } = await tuneProblems(device, problems, {}, { ...ONCE, keeps: true });
      expect(notKept).toBeUndefined();
      expect(readdirSync(folder).map((name) => join(folder, name))).toEqual([keptIn]);
      const { kernel, date } = choices[0];

      const later = await createDevice();
      expect(later.kernels.tuned).toEqual(new Map([['matmul/float32/few', { kernel, date }]]));
      later.dispose();
      const forgetful = await createDevice({ remembersTuning: false });
      expect(forgetful.kernels.tuned.size).toBe(0);
      expect(await forgetful.tune({ timeBudget: 0.001 })).toMatchObject({ notKept: 'remembersTuning is false' });
      forgetful.dispose();
      expect(formatTuned(ownerOf(device.info, device.traits), later.kernels.tuned)).toContain(kernel);
    } finally {
      vi.unstubAllEnvs();
      rmSync(folder, { recursive: true });
    }
  });

  test('say where a choice cannot be kept', async () => {
    const problems = [problemOf('tile-32x32', 'tile-64x64')];
    const { keptIn, notKept } = await tuneProblems(device, problems, {}, { ...ONCE, keeps: true });
    expect(keptIn).toBeUndefined();
    expect(notKept).toBe('WEBGPU_ATTENTION_TUNING is off');
    expect(device.kernels.tuned.size).toBe(1);
  });
});

describe('device.tune', () => {
  test.each<[object, RegExp]>([
    [
      { ops: ['softmax'] },
      /ops must be a list of names among flashAttention, localAttention, matmul, attentionGradient, got \["softmax"\]/,
    ],
    [{ ops: [] }, /ops must be a list .*, got \[\]/],
    [{ ops: 'matmul' }, /ops must be a list .*, got "matmul"/],
    [{ dtypes: ['bool'] }, /dtypes must be a list of names among float32, float16, got \["bool"\]/],
    [{ headDims: [64, 257] }, /headDims must be a list of whole numbers from 1 to 256, got \[64,257\]/],
    [{ headDims: [0.5] }, /headDims must be a list of whole numbers/],
    [{ timeBudget: 0 }, /timeBudget must be a positive number of milliseconds, got 0/],
    [{ timeBudget: NaN }, /timeBudget must be a positive number of milliseconds, got NaN/],
    [{ remeasure: 1 }, /remeasure must be true or false, got 1/],
    [{ onProgress: 'line' }, /onProgress must be a function, got String/],
    [{ dtype: 'float32' }, /unknown option 'dtype'; did you mean 'dtypes'\?/],
  ])('refuses %j', async (options, message) => {
    await expect(device.tune(options as TuneOptions)).rejects.toThrow(ArgumentError);
    await expect(device.tune(options as TuneOptions)).rejects.toThrow(message);
    await expect(device.tune(options as TuneOptions)).rejects.toThrow(/^device\.tune: /);
  });

  test('runs once at a time', async () => {
    const first = device.tune({ timeBudget: 0.001 });
    await expect(device.tune()).rejects.toThrow(
      new ArgumentError('device.tune: an earlier call must have ended, but is still running'),
    );
    expect((await first).choices.every(({ date }) => date === undefined)).toBe(true);
    await expect(device.tune({ timeBudget: 0.001 })).resolves.toHaveProperty('choices');
  });

  test.each(['disposed', 'lost'])('ends with DeviceLostError where the device is %s meanwhile', async (how) => {
    const other = await createDevice();
    const { pinned } = other.kernels;
    const end = () => (how === 'lost' ? other.gpu.destroy() : other.dispose());
    const tuning = other.tune({ ops: ['matmul'], onProgress: end });
    await expect(tuning).rejects.toThrow(DeviceLostError);
    expect(other.kernels.pinned).toBe(pinned);
    await expect(other.tune()).rejects.toThrow(DeviceLostError);
    other.dispose();
  });
});

describe('createDevice({ kernels })', () => {
  /** The kernel that flash attention takes for heads of so many columns. */
  function kernelOf(target: Device, dim: number): string {
    const taken: string[] = [];
    vi.spyOn(target.runtime, 'dispatch').mockImplementation(({ shader, constants }) => {
      taken.push(`${shader.name} ${JSON.stringify(constants)}`);
    });
    target.scope(() => {
      const [q, k, v] = [1, 2, 3].map(() => target.zeros([1, 40, dim]));
      flashAttention(q, k, v);
    });
    return taken[0];
  }

  test('pins the kernel of a gradient', async () => {
    const pinned = await createDevice({ kernels: { attentionGradient: 'tile-32x32' } });
    expect(pinned.kernels.pinned).toEqual(new Map([['attentionGradient', 'tile-32x32']]));
    pinned.dispose();
  });

  test('pins, where the kernel can compute the problem', async () => {
    const pinned = await createDevice({ kernels: { flashAttention: 'tile-32x32', matmul: undefined } });
    expect(kernelOf(pinned, 16)).toMatch(/^attention\/flash-attention .*"BLOCK_Q":32/);
    // 64 invocations have no registers for 32 rows of 256 columns
    pinned.traits = { ...pinned.traits, maxComputeInvocationsPerWorkgroup: 64 };
    expect(kernelOf(pinned, 256)).toBe(kernelOf(device, 256));
    pinned.dispose();
  });

  test.each<[object, string]>([
    [
      { softmax: 'tile' },
      "kernels must be of flashAttention, localAttention, matmul or attentionGradient, got 'softmax'",
    ],
    [{ flashAtention: 'tile-32x32' }, "got 'flashAtention' (did you mean flashAttention?)"],
    [{ matmul: 'tile-32x33' }, "got 'tile-32x33' (did you mean tile-32x32?)"],
    [{ matmul: 7 }, "on this device, got '7'"],
    [{ localAttention: 'fast' }, 'the kernel of localAttention must be '],
    [['tile-32x32'], 'kernels must be an object of ops and kernels, got ["tile-32x32"]'],
  ])('refuses %j', async (kernels, message) => {
    const opening = createDevice({ kernels });
    await expect(opening).rejects.toThrow(ArgumentError);
    await expect(opening).rejects.toThrow(message);
  });

  test('refuses remembersTuning that is no boolean, before it opens anything', async () => {
    const options = { remembersTuning: 'no', adapter: 'none' } as unknown as DeviceOptions;
    await expect(createDevice(options)).rejects.toThrow(
      new ArgumentError('createDevice: remembersTuning must be true or false, got no'),
    );
  });
});
