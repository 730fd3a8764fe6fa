import { beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, type Device, type Tensor } from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

const made = () => device.zeros([4]);

describe('scope', () => {
  test('frees what was made inside, returns what the function returns', () => {
    const { live } = device.memory();
    const inside: Tensor[] = [];
    expect(device.scope(() => (inside.push(made(), made().transpose(0, 0)), 'value'))).toBe('value');
    expect(inside.every((tensor) => tensor.disposed)).toBe(true);
    expect(device.memory().live).toBe(live);
  });

  test('leaves alone what was made outside', () => {
    const outside = made();
    device.scope(() => outside.reshape([2, 2]));
    device.scope(() => [outside]);
    expect(outside.disposed).toBe(false);
    outside.dispose();
  });

  test.each<[string, (a: Tensor, b: Tensor) => unknown]>([
    ['a tensor', (a) => a],
    ['an array', (a, b) => [a, b]],
    ['an object', (output, weights) => ({ output, weights, other: 1 })],
    ['nested ones', (a, b) => [{ deep: [null, { a }] }, undefined, [[b]]]],
    ['a dictionary without a prototype', (a) => Object.assign(Object.create(null) as object, { a })],
    ['the same tensor twice', (a) => [a, a]],
  ])('keeps %s', (_, result) => {
    let tensors: Tensor[] = [];
    const kept = device.scope(() => {
      tensors = [made(), made(), made()];
      return result(tensors[0], tensors[1]);
    });
    const text = JSON.stringify(kept, (_key, value: unknown) =>
      tensors.includes(value as Tensor) ? tensors.indexOf(value as Tensor) : value,
    );
    for (const [i, tensor] of tensors.entries()) {
      expect(tensor.disposed).toBe(!text.match(new RegExp(`\\b${i}\\b`)) || i === 2);
      tensor.dispose();
    }
  });

  test('keeps the storage of a view that it returns', async () => {
    const { live } = device.memory();
    const view = device.scope(() => device.tensor([1, 2, 3, 4], [2, 2]).transpose());
    expect([...(await view.data())]).toEqual([1, 3, 2, 4]);
    view.dispose();
    expect(device.memory().live).toBe(live);
  });

  test('nests: what an inner scope returns belongs to the outer one', () => {
    let inner: Tensor | undefined;
    const outer = device.scope(() => {
      const first = made();
      inner = device.scope(() => made());
      expect(inner.disposed).toBe(false);
      const second = device.scope(() => [inner, made()] as const)[1];
      expect(inner.disposed).toBe(false);
      expect(first.disposed).toBe(false);
      return second;
    });
    expect(inner!.disposed).toBe(true);
    expect(outer.disposed).toBe(false);
    outer.dispose();
  });

  test('frees everything and passes an exception on', () => {
    const { live } = device.memory();
    const inside: Tensor[] = [];
    const failing = () =>
      device.scope(() => {
        inside.push(made());
        device.scope(() => {
          inside.push(made());
          throw new RangeError('mine');
        });
      });
    expect(failing).toThrow(new RangeError('mine'));
    expect(inside.map(({ disposed }) => disposed)).toEqual([true, true]);
    expect(device.memory().live).toBe(live);
    const after = made(); // belongs to no scope
    device.scope(() => undefined);
    expect(after.disposed).toBe(false);
    after.dispose();
  });

  test('refuses async functions, frees what they made, and swallows their rejection', () => {
    const { live } = device.memory();
    const message =
      'device.scope: work must not be async, because what it does after its first await would escape, got a function that returned a promise';
    expect(() => device.scope(async () => made())).toThrow(new ArgumentError(message));
    expect(() => device.scope(() => Promise.reject(new Error('nobody hears this')))).toThrow(message);
    expect(device.memory().live).toBe(live);
  });

  test('refuses generators, whose work would run later', () => {
    const refusal = new ArgumentError(
      'device.scope: work must not be a generator, because its steps would run after the call',
    );
    expect(() =>
      device.scope(function* () {
        yield made();
      }),
    ).toThrow(refusal);
    expect(() =>
      device.scope(async function* () {
        yield made();
      }),
    ).toThrow(refusal);
  });

  class Holder {
    readonly deep: unknown;
    constructor(deep: unknown) {
      this.deep = deep;
    }
  }
  test.each<[string, (kept: Tensor) => unknown]>([
    ['a Map', (kept) => new Map([['x', kept]])],
    ["a Map's keys", (kept) => new Map([[kept, 'x']])],
    ['a Set', (kept) => new Set([kept])],
    ['an instance of a class', (kept) => new Holder(kept)],
    ['an instance of a class that extends Map', (kept) => new (class extends Map<string, Tensor> {})([['x', kept]])],
    ['a property of an array', (kept) => Object.assign([1], { kept })],
    ['a property under a symbol', (kept) => ({ [Symbol('x')]: kept })],
    ['a property that is not enumerable', (kept) => Object.defineProperty({}, 'kept', { value: kept })],
    ['a Proxy of what holds it', (kept) => new Proxy({ kept }, {})],
    ['all of them at once', (kept) => [new Map([['x', new Set([new Holder({ list: [[kept]] })])]])]],
    [
      'a circle',
      (kept) => {
        const circle: Record<string, unknown> = { kept };
        circle['self'] = [circle, new Map([[circle, circle]])];
        return circle;
      },
    ],
    [
      'a list of 200,000 links',
      (kept) => {
        let list: unknown = kept;
        for (let i = 0; i < 200_000; i++) list = i % 2 ? [list] : { next: list };
        return list;
      },
    ],
    ['what has a getter that throws', (kept) => Object.defineProperty({ kept }, 'bad', { get: () => expect.fail() })],
    ['what holds a promise and a function', (kept) => ({ kept, promise: Promise.resolve(), run: () => kept })],
  ])('keeps a tensor in %s, and frees the others', (_, hold) => {
    const { live } = device.memory();
    const tensors: Tensor[] = [];
    device.scope(() => {
      tensors.push(made(), made());
      return hold(tensors[0]);
    });
    expect(tensors.map(({ disposed }) => disposed)).toEqual([false, true]);
    tensors[0].dispose();
    expect(device.memory().live).toBe(live);
  });

  test('calls no getter, which might make tensors', () => {
    const { live } = device.memory();
    let calls = 0;
    const lazy = device.scope(() => {
      const get = () => (calls++, made());
      return [
        made() && Object.defineProperty({}, 'lazy', { get }),
        Object.defineProperty(new Map(), 'lazy', { get, enumerable: true }),
      ];
    });
    expect(lazy).toHaveLength(2);
    expect(calls).toBe(0);
    expect(device.memory().live).toBe(live);
  });

  test('does not look into the elements of a typed array', () => {
    const numbers = device.scope(() => {
      made();
      return { numbers: new Float32Array(2 ** 24) }; // as properties they would take minutes
    });
    expect(numbers.numbers.length).toBe(2 ** 24);
  });

  const revoked = () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  };
  test.each<[string, (tensor: Tensor) => unknown, RegExp]>([
    ['a Proxy of a tensor', (tensor) => new Proxy(tensor, {}), /must hold a Tensor itself, got an object that only/],
    ['what has the prototype of a tensor', (tensor) => [Object.create(tensor) as Tensor], /must hold a Tensor itself/],
    ['a revoked Proxy inside', () => [revoked()], /must be something to look through .* throws: TypeError: .*revoked/],
    [
      'a Proxy that throws',
      () => [new Proxy({}, { ownKeys: () => expect.fail('mine') })],
      /must be something to look through for tensors, got an object that throws: AssertionError: mine/,
    ],
    [
      'a Proxy of a Map',
      (tensor) => ({ map: new Proxy(new Map([['x', tensor]]), {}) }),
      /must be something to look through/,
    ],
  ])('refuses %s, and frees what was made', (_, hold, message) => {
    const { live } = device.memory();
    let failure: unknown;
    try {
      device.scope(() => hold(made()));
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(ArgumentError);
    expect((failure as Error).message).toMatch(/^device.scope: what work returns must /);
    expect((failure as Error).message).toMatch(message);
    expect(device.memory().live).toBe(live);
  });

  test('what was disposed inside is not disposed again', () => {
    const { live } = device.memory();
    device.scope(() => made().dispose());
    expect(device.memory().live).toBe(live);
  });
});
