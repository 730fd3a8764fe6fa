/** What modules do as parameters of each other: names, modes, gradients, loading in place. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  add,
  cast,
  type Device,
  Linear,
  LoadError,
  Module,
  multiply,
  noGrad,
  SelfAttention,
  SGD,
  sum,
  type Tensor,
} from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
let liveBefore: number;
beforeAll(async () => {
  device = await testDevice();
  liveBefore = device.memory().live;
});
afterAll(() => expect(device.memory().live).toBe(liveBefore));

class Block extends Module {
  readonly first: Linear;
  readonly second: Linear;

  constructor(seed: number) {
    super('Block');
    this.register('gain', device.tensor([1, 1], [2]));
    this.first = this.registerModule('first', new Linear(device, { inFeatures: 2, outFeatures: 2, seed }));
    this.second = this.registerModule(
      'second',
      new Linear(device, { inFeatures: 2, outFeatures: 2, bias: false, seed }),
    );
  }

  forward(x: Tensor): Tensor {
    return device.scope(() => add(this.second.forward(this.first.forward(x)), multiply(x, this.parameter('gain')!)));
  }
}

class Stack extends Module {
  readonly blocks: readonly Block[];

  constructor() {
    super('Stack');
    this.blocks = [0, 1].map((i) => this.registerModule(`blocks.${i}`, new Block(i)));
  }

  /** For names that are refused. */
  add(name: string, what: Module | Tensor): void {
    if (what instanceof Module) this.registerModule(name, what);
    else this.register(name, what);
  }
}

async function valuesOf(module: Module): Promise<Record<string, number[]>> {
  const entries = Object.entries(module.stateDict()).map(async ([name, tensor]): Promise<[string, number[]]> => [
    name,
    [...(await tensor.data())],
  ]);
  return Object.fromEntries(await Promise.all(entries));
}

describe('modules inside of modules', () => {
  test('have their names before those of their tensors', () => {
    using stack = new Stack();
    const names = ['gain', 'first.weight', 'first.bias', 'second.weight'];
    expect(Object.keys(stack.stateDict())).toEqual(
      ['blocks.0', 'blocks.1'].flatMap((block) => names.map((name) => `${block}.${name}`)),
    );
    expect(stack.parameters()).toEqual(Object.values(stack.stateDict()));
  });

  test('are one and the same under two names', () => {
    using stack = new Stack();
    stack.add('again', stack.blocks[0]);
    expect(Object.keys(stack.stateDict())).toHaveLength(12);
    expect(stack.parameters()).toHaveLength(8);
  });

  test('are switched together', () => {
    using stack = new Stack();
    expect(stack.blocks[1].first.training).toBe(true);
    expect(stack.eval().blocks[1].first.training).toBe(false);
    expect(stack.train().blocks[1].first.training).toBe(true);
  });

  test('are disposed together', () => {
    const stack = new Stack();
    const parameters = stack.parameters();
    stack.dispose();
    stack.dispose();
    expect(parameters.every(({ disposed }) => disposed)).toBe(true);
  });

  test('need names of their own, and are modules', () => {
    using stack = new Stack();
    device.scope(() => {
      for (const name of ['blocks.0', '']) {
        expect(() => stack.add(name, device.zeros([1]))).toThrow(
          `Stack: a parameter or module must have a name of its own, got '${name}'`,
        );
        expect(() => stack.add(name, stack.blocks[0])).toThrow('must have a name of its own');
      }
      expect(() => stack['registerModule']('module', {} as Module)).toThrow(
        `Stack: 'module' must be a Module, got Object`,
      );
      expect(() => stack.add('tensor', device.zeros([2], { dtype: 'int32' }))).toThrow(
        `Stack: 'tensor' must be float32 or float16, got int32`,
      );
      expect(() => stack['register']('tensor', undefined as never)).toThrow(
        `Stack: 'tensor' must be a Tensor, got undefined`,
      );
      const leaf = device.zeros([2], { requiresGrad: true });
      for (const view of [device.zeros([2, 2]).transpose(), device.zeros([2]).slice(0, 1), multiply(leaf, leaf)]) {
        expect(() => stack.add('tensor', view)).toThrow(`Stack: 'tensor' must be a tensor of its own`);
      }
      expect(() => stack.add('ids', device.zeros([2], { dtype: 'int32' }))).toThrow(
        'must be float32 or float16, got int32',
      );
    });
  });
});

