/** The finite differences against derivatives that everyone knows. */
import { describe, expect, test } from 'vitest';
import { numericalGradients } from './finite-differences.ts';
import type { HostArray } from './host-array.ts';

const vector = (...data: number[]): HostArray => ({ shape: [data.length], data });
const map = ({ shape, data }: HostArray, f: (x: number, n: number) => number): HostArray => ({
  shape,
  data: Array.from(data, f),
});

describe('numericalGradients', () => {
  test('of a product is the other factor, weighted by dOutput, for each input', () => {
    const [x, y, dOutput] = [vector(1, -2, 300), vector(4, 0.5, -6), vector(1, 10, -1)];
    const product = (a: HostArray, b: HostArray) => map(a, (value, n) => value * b.data[n]);
    const [dx, dy] = numericalGradients(product, [x, y], dOutput);
    expect(dx.shape).toEqual([3]);
    for (const n of [0, 1, 2]) {
      expect(dx.data[n]).toBeCloseTo(dOutput.data[n] * y.data[n], 8);
      expect(dy.data[n]).toBeCloseTo(dOutput.data[n] * x.data[n], 8);
    }
  });

  test('has an error of the second order in the step', () => {
    const cube = (x: HostArray) => map(x, (value) => value ** 3);
    const error = (step: number) => numericalGradients(cube, [vector(1)], vector(1), { step })[0].data[0] - 3;
    expect(error(0.1)).toBeCloseTo(0.01, 12);
    expect(error(0.01)).toBeCloseTo(0.0001, 12);
  });

  test('adds up what flows through several outputs, and leaves the inputs as they were', () => {
    const x = { shape: [2, 1], data: new Float32Array([0.5, 2]) };
    const sines = (a: HostArray) => [map(a, Math.sin), map(a, Math.log)];
    const [dx] = numericalGradients(
      sines,
      [x],
      [
        { shape: [2, 1], data: [1, 1] },
        { shape: [2, 1], data: [3, -1] },
      ],
    );
    expect(dx.shape).toEqual([2, 1]);
    expect(dx.data[0]).toBeCloseTo(Math.cos(0.5) + 6, 8);
    expect(dx.data[1]).toBeCloseTo(Math.cos(2) - 0.5, 8);
    expect([...x.data]).toEqual([0.5, 2]);
  });

  test('of a function that returns its input itself is dOutput', () => {
    const [dx] = numericalGradients((x) => x, [vector(1, 2)], vector(5, 3));
    expect(dx.data[0]).toBeCloseTo(5, 8);
    expect(dx.data[1]).toBeCloseTo(3, 8);
  });

  test('takes no notice of an output that stays infinite', () => {
    const f = (x: HostArray) => vector(-Infinity, 2 * x.data[0]);
    const [dx] = numericalGradients(f, [vector(1)], vector(5, 3));
    expect(dx.data[0]).toBeCloseTo(6, 8);
  });

  test('is 0 for an infinite element', () => {
    const [dx] = numericalGradients((x) => map(x, Math.exp), [vector(0, -Infinity)], vector(2, 2));
    expect(dx.data[0]).toBeCloseTo(2, 8);
    expect(dx.data[1]).toBe(0);
  });

  test('refuses a dOutput of another shape', () => {
    expect(() => numericalGradients((x) => x, [vector(1, 2)], vector(1))).toThrow(
      'f must return arrays shaped as dOutput, [1], got [2]',
    );
  });
});
