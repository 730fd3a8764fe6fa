import { describe, expect, test } from 'vitest';
import {
  explainInserted,
  insertFunctions,
  joinParts,
  replacePart,
  specialise,
  type Insertion,
  type Shader,
} from '../../src/gpu/shader.ts';

function shader(text: string): Shader {
  return { name: 'example', text, parts: [] };
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
  const shader = (name: string, text: string, parts: Shader[] = []): Shader => ({ name, text, parts });
  const load = shader('parts/load', 'fn load() {}');

  test('appends the parts, so that line numbers stay', () => {
    const store = shader('parts/store', 'fn store() {}');
    expect(joinParts(shader('example', 'fn main() { load(); store(); }', [load, store]))).toBe(
      'fn main() { load(); store(); }\n// ---- parts/load.wgsl\nfn load() {}\n// ---- parts/store.wgsl\nfn store() {}',
    );
  });

  test('appends the parts of parts, each once', () => {
    const quad = shader('parts/quad', 'fn quad() {}', [load]);
    const row = shader('parts/row', 'fn row() {}', [load, quad]);
    const joined = joinParts(shader('example', 'fn main() {}', [row, quad]));
    expect(joined.match(/fn \w+/g)).toEqual(['fn main', 'fn row', 'fn load', 'fn quad']);
  });

  test('puts directives of parts in front, where WGSL wants them, and line numbers stay', () => {
    const half = shader('parts/half', 'enable f16;\n// see\ndiagnostic(off, a.b);\nfn half() {}');
    const text = 'enable subgroups;\nfn main() {}';
    expect(joinParts(shader('example', text, [half]))).toBe(
      `enable f16; diagnostic(off, a.b); ${text}\n// ---- parts/half.wgsl\n\n// see\n\nfn half() {}`,
    );
  });

  test('another part replaces one, wherever it is named', () => {
    const row = shader('parts/row', 'fn row() {}', [load]);
    const other = shader('parts/other', 'fn load() { /* otherwise */ }');
    const joined = joinParts(replacePart(shader('example', 'fn main() {}', [row, load]), 'parts/load', other));
    expect(joined).not.toContain('fn load() {}');
    expect(joined.match(/otherwise/g)).toHaveLength(1);
  });
});

const MARKED = 'const A: u32 = 1u;\n// replaceable\nfn mod(x: f32) -> f32 { return x; }\nfn after() {}';

function insertion(text: string, name = 'mod'): Insertion {
  return { name, text, explain: (error, line, column) => `${name} ${line}:${column} ${error}` };
}

describe('insertFunctions', () => {
  test('without insertions changes nothing', () => {
    expect(insertFunctions('example', MARKED, [])).toBe(MARKED);
  });

  test('takes the marked function away and the text to the end: lines stay', () => {
    const text = 'fn mod(y: f32) -> f32 {\n  return 2.0 * y; // $& $1\n}';
    expect(insertFunctions('example', MARKED, [insertion(text)]).split('\n')).toEqual([
      'const A: u32 = 1u;',
      '// replaced below:',
      '// mod',
      'fn after() {}',
      '// ---- inserted: mod',
      ...text.split('\n'),
    ]);
  });

  test('takes several, and Windows line ends', () => {
    const source = `${MARKED}\n// replaceable\nfn other() -> bool { return true; }`.replaceAll('\n', '\r\n');
    const joined = insertFunctions('example', source, [insertion('fn mod() {}'), insertion('fn other() {}', 'other')]);
    expect(joined.match(/fn \w+/g)).toEqual(['fn after', 'fn mod', 'fn other']);
  });

  test.each([
    ['that is not there', 'fn other() {}', 0],
    ['that is not marked', 'fn mod() {}', 0],
    ['that is marked from afar', '// replaceable\n\nfn mod() {}', 0],
    ['of which it is a part of the name', '// replaceable\nfn mod_two() {}', 0],
    ['that is marked twice', '// replaceable\nfn mod() {}\n// replaceable\nfn mod() {}', 2],
  ])('refuses a function %s', (_name, source, found) => {
    expect(() => insertFunctions('example', source, [insertion('fn mod() {}')])).toThrow(
      `shader example: expected one replaceable function mod, found ${found}`,
    );
  });
});

describe('explainInserted', () => {
  const other = insertion('fn other() {\n}', 'other');
  const insertions = [insertion('fn mod() {\n  oops\n}'), other];
  const source = insertFunctions('example', `${MARKED}\n// replaceable\nfn other() {}`, insertions);
  const lineOf = (text: string) => source.split('\n').indexOf(text) + 1;

  test("a compiler's error in an insertion is its own to tell", () => {
    const dawn = `Error while parsing WGSL: :${lineOf('  oops')}:3 error: unresolved value 'oops'\n  oops\n  ^^^^\n`;
    expect(explainInserted(source, insertions, dawn)).toBe("mod 2:3 unresolved value 'oops'");
    const naga = `Shader '' parsing error: no definition\n  ┌─ wgsl:${lineOf('fn other() {')}:4\n`;
    expect(explainInserted(source, insertions, naga)).toBe("other 1:4 Shader '' parsing error: no definition");
  });

  test.each([
    ['elsewhere', `:1:7 error: what`],
    ['between the insertions', `:${lineOf('// ---- inserted: other')}:1 error: what`],
    ['past the end', `:${source.split('\n').length + 1}:1 error: what`],
    ['without a place', 'out of memory'],
  ])('but not one %s', (_name, message) => {
    expect(explainInserted(source, insertions, message)).toBeUndefined();
  });
});
