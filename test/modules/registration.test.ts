/** Modules that are attributes, lists of modules, buffers, tied weights, and state dicts that do not fit exactly. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AdamW,
  ArgumentError,
  type Device,
  Dropout,
  Embedding,
  Linear,
  LoadError,
  Module,
  ModuleList,
  relu,
  Sequential,
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

const square = (seed = 0) => new Linear(device, { inFeatures: 2, outFeatures: 2, seed });

class Net extends Module {
  readonly tokens = new Embedding(device, { numEmbeddings: 3, embeddingDim: 2, seed: 1 });
  readonly inner = square();
  readonly notYet?: Module;
  readonly #hidden = square();
  readonly listed = [square()];
  head: Module & { forward(x: Tensor): Tensor };

  constructor() {
    super('Net');
    this.register('gain', device.tensor([1, 2], [2]));
    this.registerBuffer('steps', device.tensor(Int32Array.of(3), [1]));
    this.registerBuffer('table', device.zeros([2]), { persistent: false });
    this.registerModule('hidden', this.#hidden);
    this.head = new Linear(device, { inFeatures: 2, outFeatures: 3, bias: false, seed: 2 });
  }

  override dispose(): void {
    super.dispose();
    for (const module of this.listed) module.dispose();
  }
}

describe('attributes', () => {
  test('that are modules are inner modules under their names, besides those that were registered', () => {
    using net = new Net();
    expect(Object.keys(net.namedModules())).toEqual(['', 'hidden', 'tokens', 'inner', 'head']);
    expect(Object.keys(net.namedParameters())).toEqual([
      'gain',
      'hidden.weight',
      'hidden.bias',
      'tokens.weight',
      'inner.weight',
      'inner.bias',
      'head.weight',
    ]);
    expect(net.parameters()).toEqual(Object.values(net.namedParameters()));
    expect(net.numParameters).toBe(2 + 6 + 6 + 6 + 6);
    expect(net.eval().inner.training).toBe(false);
    expect(String(net)).toBe(
      [
        'Net(',
        '  (hidden): Linear(inFeatures=2, outFeatures=2, bias=true)',
        '  (tokens): Embedding(numEmbeddings=3, embeddingDim=2)',
        '  (inner): Linear(inFeatures=2, outFeatures=2, bias=true)',
        '  (head): Linear(inFeatures=2, outFeatures=3, bias=false)',
        ')',
      ].join('\n'),
    );
  });

  test('count with what they hold when they are asked for', () => {
    using net = new Net();
    const old = net.head;
    net.head = square(5);
    expect(net.getParameter('head.bias').shape).toEqual([2]);
    old.dispose();
  });

  test('must not have the name of another module', () => {
    using mine = square();
    using other = square();
    class Clash extends Module {
      readonly norm = mine;
      constructor() {
        super('Clash');
        this.registerModule('norm', other);
      }
    }
    const clash = new Clash();
    expect(() => clash.parameters()).toThrow("Clash: a parameter or module must have a name of its own, got 'norm'");
  });

  test('are disposed with the module', () => {
    const net = new Net();
    const tensors = [...net.parameters(), ...net.buffers()];
    net.dispose();
    expect(tensors.every(({ disposed }) => disposed)).toBe(true);
  });

  test('that lead back to the module end there', () => {
    class Child extends Module {
      readonly parent: Module;
      readonly layer = square();
      constructor(parent: Module) {
        super('Child');
        this.parent = parent;
      }
    }
    class Parent extends Module {
      readonly child: Child = new Child(this);
      constructor() {
        super('Parent');
      }
    }
    using parent = new Parent();
    expect(Object.keys(parent.stateDict())).toEqual(['child.layer.weight', 'child.layer.bias']);
    expect(parent.eval().child.training).toBe(false);
    expect(String(parent)).toContain('(parent): Parent(…)');
  });
});

describe('buffers', () => {
  test('are saved unless they say otherwise, and are not trained', async () => {
    using net = new Net();
    expect(Object.keys(net.namedBuffers())).toEqual(['steps', 'table']);
    expect(net.buffers().map(({ requiresGrad }) => requiresGrad)).toEqual([false, false]);
    const state = net.stateDict();
    expect(Object.keys(state).slice(0, 2)).toEqual(['gain', 'steps']);
    expect(state).not.toHaveProperty('table');
    using steps = device.tensor(Int32Array.of(7), [1]);
    net.loadStateDict({ ...state, steps });
    expect(await net.buffers()[0].data()).toEqual(Int32Array.of(7));
    using wrong = device.tensor([7], [1]);
    expect(() => net.loadStateDict({ ...state, steps: wrong })).toThrow("'steps' must be int32, got float32");
  });

  test('outlive the scope that they were made in', async () => {
    const net = device.scope(() => {
      const made = new Net();
      return made;
    });
    expect(await net.buffers()[0].data()).toEqual(Int32Array.of(3));
    net.dispose();
  });

  test('are tensors of their own, with names of their own', () => {
    using net = new Net();
    device.scope(() => {
      const add = (name: string, tensor: Tensor) => net['registerBuffer'](name, tensor);
      expect(() => add('gain', device.zeros([1]))).toThrow(
        "Net: a parameter or module must have a name of its own, got 'gain'",
      );
      expect(() => add('other', device.zeros([2, 2]).transpose())).toThrow("Net: 'other' must be a tensor of its own");
      expect(() => add('other', 3 as never)).toThrow("Net: 'other' must be a Tensor, got 3");
    });
  });
});

describe('a tied parameter', () => {
  const tied = (): Net => {
    const net = new Net();
    net.tieParameter('head.weight', net.getParameter('tokens.weight'));
    return net;
  };

  test('is one tensor under two names: trained once, counted once, saved twice', () => {
    using net = tied();
    const { 'head.weight': head, 'tokens.weight': tokens } = net.stateDict();
    expect(head).toBe(tokens);
    expect(Object.keys(net.namedParameters())).not.toContain('head.weight');
    expect(net.numParameters).toBe(2 + 6 + 6 + 6);
    using optimiser = new AdamW(net.namedParameters(), { lr: 0.1 });
    expect(Object.keys(optimiser.stateDict()).some((name) => name.includes('head'))).toBe(false);
  });

  test('has the gradient of both uses', async () => {
    using net = tied();
    const ids = device.tensor(Int32Array.of(1), [1]);
    device.scope(() => sum(net.head.forward(net.tokens.forward(ids))).backward());
    // d/dw of Σⱼ wⱼ·w₁ is w₁ for each row j, and Σⱼ wⱼ besides for row 1
    const w = await net.getParameter('tokens.weight').data();
    const sums = [0, 1].map((c) => w[c] + w[2 + c] + w[4 + c]);
    const grad = await net.getParameter('tokens.weight').grad!.data();
    for (let row = 0; row < 3; row++) {
      for (const c of [0, 1]) expect(grad[2 * row + c]).toBeCloseTo(w[2 + c] + (row === 1 ? sums[c] : 0), 5);
    }
    ids.dispose();
  });

  test('is loaded under either name', async () => {
    using net = tied();
    const { 'head.weight': head, 'tokens.weight': _tokens, ...rest } = net.stateDict();
    device.scope(() => {
      const given = device.tensor([1, 2, 3, 4, 5, 6], [3, 2]);
      expect(net.loadStateDict({ ...rest, 'head.weight': given })).toEqual({ missingKeys: [], unexpectedKeys: [] });
    });
    expect([...(await head.data())]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(() => net.loadStateDict(rest)).toThrow("'tokens.weight' is missing; 'head.weight' is missing");
  });

  test('stays frozen if it is', () => {
    using net = new Net();
    net.tokens.requiresGrad(false);
    net.tieParameter('head.weight', net.getParameter('tokens.weight'));
    expect(net.getParameter('head.weight').requiresGrad).toBe(false);
  });

  test('must fit', () => {
    using net = new Net();
    device.scope(() => {
      const tie = (name: string, tensor: Tensor) => () => net.tieParameter(name, tensor);
      expect(tie('head.weight', device.zeros([2, 3]))).toThrow(
        'Net.tieParameter: tensor must be [3, 2] float32, got [2, 3] float32',
      );
      expect(tie('head.weight', device.zeros([2, 3]).transpose())).toThrow('tensor must be a tensor of its own');
      expect(tie('head.bias', device.zeros([3]))).toThrow(ArgumentError);
      expect(tie('head.bias', device.zeros([3]))).toThrow(
        "Net.getParameter: name must be a parameter's, got 'head.bias'",
      );
    });
  });
});

describe('loadStateDict that is not strict', () => {
  test('takes what fits by name, and says what did not', async () => {
    using net = new Net();
    device.scope(() => {
      const { 'inner.bias': _bias, ...rest } = net.stateDict();
      const dict = { ...rest, gain: device.tensor([8, 9], [2]), extra: device.zeros([1]) };
      expect(net.loadStateDict(dict, { strict: false })).toEqual({
        missingKeys: ['inner.bias'],
        unexpectedKeys: ['extra'],
      });
      expect(() => net.loadStateDict(dict)).toThrow("'inner.bias' is missing; 'extra' is unexpected");
    });
    expect([...(await net.getParameter('gain').data())]).toEqual([8, 9]);
  });

  test('refuses a wrong shape all the same, and loads nothing', async () => {
    using net = new Net();
    device.scope(() => {
      const load = () =>
        net.loadStateDict({ gain: device.zeros([3]), 'inner.bias': device.zeros([2]) }, { strict: false });
      expect(load).toThrow(LoadError);
      expect(load).toThrow("Net.loadStateDict: 'gain' must have shape [2], got [3]");
      expect(() => net.loadStateDict({}, { strict: 1 as never })).toThrow(ArgumentError);
    });
    expect([...(await net.getParameter('gain').data())]).toEqual([1, 2]);
  });
});

describe('lists', () => {
  test('ModuleList numbers its modules', () => {
    using list = new ModuleList([square(1), square(2)]);
    list.append(square(3));
    expect(list.length).toBe(3);
    expect(list.at(-1)).toBe([...list][2]);
    expect(Object.keys(list.namedParameters()).slice(0, 3)).toEqual(['0.weight', '0.bias', '1.weight']);
    expect(String(list)).toBe('ModuleList(\n  (0-2): 3 × Linear(inFeatures=2, outFeatures=2, bias=true)\n)');
    expect(() => list.append({} as never)).toThrow("ModuleList: '3' must be a Module, got Object");
    expect(list.length).toBe(3);
    expect(() => new ModuleList(3 as never)).toThrow('ModuleList: modules must be an array of modules, got 3');
  });

  test('Sequential passes on what each layer returns', async () => {
    using net = new Sequential(square(1), relu, new Dropout({ p: 0 }), square(2));
    const { '0.weight': w, '0.bias': b, '3.weight': w2, '3.bias': b2 } = net.stateDict();
    const [m, c, m2, c2] = await Promise.all([w, b, w2, b2].map((x) => x.data()));
    using x = device.tensor([1, -2], [1, 2]);
    using y = net.forward(x);
    const hidden = [0, 1].map((i) => Math.max(0, m[2 * i] - 2 * m[2 * i + 1] + c[i]));
    const output = [0, 1].map((i) => m2[2 * i] * hidden[0] + m2[2 * i + 1] * hidden[1] + c2[i]);
    (await y.data()).forEach((value, i) => expect(value).toBeCloseTo(output[i], 5));
    expect(String(net)).toContain('(1): relu()');
    device.scope(() => sum(net.forward(x)).backward());
    expect(net.parameters().every(({ grad }) => grad !== undefined)).toBe(true);
    using empty = new Sequential();
    using same = empty.forward(x);
    expect(same.shape).toEqual(x.shape);
    expect(() => new Sequential(3 as never)).toThrow(
      'Sequential: layer 0 must be a module with forward(x), or a function, got 3',
    );
  });
});
