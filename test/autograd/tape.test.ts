import { beforeAll, describe, expect, test } from 'vitest';
import { noGrad, record } from '../../src/autograd/tape.ts';
import { ArgumentError, type Device, mean, multiply, sum, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const leaf = (values: readonly number[], shape: readonly number[] = [values.length], dtype?: 'float32' | 'float16') =>
  device.tensor(values, shape, { ...(dtype && { dtype }), requiresGrad: true });

/** x · y by a call of this test's own, whose gradients are written down here; `freed` learns when it is walked. */
function product(x: Tensor, y: Tensor): Tensor {
  const output = noGrad(() => multiply(x, y));
  record({
    op: 'product',
    inputs: { x, y },
    outputs: [output],
    saved: { x, y },
    backward: ([gradient], saved, needs) => ({
      x: needs.x ? multiply(gradient!, saved.y) : undefined,
      y: needs.y ? multiply(gradient!, saved.x) : undefined,
    }),
  });
  return output;
}

/** Returns x unchanged, and passes its gradient on as it is. */
function same(x: Tensor): Tensor {
  const output = x.detach();
  record({ op: 'same', inputs: { x }, outputs: [output], backward: ([gradient]) => ({ x: gradient }) });
  return output;
}

async function gradOf(tensor: Tensor): Promise<number[] | undefined> {
  return tensor.grad && [...(await tensor.grad.data())];
}

/** Runs `work` in a scope and expects all memory back except for gradients of tensors made outside. */
async function balanced(work: () => void): Promise<void> {
  const { live } = device.memory();
  device.scope(work);
  await device.sync();
  expect(device.memory().live).toBe(live);
}

describe('gradients', () => {
  test('of a product go to both factors', async () => {
    using x = leaf([1, 2, 3]);
    using y = leaf([4, 5, 6]);
    device.scope(() => sum(product(x, y)).backward());
    expect(await gradOf(x)).toEqual([4, 5, 6]);
    expect(await gradOf(y)).toEqual([1, 2, 3]);
  });

  test('add up over uses, calls and backward passes, in the same tensor', async () => {
    using x = leaf([3, -2]);
    device.scope(() => sum(product(x, x)).backward());
    const { grad } = x;
    expect(await gradOf(x)).toEqual([6, -4]);
    device.scope(() => sum(product(product(x, x), x)).backward());
    expect(x.grad).toBe(grad);
    expect(await gradOf(x)).toEqual([6 + 27, -4 + 12]);
    x.grad = undefined;
    expect(x.grad).toBeUndefined();
    expect(grad!.disposed).toBe(true);
  });

  test('meet where paths of different lengths do', async () => {
    using x = leaf([2]);
    device.scope(() => {
      const long = same(same(product(x, x)));
      product(long, x).backward(); // x³
    });
    expect(await gradOf(x)).toEqual([12]);
  });

  test('may be assigned to themselves, and start again if they were disposed', async () => {
    using x = leaf([3, -2]);
    using untouched = leaf([1, 2]);
    const walk = () => device.scope(() => sum(product(x, untouched.detach())).backward());
    walk();
    const { grad } = x;
    x.grad = grad;
    expect(x.grad).toBe(grad);
    expect(await gradOf(x)).toEqual([1, 2]);
    grad!.dispose();
    expect(x.grad).toBeUndefined();
    walk();
    expect(await gradOf(x)).toEqual([1, 2]);
  });

  test('start from what the caller gives, which stays the caller’s', async () => {
    using x = leaf([1, 2]);
    using gradient = device.tensor([10, 20], [2]);
    device.scope(() => same(x).backward(gradient));
    device.scope(() => same(x).backward(gradient));
    expect(await gradOf(x)).toEqual([20, 40]);
    expect([...(await gradient.data())]).toEqual([10, 20]);
  });

  test('of a leaf itself are what it is given, 1 by default', async () => {
    using x = leaf([7]);
    x.backward();
    x.backward();
    expect(await gradOf(x)).toEqual([2]);
  });

  test('of two leaves that receive the same tensor do not share it', async () => {
    using x = leaf([1, 2]);
    using y = leaf([3, 4]);
    device.scope(() => {
      const output = noGrad(() => multiply(x, y));
      record({ op: 'both', inputs: { x, y }, outputs: [output], backward: ([g]) => ({ x: g, y: g }) });
      sum(output).backward();
    });
    device.scope(() => sum(same(x)).backward());
    expect(await gradOf(x)).toEqual([2, 2]);
    expect(await gradOf(y)).toEqual([1, 1]);
  });

  test('of several outputs arrive together, undefined for one that was not used', async () => {
    using x = leaf([1, 2]);
    const seen: (readonly (Tensor | undefined)[])[] = [];
    const two = () => {
      const outputs = [x.detach(), x.detach()] as const;
      record({
        op: 'two',
        inputs: { x },
        outputs,
        backward: (gradients) => {
          seen.push(gradients.map((gradient) => gradient && gradient.hold()));
          return { x: gradients[1] };
        },
      });
      return outputs;
    };
    device.scope(() => sum(two()[1]).backward());
    device.scope(() => {
      const [a, b] = two();
      sum(product(a, b)).backward();
    });
    expect(seen.map((gradients) => gradients.map((gradient) => gradient !== undefined))).toEqual([
      [false, true],
      [true, true],
    ]);
    for (const gradient of seen.flat()) gradient?.dispose();
    expect(await gradOf(x)).toEqual([1 + 1, 1 + 2]);
  });

  test.each(['float32', 'float16'] as const)('have the dtype of the tensor: %s', async (dtype) => {
    using x = leaf([1, 2, 3], [3], dtype);
    device.scope(() => mean(x).backward());
    expect(x.grad!.dtype).toBe(dtype);
    expect((await gradOf(x))!.map((value) => value.toFixed(3))).toEqual(['0.333', '0.333', '0.333']);
  });
});

describe('views', () => {
  const weights = [1, 10, 100, 1000, 10_000, 100_000];

  test.each<[string, (x: Tensor) => Tensor, number[]]>([
    ['reshape', (x) => x.reshape([3, 2]), weights],
    ['transpose', (x) => x.transpose(), [1, 100, 10_000, 10, 1000, 100_000]],
    [
      'transpose, then reshape of the one copy',
      (x) => x.transpose().reshape([3, 2, 1]),
      [1, 100, 10_000, 10, 1000, 100_000],
    ],
    ['expand in front', (x) => x.expand([2, 2, 3]).slice(0, 0, 1).reshape([6]), weights],
  ])('%s', async (_, view, expected) => {
    using x = leaf([0, 0, 0, 0, 0, 0], [2, 3]);
    await balancedGrad(x, () => {
      const seen = view(x);
      sum(product(seen, device.tensor(weights, seen.shape))).backward();
    });
    expect(await gradOf(x)).toEqual(expected);
  });

  test('expand sums over what it repeats', async () => {
    using x = leaf([5, 7], [2, 1]);
    device.scope(() => sum(product(x.expand([2, 3]), device.tensor(weights, [2, 3]))).backward());
    expect(await gradOf(x)).toEqual([111, 111_000]);
  });

  test.each(['float32', 'float16'] as const)(
    'slices, overlapping and at odd columns, add up in place: %s',
    async (dtype) => {
      using x = leaf([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [2, 5], dtype);
      device.scope(() => {
        const left = x.slice(1, 0, 3);
        const right = x.slice(1, 1, 4);
        const row = x.slice(0, 1, 2);
        sum(left).backward();
        sum(right).backward();
        sum(row).backward();
      });
      expect(await gradOf(x)).toEqual([1, 2, 2, 1, 0, 2, 3, 3, 2, 1]);
    },
  );

  test('a slice of a slice of one tensor twice in one pass', async () => {
    using x = leaf([1, 2, 3, 4, 5]);
    device.scope(() => sum(product(x.slice(0, 1, 5).slice(0, 1, 3), x.slice(0, 0, 2))).backward());
    expect(await gradOf(x)).toEqual([3, 4, 1, 2, 0]); // x2·x0 + x3·x1
  });
});

/** All memory is back except for x's gradient. */
async function balancedGrad(x: Tensor, work: () => void): Promise<void> {
  const { live } = device.memory();
  device.scope(work);
  const kept = x.grad ? 256 : 0;
  expect(device.memory().live).toBe(live + kept);
}

describe('memory', () => {
  test('saved tensors outlive what the caller disposes, and go as the pass consumes them', async () => {
    using x = device.randn([64, 64], { seed: 1, requiresGrad: true });
    const { live } = device.memory();
    const bytes = 64 * 64 * 4;
    const loss = device.scope(() => {
      const a = product(x, x);
      const b = product(a, a);
      return sum(product(b, b));
    });
    // a and b are saved; the last product's result is nobody's
    expect(device.memory().live).toBe(live + 2 * bytes + 256);
    loss.backward();
    expect(device.memory().live).toBe(live + bytes + 256); // x's gradient and the loss
    loss.dispose();
    expect(device.memory().live).toBe(live + bytes);
    const value = (await x.data())[5];
    expect((await x.grad!.data())[5] / (8 * value ** 7)).toBeCloseTo(1, 4);
    x.grad = undefined;
    expect(device.memory().live).toBe(live);
  });

  test('a graph that is never walked is freed with its result', async () => {
    using x = leaf([1, 2, 3]);
    await balanced(() => void sum(product(product(x, x), x)));
    expect(x.grad).toBeUndefined();
  });

  test('a leaf’s gradient is disposed with the leaf', async () => {
    await balanced(() => sum(product(leaf([1]), leaf([2]))).backward());
  });

  test('a leaf’s gradient is not part of a larger buffer', async () => {
    using x = device.zeros([64, 64], { requiresGrad: true });
    using y = device.zeros([64, 64], { requiresGrad: true });
    const { live } = device.memory();
    const joined = (): readonly [Tensor, Tensor] => {
      const both = device.zeros([2, 64, 64]);
      return [both.slice(0, 0, 1).reshape([64, 64]), both.slice(0, 1).reshape([64, 64])];
    };
    const call = () => {
      const output = device.zeros([1]);
      record({
        op: 'call',
        inputs: { x, y },
        outputs: [output],
        backward: (_, _saved, needs) => {
          const [first, second] = joined();
          return { x: needs.x ? first : undefined, y: needs.y ? second : undefined };
        },
      });
      return output;
    };
    device.scope(() => call().backward());
    expect(device.memory().live).toBe(live + 2 * 64 * 64 * 4);
    [x.grad, y.grad, y.requiresGrad] = [undefined, undefined, false];
    device.scope(() => call().backward());
    expect(device.memory().live).toBe(live + 64 * 64 * 4);
    expect(await gradOf(x)).toEqual(Array.from({ length: 64 * 64 }, () => 0));
  });

  test('a graph deeper than the stack is walked and freed', async () => {
    using x = leaf([1]);
    const { live } = device.memory();
    const chain = () => {
      let y = same(x);
      for (let i = 0; i < 20_000; i++) {
        const next = same(y);
        y.dispose();
        y = next;
      }
      return y;
    };
    chain().dispose();
    expect(device.memory().live).toBe(live);
    const end = chain();
    end.backward();
    end.dispose();
    expect(await gradOf(x)).toEqual([1]);
    expect(device.memory().live).toBe(live + 256);
  });

  test('a walk that fails frees the gradients that it gathered', async () => {
    using x = leaf([1, 2]);
    const { live } = device.memory();
    device.scope(() => {
      const middle = x.detach();
      record({
        op: 'broken',
        inputs: { x },
        outputs: [middle],
        backward: () => {
          throw new Error('no');
        },
      });
      const loss = sum(product(middle, middle));
      expect(() => loss.backward()).toThrow('no');
    });
    await device.sync();
    expect(device.memory().live).toBe(live);
  });
});

describe('what is recorded', () => {
  test('nothing inside noGrad, of detached tensors, or where no input requires a gradient', () => {
    using x = leaf([1, 2]);
    device.scope(() => {
      expect(noGrad(() => product(x, x)).requiresGrad).toBe(false);
      expect(noGrad(() => x.reshape([2, 1])).requiresGrad).toBe(false);
      expect(product(x.detach(), x.detach()).requiresGrad).toBe(false);
      expect(product(x, x.detach()).requiresGrad).toBe(true);
      expect(x.transpose(0, 0).requiresGrad).toBe(true);
    });
  });

  test('again after noGrad, even if that nests or throws', () => {
    using x = leaf([1]);
    device.scope(() => {
      noGrad(() => noGrad(() => undefined));
      expect(() =>
        noGrad(() => {
          throw new Error('stop');
        }),
      ).toThrow('stop');
      expect(product(x, x).requiresGrad).toBe(true);
    });
  });

  test('needs says which gradients are wanted', async () => {
    using x = leaf([2]);
    using y = device.tensor([3], [1]);
    device.scope(() => product(x, y).backward());
    expect(await gradOf(x)).toEqual([3]);
    expect(y.grad).toBeUndefined();
  });

  test('requiresGrad can be taken back from a leaf', () => {
    using x = leaf([2]);
    using before = product(x, x);
    before.backward();
    x.requiresGrad = false;
    expect(x.grad).toBeUndefined();
    expect(device.scope(() => product(x, x).requiresGrad)).toBe(false);
    using recorded = device.scope(() => {
      x.requiresGrad = true;
      const result = product(x, x);
      x.requiresGrad = false;
      return result;
    });
    x.requiresGrad = true;
    recorded.backward();
    expect(x.grad).toBeUndefined();
  });
});

describe('errors', () => {
  const thrown = (work: () => unknown): string => {
    try {
      device.scope(work);
    } catch (error) {
      expect(error).toBeInstanceOf(ArgumentError);
      return (error as Error).message;
    }
    throw new Error('nothing was thrown');
  };

  test('a second walk', async () => {
    using x = leaf([2]);
    expect(
      thrown(() => {
        const y = product(x, x);
        const loss = product(y, y);
        loss.backward();
        product(y, x).backward();
      }),
    ).toMatch(/^backward: every call must be walked once, got product's result a second time, .* run the forward pass/);
    expect(await gradOf(x)).toEqual([32]); // only of the first walk
  });

  test('no path', () => {
    expect(thrown(() => sum(device.zeros([2])).backward())).toBe(
      'backward: the tensor must come from one whose requiresGrad is true, got [1] without a path to any (work inside noGrad leaves none)',
    );
  });

  test('a wrong gradient', () => {
    using x = leaf([1, 2]);
    const wrong = (gradient: () => unknown) => thrown(() => same(x).backward(gradient() as Tensor));
    expect(wrong(() => undefined)).toBe(
      'backward: gradient must be given for a tensor of more than one element, got none for [2]',
    );
    expect(wrong(() => device.zeros([2, 1]))).toBe(
      'backward: gradient must be float32 [2] like the tensor, got float32 [2, 1]',
    );
    expect(wrong(() => device.zeros([2], { dtype: 'float16' }))).toMatch(/must be float32 \[2\].*got float16 \[2\]/);
    expect(wrong(() => 1)).toBe('backward: gradient must be a Tensor, got 1');
    expect(x.grad).toBeUndefined();
  });

  test('something saved that was changed in place since', () => {
    using x = leaf([1]);
    expect(
      thrown(() => {
        const y = product(x, x);
        x.changed();
        y.backward();
      }),
    ).toBe(
      "backward: product's x must be as it was when product ran, got a float32 tensor of [1] that was changed in place since, as an optimiser's step does",
    );
  });

  test('a call without a gradient, before anything has happened', () => {
    using x = leaf([1]);
    expect(
      thrown(() => {
        const y = x.detach();
        record({ op: 'odd', inputs: { x }, outputs: [y], refusal: 'odd: it has no gradient', backward: () => ({}) });
        product(y, x).backward();
      }),
    ).toBe('odd: it has no gradient');
    expect(x.grad).toBeUndefined();
  });

  test('requiresGrad and grad', () => {
    using x = leaf([1, 2]);
    expect(thrown(() => device.tensor(new Int32Array(2), [2], { requiresGrad: true }))).toBe(
      'requiresGrad: the tensor must be float32 or float16, got int32',
    );
    expect(thrown(() => (same(x).requiresGrad = false))).toMatch(/detach\(\) gives a tensor off the tape/);
    expect(thrown(() => (x.requiresGrad = 1 as never))).toBe('requiresGrad: it must be true or false, got 1');
    expect(thrown(() => (x.grad = device.zeros([3])))).toMatch(/^grad: it must be float32 \[2\]/);
    expect(thrown(() => (same(x).grad = device.zeros([2])))).toMatch(/^grad: the tensor must be a leaf/);
    expect(thrown(() => noGrad(async () => undefined))).toBe(
      'noGrad: work must not be async, because what it does after its first await would escape, got a function that returned a promise',
    );
  });
});
