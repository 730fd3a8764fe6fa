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
    const message = 'device.scope: work must not be async, got a function that returned a promise';
    expect(() => device.scope(async () => made())).toThrow(new ArgumentError(message));
    expect(() => device.scope(() => Promise.reject(new Error('nobody hears this')))).toThrow(message);
    expect(device.memory().live).toBe(live);
  });

  test('what was disposed inside is not disposed again', () => {
    const { live } = device.memory();
    device.scope(() => made().dispose());
    expect(device.memory().live).toBe(live);
  });
});
