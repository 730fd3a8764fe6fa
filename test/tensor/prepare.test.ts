/** `device.prepare` compiles what work needs, runs nothing of it, and leaves nothing of it behind. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  AdamW,
  ArgumentError,
  clipGradNorm,
  createDevice,
  crossEntropy,
  dropout,
  Embedding,
  flashAttention,
  gelu,
  GradScaler,
  KeyValueCache,
  LayerNorm,
  Linear,
  matmul,
  Module,
  noGrad,
  PagedKeyValueCache,
  sample,
  scoreMod,
  SelfAttention,
  ShaderError,
  softmax,
  sum,
} from '../../src/index.ts';
import type { CompileEvent, Device, PrepareProgress, Tensor } from '../../src/index.ts';
import { Llama, readLlama2c } from '../../src/models.ts';
import { triesEveryKernel } from '../device.ts';
import { llama2cFile, TINY, tinyWeights } from '../models/tiny-llama.ts';

const isBroad = await triesEveryKernel();
type Trained = [
  name: string,
  make: (device: Device) => Module & { forward(x: Tensor): Tensor },
  input: (device: Device) => Tensor,
];
const devices: Device[] = [];

async function fresh(options: Parameters<typeof createDevice>[0] = {}): Promise<Device> {
  const device = await createDevice(options);
  devices.push(device);
  return device;
}

afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(devices.splice(0).map((device) => device.close()));
});

class Block extends Module {
  readonly tokens: Embedding;
  readonly norm: LayerNorm;
  readonly attention: SelfAttention;
  readonly head: Linear;

  constructor(device: Device) {
    super('Block');
    this.tokens = this.registerModule('tokens', new Embedding(device, { numEmbeddings: 11, embeddingDim: 16 }));
    this.norm = this.registerModule('norm', new LayerNorm(device, { normalizedShape: 16 }));
    const options = { embedDim: 16, numHeads: 2, dropoutP: 0.1 };
    this.attention = this.registerModule('attention', new SelfAttention(device, options));
    this.head = this.registerModule('head', new Linear(device, { inFeatures: 16, outFeatures: 11 }));
  }

  forward(ids: Tensor): Tensor {
    const x = this.norm.forward(this.tokens.forward(ids));
    const { output } = this.attention.forward(x, { isCausal: true });
    return this.head.forward(dropout(gelu(output), { p: 0.1 }));
  }
}

const idsOf = (device: Device): Tensor =>
  device.tensor(
    Int32Array.from({ length: 14 }, (_, i) => (i * 5) % 11),
    [2, 7],
  );

/** What must not change while something is prepared. */
function stateOf(device: Device): object {
  const { live } = device.memory();
  const { dispatches } = device.runtime.counters();
  return { live, dispatches, seed: device.seed };
}

/** Counts the pipelines that calls make, and so wait for. */
const blocking = (device: Device) => vi.spyOn(device.gpu, 'createComputePipeline');

