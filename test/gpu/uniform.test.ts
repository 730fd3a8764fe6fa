import { describe, expect, test } from 'vitest';
import { reflect } from '../wgsl-reflect.ts';
import { packUniform, type UniformValues } from '../../src/gpu/uniform.ts';

describe('packUniform', () => {
  const { uniform } = reflect(
    'example',
    `struct Params { scale: f32, count: u32, shift: i32, shape: vec3<u32> }
     @group(0) @binding(0) var<uniform> params: Params;
     @compute @workgroup_size(1) fn main() {}`,
  );
  const pack = (values: Record<string, number | readonly number[]>, base = 0) => {
    const view = new DataView(new ArrayBuffer(base + uniform!.size));
    packUniform('example', uniform!.fields, values, view, base);
    return view;
  };
  const values = { scale: 0.5, count: 2 ** 32 - 1, shift: -3, shape: [4, 5, 6] };

  test('writes each field at its offset', () => {
    const view = pack(values, 256);
    expect(view.getFloat32(256, true)).toBe(0.5);
    expect(view.getUint32(260, true)).toBe(2 ** 32 - 1);
    expect(view.getInt32(264, true)).toBe(-3);
    expect([272, 276, 280].map((at) => view.getUint32(at, true))).toEqual([4, 5, 6]);
  });

  test('writes the fields of nested structs, as objects', () => {
    const nested = reflect(
      'example',
      `struct Band { left: i32, right: i32 }
       struct Params { count: u32, @align(16) band: Band, @align(16) scale: f32 }
       @group(0) @binding(0) var<uniform> params: Params;
       @compute @workgroup_size(1) fn main() {}`,
    ).uniform!;
    const view = new DataView(new ArrayBuffer(nested.size));
    const write = (given: UniformValues) => packUniform('example', nested.fields, given, view, 0);
    write({ count: 7, band: { left: -1, right: 2 }, scale: 0.5 });
    expect([view.getUint32(0, true), view.getInt32(16, true), view.getInt32(20, true)]).toEqual([7, -1, 2]);
    expect(view.getFloat32(32, true)).toBe(0.5);
    expect(() => write({ count: 7, band: { left: -1 }, scale: 0.5 })).toThrow('uniform field right is not set');
    expect(() => write({ count: 7, band: { left: -1, right: 2, top: 3 }, scale: 1 })).toThrow('no uniform field top');
  });

  test.each([
    ['a field that is not set', { ...values, shape: undefined }, 'uniform field shape is not set'],
    ['a field that does not exist', { ...values, size: 1 }, 'there is no uniform field size'],
    ['too few numbers', { ...values, shape: [1, 2] }, 'uniform field shape takes 3 numbers, got 2'],
    ['a number for a vector', { ...values, shape: 1 }, 'uniform field shape takes 3 numbers, got 1'],
    ['numbers for a scalar', { ...values, count: [1, 2] }, 'uniform field count takes 1 numbers, got 2'],
  ])('refuses %s', (_, given, message) => {
    expect(() => pack(given as typeof values)).toThrow(`shader example: ${message}`);
  });
});
