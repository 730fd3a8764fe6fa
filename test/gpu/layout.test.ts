import { describe, expect, test } from 'vitest';
import { PipelineCache } from '../../src/gpu/pipelines.ts';
import { reflect } from '../wgsl-reflect.ts';
import { layoutOf } from '../../src/gpu/layout.ts';
import { joinParts, type Shader } from '../../src/gpu/shader.ts';
import type { ScalarType } from '../../src/gpu/uniform.ts';
import { nullDevice } from '../null-device.ts';

const files: Record<string, Shader> = import.meta.glob('../../shaders/*/*.wgsl', { eager: true, import: 'default' });
const SHADERS = Object.values(files).filter(({ name }) => !name.startsWith('parts/'));

/** Size and alignment by WGSL's rules for the address space `uniform`. */
const TYPES: Readonly<Record<string, { type: ScalarType; count: number; size: number; align: number }>> = {
  u32: { type: 'u32', count: 1, size: 4, align: 4 },
  i32: { type: 'i32', count: 1, size: 4, align: 4 },
  f32: { type: 'f32', count: 1, size: 4, align: 4 },
  'vec2<u32>': { type: 'u32', count: 2, size: 8, align: 8 },
  'vec3<u32>': { type: 'u32', count: 3, size: 12, align: 16 },
  'vec4<u32>': { type: 'u32', count: 4, size: 16, align: 16 },
  'vec4<f32>': { type: 'f32', count: 4, size: 16, align: 16 },
  'vec2<i32>': { type: 'i32', count: 2, size: 8, align: 8 },
  'array<vec4<u32>, 4>': { type: 'u32', count: 16, size: 64, align: 16 },
  'array<vec4<f32>, 2>': { type: 'f32', count: 8, size: 32, align: 16 },
};

interface Laid {
  readonly fields: [string, unknown][];
  readonly size: number;
  readonly align: number;
}

/** Lays out the members of a struct by WGSL's rules, from the text: nested structs begin and end at multiples of 16 bytes. */
function layOut(source: string, struct = 'Params', base = 0): Laid {
  const text = source.replace(/\/\/.*/g, '');
  const body = new RegExp(`struct ${struct} \\{([^}]*)\\}`).exec(text)![1];
  const fields: [string, unknown][] = [];
  let end = 0;
  let alignment = 4;
  for (const [, name, typeName] of body.matchAll(/(\w+)\s*:\s*(array<[^,]+, \d+>|\w+(?:<\w+>)?)/g)) {
    if (TYPES[typeName] === undefined) {
      const offset = Math.ceil(end / 16) * 16;
      const inner = layOut(source, typeName, base + offset);
      fields.push([name, Object.fromEntries(inner.fields)]);
      end = offset + Math.ceil(inner.size / 16) * 16;
      alignment = 16;
      continue;
    }
    const { type, count, size, align } = TYPES[typeName];
    const offset = Math.ceil(end / align) * align;
    fields.push([name, { offset: base + offset, type, count }]);
    end = offset + size;
    alignment = Math.max(alignment, align);
  }
  return { fields, size: Math.ceil(end / alignment) * alignment, align: alignment };
}

test('there are shaders', () => {
  expect(SHADERS.map(({ name }) => name)).toContain('attention/flash-attention');
});

describe.each(SHADERS)('$name.wgsl', (shader) => {
  const { name } = shader;
  const source = joinParts(shader);
  const layout = reflect(name, source);
  const text = source.replace(/\/\/.*/g, '');

  test('bindings, with their access', () => {
    const declared = [...text.matchAll(/@group\(0\) @binding\((\d+)\) var<storage, (read|read_write)> (\w+)/g)];
    expect(layout.storage).toEqual(
      declared.map(([, binding, access, variable]) => ({
        name: variable,
        binding: Number(binding),
        access: access === 'read' ? 'read-only-storage' : 'storage',
      })),
    );
    const uniform = /@binding\((\d+)\) var<uniform> params: Params/.exec(text);
    expect(layout.uniform?.binding).toBe(Number(uniform![1]));
    const bindings = [layout.uniform!.binding, ...layout.storage.map(({ binding }) => binding)].sort((a, b) => a - b);
    expect(bindings).toEqual(bindings.map((_, i) => i));
  });

  test('are what the library reads; it gives the uniform whole units of 16 bytes', () => {
    const { storage, uniform } = layout;
    expect(layoutOf(shader)).toEqual({ storage, uniform: { ...uniform, size: Math.ceil(uniform!.size / 16) * 16 } });
  });

  test('at most the eight storage buffers that WebGPU promises', () => {
    expect(layout.storage.length).toBeLessThanOrEqual(8);
  });

  test("uniform fields lie where WGSL's rules put them", () => {
    const { fields, size } = layOut(source);
    expect(Object.entries(layout.uniform!.fields)).toEqual(fields);
    expect(layout.uniform!.size).toBe(size);
  });

  test('workgroup size and entry point', () => {
    const [, written] = /@compute @workgroup_size\((\w+)\)/.exec(text)!;
    const constant = new RegExp(`const ${written}: u32 = (\\d+)u;`).exec(text);
    expect(layout.workgroupSize).toEqual([Number(constant?.[1] ?? written), 1, 1]);
    expect(layout.workgroupSize[0]).toBeLessThanOrEqual(256);
    expect(layout.entryPoint).toBe('main');
  });

  test('compiles as it stands', async () => {
    const gpu = await nullDevice(); // Dawn's checks; the tests of the ops compile for drivers
    const info = await gpu.createShaderModule({ code: source }).getCompilationInfo();
    expect(info.messages.map(({ message, lineNum }) => `${lineNum}: ${message}`)).toEqual([]);
    gpu.pushErrorScope('validation');
    new PipelineCache(gpu, (work) => work()).get(shader, {});
    expect((await gpu.popErrorScope())?.message).toBeUndefined();
  });
});