describe('after it, the first real call makes no pipeline', () => {
  test('a forward pass of a module, with its initial weights', async () => {
    const [device, other] = [await fresh(), await fresh()];
    const made = blocking(device);
    const model = new Block(device);
    const ids = idsOf(device);
    const before = stateOf(device);
    await device.prepare(() => noGrad(() => model.forward(ids)));
    expect(stateOf(device)).toEqual(before);
    const { pipelines } = device.runtime.counters();
    const got = await noGrad(() => model.forward(ids)).data();
    expect(made).not.toHaveBeenCalled();
    expect(device.runtime.counters().pipelines).toBe(pipelines);
    const expected = new Block(other);
    expect(got).toEqual(await noGrad(() => expected.forward(idsOf(other))).data());
  });

  const TRANSFORMER: Trained = ['a transformer', (device) => new Block(device), idsOf];
  const LAYER: Trained = [
    'a float16 layer',
    (device) => new Linear(device, { inFeatures: 3, outFeatures: 11, dtype: 'float16' }),
    (device) => device.randn([2, 7, 3], { dtype: 'float16' }),
  ];
  test.each(isBroad ? [TRANSFORMER, LAYER] : [LAYER])(
    'steps that train %s are those of an unprepared run',
    async (_name, make, input) => {
      const device = await fresh();
      const run = async (prepares: boolean): Promise<number[][]> => {
        device.seed = 0;
        const model = make(device);
        const optimiser = new AdamW(model.namedParameters(), { lr: 0.01 });
        const scaler = new GradScaler(device, { initScale: 128 });
        const x = input(device);
        const made = blocking(device);
        made.mockClear();
        const targets = device.tensor(
          Int32Array.from({ length: 14 }, (_, i) => i % 11),
          [2, 7],
        );
        const step = (): Tensor =>
          device.scope(() => {
            const loss = crossEntropy(model.forward(x), targets);
            scaler.scale(loss).backward();
            clipGradNorm(model.parameters(), 1, { scaler });
            scaler.step(optimiser);
            scaler.update();
            optimiser.zeroGrad();
            return loss;
          });
        const results: number[][] = [];
        for (let i = 0; i < 3; i++) {
          if (prepares) {
            const before = stateOf(device);
            await device.prepare(step); // before the first step, and between later ones
            expect(stateOf(device)).toEqual(before);
            expect(model.parameters().every(({ grad }) => grad === undefined)).toBe(true);
            if (i === 0) expect(optimiser.stateDict()).toEqual({});
          }
          results.push([...(await step().data())]);
          if (prepares) expect(made).not.toHaveBeenCalled();
        }
        const states = [...Object.values(model.stateDict()), ...Object.values(optimiser.stateDict())];
        for (const tensor of states) results.push([...(await tensor.data())]);
        return results;
      };
      expect(await run(true)).toEqual(await run(false));
    },
  );

  test('a prompt and a token of a language model, with either cache', async () => {
    const device = await fresh();
    const made = blocking(device);
    const sizes = { ...TINY, dim: TINY.heads * TINY.headDim };
    const model = new Llama(device, readLlama2c(llama2cFile(sizes, tinyWeights(sizes, 1))));
    const [prompt, token] = [[1, 2, 3], [4]].map((ids) => device.tensor(Int32Array.from(ids), [1, ids.length]));
    for (const kind of ['contiguous', 'paged'] as const) {
      const cache = model.createCache({ kind });
      const work = (): Tensor => {
        model.forward(prompt, cache).dispose();
        return sample(model.forward(token, cache), { temperature: 0.5 });
      };
      const before = stateOf(device);
      await device.prepare(work);
      expect(stateOf(device)).toEqual(before);
      expect(cache.length).toBe(0);
      device.scope(() => void work());
      expect(cache.length).toBe(4);
      cache.dispose();
    }
    await device.sync();
    expect(made).not.toHaveBeenCalled();
  });

  test('each of several works, of which none sees what another did', async () => {
    const device = await fresh();
    const made = blocking(device);
    const x = device.zeros([4, 8]);
    const seeds: number[] = [];
    await device.prepare([
      () => seeds.push(device.nextSeed()) && softmax(x),
      () => seeds.push(device.nextSeed()) && matmul(x, x, { transposeB: true }),
    ]);
    expect(seeds).toEqual([0, 0]);
    softmax(x);
    matmul(x, x, { transposeB: true });
    await device.sync();
    expect(made).not.toHaveBeenCalled();
  });
});

