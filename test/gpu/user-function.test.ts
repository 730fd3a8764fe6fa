import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkFunction, type Signature } from '../../src/gpu/user-function/check-function.ts';
import { ArgumentError } from '../../src/gpu/errors.ts';

const SIGNATURE: Signature = {
  name: 'mod',
  parameters: ['f32', 'u32'],
  result: 'f32',
  limits: { argument: 2 ** 29, argumentRounds: 4096, rounds: 65_536, tokens: 16_384, givenTokens: 32, bytes: 1024 },
};
const check = (source: string, given: readonly string[] = []) => checkFunction('scoreMod', source, SIGNATURE, given);
/** The function with a body. */
const mod = (body: string) => `fn mod(x: f32, i: u32) -> f32 {\n${body}\n}`;

describe('what the source declares is renamed', () => {
  test.each([
    ['parameters', 'fn mod(params: f32, q: u32) -> f32 { return params; }', [/mod\(mod_params: f32, mod_q: u32\)/]],
    [
      'locals',
      mod('let a = x; var b = a; const c = 1.0; return a + b * c;'),
      [/let mod_a = mod_x;/, /mod_a \+ mod_b \* mod_c/],
    ],
    [
      'helpers',
      `${mod('return twice(x);')} fn twice(x: f32) -> f32 { return 2.0 * x; }`,
      [/return mod_twice\(mod_x\)/],
    ],
    ['constants', `const N: u32 = 4u; ${mod('return x * f32(N);')}`, [/const mod_N: u32/, /f32\(mod_N\)/]],
    ['aliases', `alias Pair = vec2<f32>; ${mod('return Pair(x).y;')}`, [/alias mod_Pair/, /mod_Pair\(mod_x\)\.y/]],
    [
      'structs, but not their members',
      `struct S { x: f32, i: u32 } ${mod('let s = S(x, i); return s.x;')}`,
      [/struct mod_S \{ x: f32, i: u32 \}/, /mod_s\.x/],
    ],
    ['captures', mod('return bias(i) + slope();'), [/mod_bias\(mod_i\) \+ mod_slope\(\)/]],
    ['counters', mod('var s = 0.0; for (var j = 0u; j < i; j++) { s += x; } return s;'), [/mod_j < mod_i; mod_j\+\+/]],
    [
      'names that are WGSL functions elsewhere',
      mod('let distance = distance(x, 1.0); return distance;'),
      [/let mod_distance = distance\(mod_x, 1.0\); return mod_distance;/],
    ],
    ['names like the prefix', mod('let mod_x = 1.0; return mod_x;'), [/let mod_mod_x = 1.0/]],
  ])('%s', (_name, source, patterns) => {
    const { text } = check(source, ['bias', 'slope']);
    for (const pattern of patterns) expect(text).toMatch(pattern);
  });

  test('but not the function itself, types and functions of WGSL, or members', () => {
    const { text } = check(
      mod('let v = vec4<f32>(x); return select(v.w, clamp(v.x, 0.0, 1.0), any(v.xy > vec2f(1)));'),
    );
    expect(text).toContain('fn mod(');
    expect(text).toContain('return select(mod_v.w, clamp(mod_v.x, 0.0, 1.0), any(mod_v.xy > vec2f(1)));');
  });

  test('comments vanish, lines stay', () => {
    const source = `// fn evil() {\n/* a /* b */\n@ c */ ${mod('return x; // const N: u32 = 1u;')}`;
    expect(
      check(source)
        .text.split('\n')
        .map((line) => line.trimEnd()),
    ).toEqual(['', '', '       fn mod(mod_x: f32, mod_i: u32) -> f32 {', 'return mod_x;', '}']);
  });

  test('Windows line ends are line ends', () => {
    expect(check(mod('return x;').replaceAll('\n', '\r\n')).text.split('\n')).toHaveLength(3);
  });
});

