import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { minifier } from '../../build/minify.ts';

const texts: Record<string, string> = import.meta.glob('../../shaders/**/*.wgsl', {
  eager: true,
  import: 'default',
  query: '?raw',
});
const FILES = Object.values(texts);

/** Words, numbers and signs, without comments. */
const tokensOf = (text: string): string[] =>
  text
    .replace(/\/\/(?! replaceable$).*/gm, '')
    .match(/\/\/ replaceable|@\w+|\d\w*(?:\.\w*)?|\w+|[^\s\w]/g)!
    .filter((token) => token !== '');

describe('the shaders as they are shipped', () => {
  const minify = minifier(FILES, readFileSync('src/kernels/modifiers.ts', 'utf8').match(/\w+/g)!);
  const pairs = FILES.map((file) => [tokensOf(file), tokensOf(minify(file))] as const);

  test('are the same tokens under other names, one for each name, in all files', () => {
    const [renamed, back] = [new Map<string, string>(), new Map<string, string>()];
    for (const [before, after] of pairs) {
      expect(after).toHaveLength(before.length);
      before.forEach((token, at) => {
        expect(renamed.get(token) ?? after[at]).toBe(after[at]);
        expect(back.get(after[at]) ?? token).toBe(token);
        renamed.set(token, after[at]);
        back.set(after[at], token);
      });
    }
    expect([...renamed].filter(([name, short]) => name !== short).length).toBeGreaterThan(500);
  });

  test('keep the declarations that launches specialise, and the marks of functions that are replaced', () => {
    const pattern = /^const \w+: (?:u32|i32|f32|bool) = |^\/\/ replaceable\r?\nfn \w+/gm;
    for (const file of FILES) expect(minify(file).match(pattern)).toEqual(file.match(pattern));
  });

  test('are well below the size of what was written', () => {
    const size = (files: readonly string[]) => files.reduce((sum, { length }) => sum + length, 0);
    expect(size(FILES.map(minify))).toBeLessThan(0.5 * size(FILES));
  });
});

test('a function of WGSL stays, also where a variable has its name', () => {
  const source = 'fn helper(count: f32) -> f32 { let round = 2.0; return count * round; }';
  const user = 'fn other() -> f32 { return round(helper(0.5)); }';
  const minify = minifier([source, user], []);
  expect(minify(source)).toContain('let round = 2.0;');
  expect(minify(user)).toMatch(/return round\(\w\(0\.5\)\);/);
});

test('attributes, members that could be swizzles, and kept words stay', () => {
  const source = `enable f16;
// a comment
struct Pair { x: f32, second: f32 }
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
  let workgroup_id = group.xy; // named as the attribute's word
  switch workgroup_id.x { default: { helper(Pair(1.0, - -2.0).second); } }
}
fn helper(value: f32) {}
`;
  const text = minifier([source], ['helper'])(source);
  expect(text).toBe(`enable f16;
struct c{x:f32,d:f32}
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id)e:vec3<u32>){
let f = e.xy;
switch f.x{default:{helper(c(1.0,- -2.0).d);}}
}
fn helper(h:f32){}
`);
});