describe('nothing of the work stays', () => {
  test('gradients are as before, whether there were any or not', async () => {
    const device = await fresh();
    const x = device.tensor([1, 2, 3], [3], { requiresGrad: true });
    const y = device.tensor([1, 2, 3], [3], { requiresGrad: true });
    sum(x).backward();
    const { grad } = x;
    const loss = sum(matmul(x.reshape([1, 3]), y.reshape([3, 1])));
    await device.prepare(() => {
      loss.backward(); // of a graph that was recorded outside
      sum(y).backward();
      x.grad = undefined;
      x.dispose();
      y.requiresGrad = false;
    });
    expect(x.grad).toBe(grad);
    expect([...(await grad!.data())]).toEqual([1, 1, 1]);
    expect([y.grad, y.requiresGrad, x.disposed]).toEqual([undefined, true, false]);
    loss.backward();
    expect([...(await x.grad!.data())]).toEqual([2, 3, 4]);
    expect([...(await y.grad!.data())]).toEqual([1, 2, 3]);
  });

  test('an optimiser has its state and its rate, even if the work ends it', async () => {
    const device = await fresh();
    const x = device.tensor([1, 2], [2], { requiresGrad: true });
    const optimiser = new AdamW([x], { lr: 0.5 });
    sum(x).backward();
    optimiser.step();
    const slow = () => {
      optimiser.lr = 0;
    };
    const changes = [slow, () => optimiser.step(), () => optimiser.dispose()];
    for (const change of changes) await device.prepare(() => change());
    expect(optimiser.lr).toBe(0.5);
    optimiser.step();
    expect(Object.keys(optimiser.stateDict()).length).toBeGreaterThan(0);
    optimiser.dispose();
    x.dispose();
  });

  test('caches hold what they held, and where', async () => {
    const device = await fresh();
    const [k, other] = [1, 2].map((seed) => device.randn([1, 2, 3, 8], { seed }));
    const growing = new KeyValueCache(device, { batch: 1, capacity: 4, numKvHeads: 2, headDim: 8, growth: 'double' });
    const sliding = new KeyValueCache(device, {
      batch: 1,
      capacity: 4,
      numKvHeads: 2,
      headDim: 8,
      eviction: 'sliding',
    });
    const sizes = { numPages: 2, pageSize: 2, numKvHeads: 2, headDim: 8, growth: 'double' } as const;
    const paged = new PagedKeyValueCache(device, sizes);
    const id = paged.add();
    growing.append(k, k);
    sliding.append(k, k);
    paged.append([id], k, k);
    const read = async () => {
      const outputs = [growing.attend(k), sliding.attend(k), paged.attend([id], k)];
      return Promise.all(outputs.map(async ({ output }) => [...(await output.data())]));
    };
    const expected = await read();
    const facts = () => ({
      growing: [growing.length, growing.position, growing.capacity, growing.keys],
      sliding: [sliding.length, sliding.position],
      paged: [paged.length(id), paged.pages(id), paged.freePages, paged.numPages, paged.keys],
      live: device.memory().live,
    });
    const before = facts();
    await device.prepare(() => {
      for (const cache of [growing, sliding]) {
        cache.append(other, other);
        cache.attend(other);
      }
      growing.reset();
      const fork = paged.fork(id);
      paged.append([fork, paged.add()], device.randn([2, 2, 3, 8]), device.randn([2, 2, 3, 8]));
      paged.attend([fork], other);
      paged.free(id);
    });
    const after = facts();
    expect(after.growing.at(-1)).toBe(before.growing.at(-1));
    expect(after.paged.at(-1)).toBe(before.paged.at(-1));
    expect(JSON.stringify(after)).toBe(JSON.stringify(before));
    expect(await read()).toEqual(expected);
    expect(paged.add()).toBe(id + 1);
  });

  test('a state dict that it loads is not there', async () => {
    const device = await fresh();
    const [module, from, plain] = [1, 2, 1].map((seed) => new Linear(device, { inFeatures: 3, outFeatures: 2, seed }));
    await device.prepare(() => module.loadStateDict(from.stateDict()));
    expect(await module.stateDict()['weight'].data()).toEqual(await plain.stateDict()['weight'].data());
  });

  test('when it throws, too', async () => {
    const device = await fresh();
    const x = device.zeros([2, 3]);
    const before = stateOf(device);
    const failing = () => {
      softmax(x);
      device.nextSeed();
      return matmul(x, x);
    };
    await expect(device.prepare(failing)).rejects.toThrow(ArgumentError);
    expect(stateOf(device)).toEqual(before);
    expect(device.runtime.counters().pipelines).toBe(0);
    expect([...(await softmax(x).data())]).toEqual([...Array(6)].map(() => Math.fround(1 / 3)));
  });
});