describe('places in the text are reported as places in the source', () => {
  const source = `const N = 1.0;\n${mod('  let aa = x;   return aa + bias(i) * oops;').replace('oops', 'N')}`;
  const { text, explain } = check(source, ['bias']);
  const columnOf = (line: string, word: string) => line.indexOf(word) + 1;

  test.each(['aa =', 'return', 'bias', 'i) ', 'N;'])('%s', (word) => {
    const [written, inserted] = [source.split('\n')[2], text.split('\n')[2]];
    const prefix = word === 'return' ? '' : 'mod_';
    const at = columnOf(inserted, prefix + word);
    expect(at).toBeGreaterThan(0);
    expect(explain('what', 3, at)).toBe(`scoreMod line 3, column ${columnOf(written, word)}: what`);
  });

  test("and the message's names are the source's", () => {
    expect(explain("no matching call to 'mod_bias(f32)' in 'mod'", 3, 1)).toContain(
      "no matching call to 'bias(f32)' in 'mod'",
    );
  });
});

describe('refuses', () => {
  test.each([
    ['a name of the kernel', mod('return x + params.scale;'), 2, 12, "unknown name 'params'"],
    ['a binding', mod('return bitcast<f32>(q[i]);'), 2, 21, "unknown name 'q'"],
    ['a name out of its scope', mod('{ let table = 1u; }\nreturn f32(table);'), 3, 12, "unknown name 'table'"],
    [
      "a loop's counter after the loop",
      mod('for (var j = 0u; j < i; j++) {}\nreturn f32(j);'),
      3,
      12,
      "unknown name 'j'",
    ],
    [
      "another function's parameter",
      `fn g(y: f32) -> f32 { return y; }\n${mod('return y;')}`,
      3,
      8,
      "unknown name 'y'",
    ],
    ['a name before its declaration', mod('let a = b; let b = x; return a;'), 2, 9, "unknown name 'b'"],
    ['a name in its own declaration', mod('let a = a; return a;'), 2, 9, "unknown name 'a'"],
    ['a barrier', mod('workgroupBarrier(); return x;'), 2, 1, "unknown name 'workgroupBarrier'"],
    ['a look into other lanes', mod('return subgroupAdd(x);'), 2, 8, "unknown name 'subgroupAdd'"],
    ['lengths of bindings', mod('return f32(arrayLength(i));'), 2, 12, "unknown name 'arrayLength'"],
    ['pointer types', mod('return x; } fn f(p: ptr<function, f32>) {'), 2, 21, "unknown name 'ptr'"],
    ['pointers', mod('let p = &x; return *p;'), 2, 9, 'pointers are not allowed'],
    ['f16', mod('return f32(f16(x));'), 2, 12, "unknown name 'f16'"],
    [
      'a module variable',
      `var<private> last: f32;\n${mod('return x;')}`,
      1,
      1,
      "only fn, const, struct and alias may stand outside of functions, got 'var'",
    ],
    [
      'an override',
      `override n: u32 = 1u;\n${mod('return x;')}`,
      1,
      1,
      "only fn, const, struct and alias may stand outside of functions, got 'override'",
    ],
    [
      'a directive',
      `enable f16;\n${mod('return x;')}`,
      1,
      1,
      "only fn, const, struct and alias may stand outside of functions, got 'enable'",
    ],
    [
      'a binding of its own',
      `@group(0) @binding(9) var<storage> s: array<u32>;\n${mod('return x;')}`,
      1,
      1,
      "only fn, const, struct and alias may stand outside of functions, got '@'",
    ],
    [
      'attributes',
      'fn mod(@builtin(position) x: f32, i: u32) -> f32 { return x; }',
      1,
      4,
      'the function must be fn mod(f32, u32) -> f32',
    ],
    [
      'attributes of statements',
      mod('@diagnostic(off, a.b) if x > 1.0 {} return x;'),
      2,
      1,
      'attributes are not allowed',
    ],
    ['an address space', mod('var<private> y = x; return y;'), 2, 4, "'var' needs a name"],
    ['a var without a value', mod('var sum: f32; return x;'), 2, 5, "'sum' needs a value"],
    ['loop', mod('loop { break; } return x;'), 2, 1, "'loop' is not allowed, only a for that counts"],
    ['while', mod('while true {} return x;'), 2, 1, "'while' is not allowed, only a for that counts"],
    [
      'another signature',
      'fn mod(x: f32, i: i32) -> f32 { return x; }',
      1,
      4,
      'the function must be fn mod(f32, u32) -> f32',
    ],
    [
      'more parameters',
      'fn mod(x: f32, i: u32, j: u32) -> f32 { return x; }',
      1,
      4,
      'the function must be fn mod(f32, u32) -> f32',
    ],
    [
      'another result',
      'fn mod(x: f32, i: u32) -> u32 { return i; }',
      1,
      4,
      'the function must be fn mod(f32, u32) -> f32',
    ],
    ['no function', '\n// nothing', 1, 1, 'the source must declare fn mod(f32, u32) -> f32'],
    [
      'a function of another name',
      'fn mood(x: f32, i: u32) -> f32 { return x; }',
      1,
      1,
      'the source must declare fn mod(f32, u32) -> f32',
    ],
    [
      'a name declared twice',
      `${mod('return x;')}\nfn mod(x: f32, i: u32) -> f32 { return x; }`,
      4,
      4,
      "'mod' is declared twice",
    ],
    ['a declaration of a capture', `const bias = 1.0;\n${mod('return bias;')}`, 1, 7, "'bias' is a capture already"],
    ['an open bracket', mod('return (x;'), 3, 1, "'}' closes nothing"],
    ['an open brace', 'fn mod(x: f32, i: u32) -> f32 { return x;', 1, 31, "'{' is not closed"],
    ['an open comment', `${mod('return x;')} /* /* */`, 3, 3, 'a comment that is not closed'],
    ['what is no WGSL', mod('return x # 1;'), 2, 10, "unexpected character '#'"],
    ['letters beyond ASCII', mod('let größe = x; return x;'), 2, 7, "unexpected character 'ö'"],
  ])('%s', (_name, source, line, column, problem) => {
    expect(() => check(source, ['bias'])).toThrow(
      new ArgumentError(`scoreMod: line ${line}, column ${column}: ${problem}`),
    );
  });

  test.each([
    'for (;;) {}',
    'for (var j = 0u; ; j++) {}',
    'for (var j = 0u; j < 4u;) {}',
    'for (var j = 0u; true; j++) {}',
    'for (var j = 0u; j < 4u; j--) {}',
    'for (var j = 0u; j < 4u || true; j++) {}',
    'for (var j = 0u; j <= 4294967295u; j++) {}',
    'for (var j = 4u; j > 0u; j++) {}',
    'for (var j = 4u; j >= 0u; j--) {}',
    'for (var j = 0u; j != 3u; j++) {}',
    'for (var j = 0u; i < 3u; j++) {}',
    'for (var j = 0u; j < 3u; x++) {}',
    'for (var j = 0u; j < 4u; j += 0u) {}',
    'for (let j = 0u; j < 4u; j++) {}',
    'for (j = 0u; j < 4u; j++) {}',
    'for (var j = 0u; j < 4u; j++);',
    'for var j = 0u; j < 4u; j++ {}',
  ])('a loop that may not end: %s', (loop) => {
    expect(() => check(mod(`${loop} return x;`))).toThrow(
      'scoreMod: line 2, column 1: a loop must count: for (var i = …',
    );
  });

  test.each([
    'j = 0u;',
    'j -= 1u;',
    'j--;',
    'if x > 0.0 { j /= 2u; }',
    'j >>= 1u;',
    'j <<= 31u;',
    '(j) = 0u;',
    '((j))--;',
  ])('a loop that sets its counter: %s', (body) => {
    expect(() => check(mod(`for (var j = 0u; j < 4u; j++) { ${body} } return x;`))).toThrow(
      "the loop's counter 'j' must not be changed in its body",
    );
  });
});