describe('gradients', () => {
  test('reach all parameters, and are given up together', async () => {
    using stack = new Stack();
    using x = device.tensor([1, 2], [1, 2]);
    device.scope(() => sum(stack.blocks[1].forward(stack.blocks[0].forward(x))).backward());
    for (const { grad, shape } of stack.parameters()) expect(grad?.shape).toEqual(shape);
    stack.zeroGrad();
    expect(stack.parameters().every(({ grad }) => grad === undefined)).toBe(true);
    await device.sync();
  });

  test('are not found for modules that require none', () => {
    using stack = new Stack();
    using x = device.tensor([1, 2], [1, 2]);
    expect(stack.blocks[0].requiresGrad(false)).toBe(stack.blocks[0]);
    device.scope(() => sum(stack.blocks[1].forward(stack.blocks[0].forward(x))).backward());
    expect(stack.blocks[0].parameters().every(({ grad }) => grad === undefined)).toBe(true);
    expect(stack.blocks[1].parameters().every(({ grad }) => grad !== undefined)).toBe(true);
    stack.requiresGrad();
    expect(stack.parameters().every(({ requiresGrad }) => requiresGrad)).toBe(true);
  });

  test('inside noGrad nothing is kept for them; otherwise it is freed with the output', async () => {
    using module = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    using x = device.randn([1, 4, 8], { seed: 1 });
    const before = device.memory().live;
    const plain = noGrad(() => module.forward(x).output);
    expect(plain.requiresGrad).toBe(false);
    const inference = device.memory().live - before;
    plain.dispose();
    expect(device.memory().live).toBe(before);
    const { output } = module.forward(x);
    expect(output.requiresGrad).toBe(true);
    expect(device.memory().live - before).toBeGreaterThan(inference);
    output.dispose();
    expect(device.memory().live).toBe(before);
    await device.sync();
  });

  test('of a training step leave no memory behind but their own', async () => {
    using module = new SelfAttention(device, { embedDim: 8, numHeads: 2 });
    using optimiser = new SGD(module.parameters(), { lr: 0.1 });
    using x = device.randn([1, 4, 8], { seed: 1 });
    const step = () => {
      device.scope(() => sum(module.forward(x, { isCausal: true }).output).backward());
      optimiser.step();
      optimiser.zeroGrad();
    };
    step();
    step();
    const before = device.memory().live;
    await device.sync();
    const { buffers, pipelines } = device.runtime.counters();
    step();
    await device.sync();
    expect(device.memory().live).toBe(before);
    expect(device.runtime.counters()).toMatchObject({ buffers, pipelines });
  });
});

describe('a loaded state dict', () => {
  test('is copied in place: optimisers go on with the same tensors', async () => {
    using stack = new Stack();
    using other = new Stack();
    const parameters = stack.parameters();
    const loaded = device.scope(() => {
      const entries = Object.entries(other.stateDict()).map(([name, x], i) => [name, i % 2 ? cast(x, 'float16') : x]);
      stack.loadStateDict(Object.fromEntries(entries) as Record<string, Tensor>);
      return stack.parameters();
    });
    expect(loaded).toEqual(parameters);
    expect(loaded.every((tensor, i) => tensor === parameters[i] && tensor.requiresGrad)).toBe(true);
    const [got, wanted] = [await valuesOf(stack), await valuesOf(other)];
    for (const name of Object.keys(wanted)) {
      expect(got[name].map((value, i) => Math.abs(value - wanted[name][i]) <= 1e-3)).not.toContain(false);
    }
  });

  test('may be the module’s own, in another order', async () => {
    using stack = new Stack();
    const before = await valuesOf(stack);
    stack.loadStateDict(stack.stateDict());
    expect(await valuesOf(stack)).toEqual(before);
    const { 'blocks.0.first.weight': a, 'blocks.1.first.weight': b, ...rest } = stack.stateDict();
    stack.loadStateDict({ ...rest, 'blocks.0.first.weight': b, 'blocks.1.first.weight': a });
    const after = await valuesOf(stack);
    expect(after['blocks.0.first.weight']).toEqual(before['blocks.1.first.weight']);
    expect(after['blocks.1.first.weight']).toEqual(before['blocks.0.first.weight']);
  });

  test('stops the walk of what was recorded before', () => {
    using stack = new Stack();
    device.scope(() => {
      const x = device.tensor([1, 2], [1, 2], { requiresGrad: true });
      const loss = sum(stack.blocks[0].forward(x));
      stack.loadStateDict(stack.stateDict());
      expect(() => loss.backward()).toThrow(/changed in place since/);
      expect(x.grad).toBeUndefined();
    });
  });

  test('lists the problems of all modules inside, and loads nothing', async () => {
    using stack = new Stack();
    const before = await valuesOf(stack);
    device.scope(() => {
      const { 'blocks.0.gain': _gain, ...rest } = stack.stateDict();
      const load = () =>
        stack.loadStateDict({ ...rest, 'blocks.1.gain': device.zeros([3]), 'blocks.2.gain': device.zeros([2]) });
      expect(load).toThrow(LoadError);
      expect(load).toThrow(
        "Stack.loadStateDict: 'blocks.0.gain' is missing; 'blocks.1.gain' must have shape [2], got [3]; 'blocks.2.gain' is unexpected",
      );
    });
    expect(await valuesOf(stack)).toEqual(before);
  });
});