describe('what it refuses', () => {
  test.each<[string, (device: Device, x: Tensor) => unknown, string]>([
    ['data', (_, x) => void x.data(), 'data'],
    ['the buffer', (_, x) => void x.buffer, 'buffer'],
    ['a wait', (device) => void device.sync(), 'device.sync'],
    ['a profile', (device) => void device.profile(() => 1), 'device.profile'],
    ['tuning', (device) => void device.tune(), 'device.tune'],
    ['itself', (device, x) => void device.prepare(() => softmax(x)), 'device.prepare'],
  ])('%s within work', async (_name, work, call) => {
    const device = await fresh();
    const x = device.zeros([2]);
    const message = `device.prepare: work must not call ${call}, because nothing is computed yet`;
    await expect(device.prepare(() => work(device, x))).rejects.toThrow(new ArgumentError(message));
    expect([...(await x.data())]).toEqual([0, 0]);
  });

  test('work that is no function, async, or a generator', async () => {
    const device = await fresh();
    const prepare = (work: unknown, options?: object) => device.prepare(work as () => void, options);
    await expect(prepare([])).rejects.toThrow('device.prepare: work must be a function or a list of functions');
    await expect(prepare(3)).rejects.toThrow(
      'device.prepare: work must be a function or a list of functions, got Number',
    );
    await expect(prepare([() => 1, 2])).rejects.toThrow('got Number');
    await expect(prepare(async () => 1)).rejects.toThrow('device.prepare: work must not be async');
    await expect(prepare(function* () {})).rejects.toThrow('device.prepare: work must not be a generator');
    await expect(prepare(() => 1, { progress: 1 })).rejects.toThrow("device.prepare: unknown option 'progress'");
    await expect(prepare(() => 1, { onProgress: 1 })).rejects.toThrow('device.prepare: onProgress must be a function');
    await expect(createDevice({ onCompile: 1 as never })).rejects.toThrow(
      'createDevice: onCompile must be a function, got Number',
    );
    await device.close();
    await expect(prepare(() => 1)).rejects.toThrow('the device was closed');
  });
});

const WRONG = scoreMod('fn score_mod(s: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {\n    return s + j;\n}');

describe('a modifier that does not compile', () => {
  test('rejects with the error of its first use, and leaves the rest prepared', async () => {
    const [device, other] = [await fresh(), await fresh()];
    const attention = (on: Device): Tensor => {
      const q = on.zeros([1, 1, 4, 8]);
      return flashAttention(q, q, q, { scoreMod: WRONG }).output;
    };
    const first = await attention(other)
      .data()
      .then(
        () => new Error('it compiled'),
        (error: Error) => error,
      );
    expect(first).toBeInstanceOf(ShaderError);
    const before = stateOf(device);
    const x = device.zeros([2]);
    const prepared = await device.prepare([() => attention(device), () => softmax(x)]).then(
      () => undefined,
      (error: Error) => error,
    );
    expect(prepared).toBeInstanceOf(ShaderError);
    expect(prepared!.message).toBe(first.message);
    x.dispose();
    expect(stateOf(device)).toEqual(before);
    const made = blocking(device);
    expect([...(await softmax(device.zeros([2])).data())]).toEqual([0.5, 0.5]); // and no failure is left to this wait
    expect(made).not.toHaveBeenCalled();
    await expect(attention(device).data()).rejects.toThrow(first.message);
    await expect(device.prepare(() => attention(device))).rejects.toThrow(first.message);
  });
});

