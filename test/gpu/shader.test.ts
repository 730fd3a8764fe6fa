import { describe, expect, test } from 'vitest';
import { joinParts, specialise, type Shader } from '../../src/gpu/shader.ts';

function shader(source: string): Shader {
  return { name: 'example', source };
}

describe('specialise', () => {
  const source = [
    'const SIZE: u32 = 64u;          // a comment',
    'const SHIFT: i32 = -1;',
    'const SCALE: f32 = 0.5;',
    'const IS_F16: bool = false;',
    'const DOUBLE: u32 = SIZE * 2u;',
    'fn f() -> u32 { const SIZE_LOCAL: u32 = 3u; return SIZE; }',
  ].join('\n');

  test('without constants it changes nothing', () => {
    expect(specialise(shader(source), {})).toBe(source);
  });

  test('replaces the initialisers of what is named and nothing else', () => {
    const constants = { SIZE: 32, SHIFT: -7, SCALE: 1e-7, IS_F16: true };
    expect(specialise(shader(source), constants).split('\n')).toEqual([
      'const SIZE: u32 = 32u;          // a comment',
      'const SHIFT: i32 = i32(-7);',
      'const SCALE: f32 = f32(1e-7);',
      'const IS_F16: bool = true;',
      'const DOUBLE: u32 = SIZE * 2u;',
      'fn f() -> u32 { const SIZE_LOCAL: u32 = 3u; return SIZE; }',
    ]);
  });

  test('replaces an initialiser that is an expression, over several lines too', () => {
    const folded = 'const A: u32 =\n  4u;\nconst B: u32 = (A + 1u)\n  * 2u;\nconst C: u32 = 1u;';
    expect(specialise(shader(folded), { B: 9 })).toBe('const A: u32 =\n  4u;\nconst B: u32 = 9u;\nconst C: u32 = 1u;');
  });

  test.each([
    ['a constant that is not declared', 'WIDTH', 0],
    ['one inside a function, which is none of its business', 'SIZE_LOCAL', 0],
    ['a name that is only a part of one', 'SIZ', 0],
  ])('refuses %s', (_, name, found) => {
    expect(() => specialise(shader(source), { [name]: 1 })).toThrow(
      `shader example: expected one declaration of const ${name}, found ${found}`,
    );
  });

  test('refuses a constant that is declared twice', () => {
    const twice = 'const SIZE: u32 = 1u;\nconst SIZE: u32 = 2u;';
    expect(() => specialise(shader(twice), { SIZE: 3 })).toThrow('expected one declaration of const SIZE, found 2');
  });

  test('refuses a declaration without a type that it knows', () => {
    expect(() => specialise(shader('const SIZE = 1u;\nconst V: vec2<u32> = vec2<u32>();'), { SIZE: 3 })).toThrow(
      'found 0',
    );
    expect(() => specialise(shader('const V: vec2<u32> = vec2<u32>();'), { V: 3 })).toThrow('found 0');
  });

  test.each([
    ['SIZE', 'u32', -1],
    ['SIZE', 'u32', 1.5],
    ['SIZE', 'u32', 2 ** 32],
    ['SIZE', 'u32', NaN],
    ['SIZE', 'u32', true],
    ['SHIFT', 'i32', 0.5],
    ['SHIFT', 'i32', 2 ** 31],
    ['SHIFT', 'i32', -(2 ** 31) - 1],
    ['SCALE', 'f32', NaN],
    ['SCALE', 'f32', -Infinity],
    ['SCALE', 'f32', 1e39],
    ['SCALE', 'f32', false],
    ['IS_F16', 'bool', 1],
  ])('refuses const %s: %s = %s', (name, type, value) => {
    expect(() => specialise(shader(source), { [name]: value })).toThrow(
      `shader example: const ${name} is ${type} and cannot be ${value}`,
    );
  });

  test('takes the ends of each range', () => {
    const ends = specialise(shader(source), { SIZE: 2 ** 32 - 1, SHIFT: -(2 ** 31), SCALE: 3.4e38 });
    expect(ends).toContain('u32 = 4294967295u;');
    expect(ends).toContain('i32 = i32(-2147483648);');
    expect(ends).toContain('f32 = f32(3.4e+38);');
  });
});

describe('joinParts', () => {
  const parts = { load: 'fn load() {}', store: 'fn store() {}' };

  test('appends the parts of the first line, so that line numbers stay', () => {
    const source = '// parts: load, store\nfn main() { load(); store(); }';
    const joined = joinParts('example', source, parts);
    expect(joined.name).toBe('example');
    expect(joined.source.startsWith(source)).toBe(true);
    expect(joined.source.slice(source.length)).toBe(
      '\n// ---- parts/load.wgsl\nfn load() {}\n// ---- parts/store.wgsl\nfn store() {}',
    );
  });

  test('puts directives of parts in front, where WGSL wants them, and line numbers stay', () => {
    const half = 'enable f16;\n// see\ndiagnostic(off, a.b);\nfn half() {}';
    const source = '// parts: half\nenable subgroups;\nfn main() {}';
    expect(joinParts('example', source, { half }).source).toBe(
      `enable f16; diagnostic(off, a.b); ${source}\n// ---- parts/half.wgsl\n\n// see\n\nfn half() {}`,
    );
  });

  test('takes Windows line ends', () => {
    expect(joinParts('example', '// parts: load\r\nfn main() {}', parts).source).toContain('fn load() {}');
  });

  test.each(['fn main() {}', '\n// parts: load\nfn main() {}', '// uses parts: load\n'])(
    'adds nothing to %j',
    (source) => {
      expect(joinParts('example', source, parts).source).toBe(source);
    },
  );

  test('refuses a part that there is not', () => {
    expect(() => joinParts('example', '// parts: load, laod\n', parts)).toThrow(
      "shader example: there is no part named 'laod'",
    );
  });
});