describe('loops whose rounds are not bounded', () => {
  const unbounded =
    "a loop's bounds must be made of numbers, constants and mod's u32 parameters; of anything else take min(…, number)";
  test.each([
    ['var n = 4u; for (var j = 0u; j < n; j++) { n = n + 1u; }', 34], // a bound that the body raises
    ['for (var j = 0u; j < u32(x); j++) {}', 22],
    ['for (var j = 0u; j < u32(bias(i)); j++) {}', 22],
    ['for (var j = 0u; j < i - 1u; j++) {}', 22], // wraps where i is 0
    ['let n: u32 = 5; for (var j = 0u; j < n - 6; j++) {}', 38],
    ['for (var j = 0u; j < min(u32(x), 8) - 9; j++) {}', 22],
    ['for (var j = u32(x); j > 0u; j--) {}', 26],
    ['for (var j = i32(x); j < 4; j++) {}', 26],
    ['let n = u32(x); for (var j = 0u; j < n; j++) {}', 38],
    ['const n = 4u; { let n = u32(x); for (var j = 0u; j < n; j++) {} }', 54],
    ['for (var j = 0u; j < i * 16u; j++) {}', 22], // may wrap
  ])('%s', (body, column) => {
    expect(() => check(mod(`${body} return x;`), ['bias'])).toThrow(
      new ArgumentError(`scoreMod: line 2, column ${column}: ${unbounded}`),
    );
  });

  test.each([
    ['', 'for (var j = 0u; j < 4u << 28u; j++) {}'],
    ['', 'for (var j = 0u; j < 4u | 0xffffffffu; j++) {}'],
    ['', 'for (var j = 0u; j < 4u ^ 0xffffffffu; j++) {}'],
    ['', 'for (var j = -2000000000; j < -2000000000 >> 31u; j++) {}'],
    ['', 'let n = 1u << 31u; for (var j = 0u; j < n; j++) {}'],
    ['', 'let n = 1u | 0xffffffffu; for (var j = 0u; j < n; j++) {}'],
    ['', 'const n = 1u << 31u; for (var j = 0u; j < n; j++) {}'],
    ['const N = 1u << 31u;', 'for (var j = 0u; j < N; j++) {}'],
    ['const N = 1u ^ 0xffffffffu;', 'for (var j = 0u; j < N; j++) {}'],
    ['', 'for (var j = 1 << 30; j > 0; j--) {}'],
    ['', 'for (var j = 0u; j < (4u << 28u); j++) {}'],
    ['', 'for (var j = 0u; j < max(4u, 4u << 28u); j++) {}'],
  ])('a bound of which only the beginning is known: %s %s', (outside, body) => {
    expect(() => check(`${outside}${mod(`${body} return x;`)}`)).toThrow(unbounded);
  });

  test.each([
    'for (var i = 0u; i < i + 10u; i++) {}', // the parameter i
    'let j = 5u; for (var j = 0u; j < j + 10u; j++) {}',
    'const j = 5u; for (var j = 0u; j < (j + 10u); j++) {}',
    'let j = 5u; for (var j = 0u; j < max(8u, j + 1u) && x > 0.0; j++) {}',
    'let j = 5; for (var j = 9; j > j - 1; j--) {}',
  ])("a bound that names the loop's own counter: %s", (body) => {
    expect(() => check(mod(`${body} return x;`))).toThrow(/a loop's bound must not name its counter '[ij]'$/);
  });

  test("a parameter of a helper, and a function that only has the name of WGSL's", () => {
    const helper = 'fn count(n: u32) -> f32 { for (var j = 0u; j < n; j++) {} return 1.0; }';
    expect(() => check(`${mod('return count(i);')}\n${helper}`)).toThrow(`line 4, column 48: ${unbounded}`);
    const min = 'fn min(a: u32, b: u32) -> u32 { return 4000000000u; }';
    expect(() => check(`${mod('for (var j = 0u; j < min(i, 2u); j++) {} return x;')}\n${min}`)).toThrow(unbounded);
    const clamped = mod('for (var j = 0u; j < clamp(i, 0u, 2u); j++) {} return x;');
    expect(() => check(clamped, ['clamp'])).toThrow(unbounded); // a captured tensor of three axes
    const abs = 'alias abs = i32;';
    expect(() => check(`${abs} ${mod('for (var j = abs(-2000000000); j < 0; j++) {} return x;')}`)).toThrow(unbounded);
  });
});

describe('loops that take more than 65536 rounds', () => {
  const nested = (outer: string, inner: string) =>
    `for (var j = 0u; j < ${outer}; j++) { for (var k = 0u; k < ${inner}; k++) { } }`;
  const helper = 'fn wait() -> f32 { for (var k = 0u; k < 4096u; k++) {} return 1.0; }\n';
  test.each([
    ['one', 'for (var j = 0u; j < 65537u; j++) {}', 65_537],
    ['downwards', 'for (var j = 65537; j > 0; j--) {}', 65_537],
    ['nested', nested('65535u', '65535u'), 65_535 + 65_535 ** 2],
    ['nested over positions', nested('i', 'i'), 4095 + 4095 ** 2],
    ['nested, to what is 0 for small positions', nested('(i / 4096u) * 32767u', '65535u'), 32_766 + 32_766 * 65_535],
    ["nested, to the outer one's counter", nested('65535u', 'j'), 65_535 + 65_535 * 65_534],
    ['one after the other', nested('4096u', '8u') + nested('4096u', '8u'), 2 * (4096 + 8 * 4096)],
    ['in calls', 'for (var j = 0u; j < 16u; j++) { let y = wait() * wait(); }', 16 + 16 * 4096],
    ['in calls one after the other', `let y = ${Array(17).fill('wait()').join('+')};`, 17 * 4096],
    ['by a constant', 'const N = 1024u; for (var j = 0u; j < N * N; j++) {}', 2 ** 20],
  ])('%s', (_name, body, rounds) => {
    expect(() => check(helper + mod(`${body} return x;`))).toThrow(
      `the loops of a call must take at most 65536 rounds in all, got ${rounds}`,
    );
  });
});

/** Structs S0, S1, … of which each holds the one before it twice. S0 takes 128 bytes. */
function doubling(levels: number): string {
  const further = Array.from({ length: levels }, (_, n) => `struct S${n + 1} { a: S${n}, b: S${n} }`);
  return ['struct S0 { a: mat4x4f, b: mat4x4f }', ...further].join('\n');
}

describe('what would keep compilers busy', () => {
  test('calls that double at each of 24 levels', () => {
    const levels = Array.from(
      { length: 24 },
      (_, n) => `fn f${n}(y: f32) -> f32 { return f${n + 1}(y) + f${n + 1}(y); }`,
    );
    const source = [mod('return f0(x);'), ...levels, 'fn f24(y: f32) -> f32 { return y; }'].join('\n');
    expect(() => check(source)).toThrow(
      /^scoreMod: line \d+, column \d+: a function must have at most 16384 words and symbols with those of all its calls, got \d+$/,
    );
  });

  test('a function that calls itself', () => {
    expect(() => check(`${mod('return f(x);')} fn f(y: f32) -> f32 { return f(y); }`)).toThrow(
      "'f' must not call itself",
    );
    const pair = 'fn f(y: f32) -> f32 { return g(y); } fn g(y: f32) -> f32 { return f(y); }';
    expect(() => check(`${mod('return f(x);')} ${pair}`)).toThrow("'f' must not call itself");
  });

  test.each([
    ['an array', '', 'var t = array<f32, 16384>(); return t[i];', 65_536],
    ['an array that nothing holds', '', 'return array<f32, 16384>()[i];', 65_536],
    ['an alias', 'alias T = array<vec4<f32>, 512>;', 'var t = T(); return t[i].x;', 8192],
    ['a struct', 'struct S { n: u32, t: array<mat4x4f, 17> }', 'let s = S(); return s.t[i][0].x;', 1092],
    ['arrays of arrays', '', 'let t = array<array<f32, 64>, 64>(); return t[i][i];', 16_384],
    ['a length by constants', 'const N = 64u; const M = N * N;', 'let t = array<f32, M>(); return t[i];', 16_384],
    [
      'a length by a constant of the function',
      'const N = 4;',
      'const N = 512; let t = array<f32, N>(); return t[i];',
      2048,
    ],
    ['a constant', 'const T = array<f32, 2048>();', 'return T[i];', 8192],
    ['a constant in brackets', 'const T = (array<f32, 2048>());', 'return T[i];', 8192],
    ['a constant of a constant', 'const T = array<f32, 2048>(); const U = T;', 'return U[i];', 8192],
    ['a constant that nothing uses', 'const T = array<f32, 2048>();', 'return x;', 8192],
    ['an array whose length follows a comma more', '', 'let t = array<vec4<f32,>, 512>(); return t[i].x;', 8192],
    ['structs that double', doubling(27), 'let z = S27(); return z.a.x;', 2 ** 34],
    ['structs that double beyond all numbers', doubling(1200), 'let z = array<S1200, 1>(); return x;', 2 ** 53 - 1],
    ['structs by name', doubling(2), 'let a = S2(); let b = a; let c = b; return x;', 1536],
    ['structs in a list', doubling(1), 'let s = S1(); let t = array(s, s, s, s, s); return x;', 1536],
    ['structs made in a list', doubling(2), 'let t = array(S2(), S2(), S2(),); return x;', 1536],
    [
      'a list of lists',
      doubling(0),
      `let t = array(${Array(3).fill('array(S0(), S0(), S0(),)').join()}); return x;`,
      1152,
    ],
    ['copies', '', 'let a = array<f32, 128>(); let b = a; let c = b; return c[i];', 1536],
    ['calls', 'fn f(i: u32) -> f32 { let t = array<f32, 128>(); return t[i]; }', 'return f(i) + f(i) + f(i);', 1536],
    ['results', 'fn f() -> array<f32, 100> { return array<f32, 100>(); }', 'let t = f(); return t[i];', 1200],
  ])('too large arrays and structs: %s', (_name, outside, body, bytes) => {
    expect(() => check(`${outside}\n${mod(body)}`)).toThrow(
      `the arrays and structs of a function must take at most 1024 bytes in all, got ${bytes}`,
    );
  });

  test.each([
    ['', 'let t = array<f32, 1 << 16>(); return t[i];'],
    ['', 'let t = array<f32, 1u | 16384u>(); return t[i];'],
    ['', 'let t = array<f32, (1 << 16)>(); return t[i];'],
    ['const N = 1u | 16384u;', 'let t = array<f32, N>(); return t[i];'],
    ['const N = 1u ^ 16384u;', 'let t = array<f32, N>(); return t[i];'],
    ['const N = 1u << 16u; alias T = array<f32, N>;', 'let t = T(); return t[i];'],
    ['', 'let t = array<f32, -1>(); return t[i];'],
  ])('a length of which only the beginning is known: %s %s', (outside, body) => {
    expect(() => check(`${outside}${mod(body)}`)).toThrow("an array's length must be a number");
  });

  test('an array of unknown length', () => {
    expect(() => check(mod('let t = array<f32, i>(); return t[i];'))).toThrow(
      "line 2, column 18: an array's length must be a number, or made of numbers and constants",
    );
    expect(() => check(`alias A = array<B, 2>; alias B = array<A, 2>; ${mod('return x;')}`)).toThrow(
      'nested too deeply',
    );
  });

  test('structs that hold each other', () => {
    const pair = 'struct A { a: B, b: B } struct B { a: A, b: A }';
    expect(() => check(`${pair} ${mod('return x;')}`)).toThrow('types are nested too deeply');
  });

  test('large types that nothing uses cost nothing, wherever they stand', () => {
    const types = `${doubling(9)} alias T = array<f32, 2048>;`;
    expect(() => check(`${types} ${mod('return x;')}`)).not.toThrow();
    expect(() => check(`${mod('return x;')} ${types}`)).not.toThrow();
  });

  test('many statements are refused without counting them again and again', () => {
    const lets = Array.from({ length: 60_000 }, (_, n) => `let a${n} = x;`).join('\n');
    expect(() => check(mod(`${lets} return x;`))).toThrow(
      'the source must have at most 16384 words and symbols, got 300',
    );
  });
});

test.each(['f32', 'u32', 'vec4f', 'array'])("a declaration with the name of WGSL's %s", (name) => {
  const problem = `'${name}' is WGSL's own, so that nothing else can have that name`;
  expect(() => check(`\nalias ${name} = i32;\n${mod('return x;')}`)).toThrow(
    new ArgumentError(`scoreMod: line 2, column 7: ${problem}`),
  );
});

test.each([
  'for (var j = 0u; j < 4u; j++) {}',
  'for (var j = 0u; j < 65536u; j++) {}',
  'for (var j = 0u; j < i; j++) { for (var k = 0u; k < 8u; k++) {} }',
  'for (var j = i; j < i + 16u; j++) { for (var k = 0u; k < 8u; k++) {} }',
  'for (var j = 0u; j < i / 128u; j++) { for (var k = 0u; k < 128u; k++) {} }',
  'let n = i + 1u; for (var j = n; j > 0u; j--) {}',
  'for (var j = 0u; j < min(u32(x), 64u); j++) {}',
  'for (var j = 0u; j < (u32(x) & 31u); j++) { for (var k = 0u; k < u32(x) % 7u; k++) {} }',
  'for (var j = 0; j < clamp(i32(x), 0, 9); j++) {}',
  'for (var j = -4; j < 2 * (3 + 1) - 12 / 3 && x > 0.0; j++) {}',
  'let t = array<f32, 256>(); var s = 0.0; for (var j = 0u; j < 256u; j++) { s += t[j] * t[255u - j]; }',
  'let t = array(1.0, 2.0, 3.0); let y = t[i];',
  'let t = array(vec2<f32>(x), vec2<f32>(1.0)); let u = array(array<f32, 64>(), array<f32, 64>()); let y = t[i].x + u[0][i];',
  'for (var j: i32 = 4; j > -1; j--) { var k = j; k += 2; }',
  'for (var j = 0u; j < min(i, 7u); j++) { if j == 3u { continue; } else if j > 5u { break; } }',
  'for (var j = 0u; j < 2u; j++) { for (var k = j; k < 2u; k++) {} }',
  'switch i { case 1u, 2u: { return 1.0; } default: { return 2.0; } }',
  'let b = (i & 1u) == 0u && !(x > 1.0) || i % 2u == 1u;',
  'let m = mat2x2<f32>(x, 0.0, 0.0, x); let y = (m * vec2(1.0, 2.0)).x;',
  'let t = array<vec2<f32>, 2>(vec2<f32>(x), vec2<f32>(1e-3, .5)); let y = t[i & 1u].y;',
  '_ = x; var y = 0x1.8p3f; y = .5;',
  'let constructor = x; let toString = constructor;',
  'let a = i >> 2u; let b = i << 1u; let c = a >= b; let d = ~a | b ^ 3u;',
])('accepts %s', (body) => {
  expect(() => check(mod(`${body} return x;`))).not.toThrow();
});

test('any source is accepted, or refused with one sentence', () => {
  const words =
    'fn mod ( x : f32 , i u32 ) -> { } [ ] ; let var const = return for struct S alias < > & @ . 1.0 ++ bias // \n';
  const token = fc.constantFrom(...words.split(' '));
  const source = fc.array(token, { maxLength: 40 }).map((tokens) => tokens.join(' '));
  fc.assert(
    fc.property(fc.oneof(source, source.map(mod), fc.string()), (text) => {
      try {
        check(text, ['bias']);
      } catch (error) {
        expect(error).toBeInstanceOf(ArgumentError);
        expect((error as Error).message).toMatch(/^scoreMod: line \d+, column \d+: [^\n]+$/);
      }
    }),
    { numRuns: 2000 },
  );
});