describe('how it is watched and ended', () => {
  const several = (x: Tensor) => () => {
    softmax(x);
    gelu(x);
    matmul(x, x);
  };

  test('progress counts kernels that were missing, and says nothing if there are none', async () => {
    const device = await fresh();
    const x = device.tensor(new Float32Array(64), [8, 8]);
    const seen: PrepareProgress[] = [];
    await device.prepare(several(x), { onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([0, 1, 2, 3].map((done) => ({ done, total: 3 })));
    expect(device.runtime.counters().pipelines).toBe(3);
    await device.prepare(several(x), { onProgress: (progress) => seen.push(progress) });
    expect(seen).toHaveLength(4);
  });

  test('what the callback throws rejects it, and ends the calls', async () => {
    const device = await fresh();
    const x = device.tensor(new Float32Array(64), [8, 8]);
    let calls = 0;
    const onProgress = () => {
      calls++;
      throw new RangeError('mine');
    };
    await expect(device.prepare(several(x), { onProgress })).rejects.toThrow(new RangeError('mine'));
    await device.sync();
    expect(calls).toBe(1);
    await device.prepare(several(x));
    expect(device.runtime.counters().pipelines).toBe(3);
  });

  test('a signal ends it before or amid compilation, and the device goes on', async () => {
    const device = await fresh();
    const x = device.tensor(new Float32Array(64), [8, 8]);
    const reason = new Error('enough');
    const work = vi.fn<() => void>(several(x));
    await expect(device.prepare(work, { signal: AbortSignal.abort(reason) })).rejects.toThrow(reason);
    expect(work).not.toHaveBeenCalled();
    const control = new AbortController();
    let calls = 0;
    const onProgress = () => {
      calls++;
      control.abort(reason);
    };
    await expect(device.prepare(work, { signal: control.signal, onProgress })).rejects.toThrow(reason);
    await device.sync();
    expect(calls).toBe(1);
    await device.prepare(work);
    const made = blocking(device);
    work();
    await device.sync();
    expect(made).not.toHaveBeenCalled();
  });

  test('an aborted one leaves no failure of its own to the next wait', async () => {
    const device = await fresh();
    const q = device.zeros([1, 1, 4, 8]);
    const control = new AbortController();
    const work = () => flashAttention(q, q, q, { scoreMod: WRONG });
    const onProgress = () => control.abort();
    await expect(device.prepare(work, { signal: control.signal, onProgress })).rejects.toThrow('abort');
    await device.sync();
  });

  test('two at once, with calls between, make each pipeline once', async () => {
    const device = await fresh();
    const x = device.tensor(new Float32Array(64), [8, 8]);
    const both = [device.prepare(several(x)), device.prepare([several(x), () => softmax(x)])];
    softmax(x);
    await Promise.all(both);
    several(x)();
    await device.sync();
    expect(device.runtime.counters().pipelines).toBe(3);
  });

  test('onCompile hears of every kernel, and whether a call waits for it', async () => {
    const events: CompileEvent[] = [];
    const device = await fresh({ onCompile: (event) => events.push(event) });
    const x = device.tensor(new Float32Array(64), [8, 8]);
    await device.prepare(() => gelu(x));
    softmax(x);
    softmax(gelu(x));
    expect(events.map(({ op, isPrepared }) => [op, isPrepared])).toEqual([
      ['gelu', true],
      ['softmax', false],
    ]);
    expect(events[1].kernel).toBe('softmax/softmax');
  });

  test('a device that is closed meanwhile waits for it, and one that is disposed rejects it', async () => {
    const [closed, disposed] = [await fresh(), await fresh()];
    const preparing = closed.prepare(several(closed.tensor(new Float32Array(64), [8, 8])));
    await closed.close();
    await preparing;
    const rejected = disposed.prepare(several(disposed.tensor(new Float32Array(64), [8, 8])));
    disposed.dispose();
    await expect(rejected).rejects.toThrow('the device was disposed');
  });
});