describe('reflect', () => {
  const source = (body: string) => `
struct Params { a: f32, b: vec4<u32>, c: vec3<u32>, d: i32 }
@group(0) @binding(3) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
${body}
@compute @workgroup_size(8, 4)
fn main() { output[0] = params.b.x; }
`;

  test('reads what it is told', () => {
    const layout = reflect('example', source(''));
    expect(layout.workgroupSize).toEqual([8, 4, 1]);
    expect(layout.storage).toEqual([{ name: 'output', binding: 1, access: 'storage' }]);
    expect(layout.uniform!.binding).toBe(3);
    expect(layout.uniform!.size).toBe(48);
    expect(Object.entries(layout.uniform!.fields).map(([name, { offset }]) => [name, offset])).toEqual([
      ['a', 0],
      ['b', 16],
      ['c', 32],
      ['d', 44],
    ]);
  });

  test.each([
    ['a line comment with braces', '// } fn { is { no } code'],
    ['a block comment with braces', '/* fn x() { */ const A: u32 = 1u; /* } } */'],
    ['nested block comments', '/* { /* } fn { */ still { a comment */'],
    ['a line comment inside a block comment', '/* // */ const A: u32 = 1u;'],
    ['a block comment opened inside a line comment', '// /* not opened\nconst A: u32 = 1u;'],
    ['names that hold fn', 'const fnord: u32 = 1u; const half_fn: u32 = 2u; fn fnfn() -> u32 { return fnord; }'],
    ['a division', 'const A: u32 = 8u / 2u; const B: u32 = A * 2u;'],
    ['braces in a body', 'fn f(x: u32) -> u32 { if x > 1u { for (var i = 0u; i < x; i++) { continue; } } return x; }'],
    ['types that wgsl_reflect does not know', 'fn f() { var m: subgroup_matrix_result<f32, 8, 8>; }'],
    ['aliases of such types', 'alias Left = subgroup_matrix_left<f16, 8, 8>; fn f(x: Left) -> Left { return x; }'],
    ['array types with an expression', 'const N: u32 = 2u; fn f(x: array<f32, N * 2u>) -> f32 { return x[0]; }'],
    ['attributes of functions', '@must_use fn f() -> u32 { return 1u; }'],
  ])('is not confused by %s', (_, extra) => {
    expect(reflect('example', source(extra))).toEqual(reflect('example', source('')));
  });

  test('an array of vec4 is one field of all its numbers', () => {
    const text = `struct P { a: u32, shapes: array<vec4<u32>, 3>, b: f32, points: array<vec4<f32>, 2>, c: i32 }
      @group(0) @binding(0) var<uniform> p: P; @compute @workgroup_size(1) fn main() {}`;
    const { fields, size } = reflect('example', text).uniform!;
    expect(fields).toEqual({
      a: { offset: 0, type: 'u32', count: 1 },
      shapes: { offset: 16, type: 'u32', count: 12 },
      b: { offset: 64, type: 'f32', count: 1 },
      points: { offset: 80, type: 'f32', count: 8 },
      c: { offset: 112, type: 'i32', count: 1 },
    });
    expect(size).toBe(128);
  });

  test('a declaration inside a comment does not count', () => {
    const hidden = '/* @group(0) @binding(2) var<storage, read> ghost: array<u32>; */';
    expect(reflect('example', source(hidden)).storage).toHaveLength(1);
  });

  test.each([
    ['no entry point', 'fn main() {}', 'expected one compute entry point, found 0'],
    [
      'two entry points',
      '@compute @workgroup_size(1) fn a() {}\n@compute @workgroup_size(1) fn b() {}',
      'expected one compute entry point, found 2',
    ],
    [
      'two uniforms',
      `struct P { a: u32 } @group(0) @binding(0) var<uniform> p: P; @group(0) @binding(1) var<uniform> q: P;
       @compute @workgroup_size(1) fn main() {}`,
      'more than one uniform',
    ],
    [
      'a uniform field that cannot be packed',
      `struct P { m: mat4x4<f32> } @group(0) @binding(0) var<uniform> p: P; @compute @workgroup_size(1) fn main() {}`,
      'uniform field m has the unsupported type mat4x4',
    ],
    [
      'an array with gaps between its numbers',
      `struct P { a: array<vec3<f32>, 2> } @group(0) @binding(0) var<uniform> p: P; @compute @workgroup_size(1) fn main() {}`,
      'uniform field a has the unsupported type array',
    ],
  ])('refuses %s', (_, text, message) => {
    expect(() => reflect('example', text)).toThrow(`shader example: ${message}`);
  });
});
