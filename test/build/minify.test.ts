import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { minifier } from '../../build/minify.ts';
import { wgslPlugin } from '../../build/wgsl-plugin.ts';
import { layoutOf } from '../../src/gpu/layout.ts';
import { joinParts, type Shader } from '../../src/gpu/shader.ts';
import { nullDevice } from '../null-device.ts';
import { reflect } from '../wgsl-reflect.ts';

const files: Record<string, Shader> = import.meta.glob('../../shaders/**/*.wgsl', { eager: true, import: 'default' });
const texts = new Map(
  Object.values(files).map(({ name }) => [name, readFileSync(`shaders/${name}.wgsl`, 'utf8')] as const),
);
const benchFiles: Record<string, Shader> = import.meta.glob('../../bench/shaders/**/*.wgsl', {
  eager: true,
  import: 'default',
});
const plugin = wgslPlugin({ isMinified: true });

/** The text that is shipped for a file. */
function shipped(name: string, folder = 'shaders'): string {
  const path = `${process.cwd()}/${folder}/${name}.wgsl`;
  const { code } = plugin.transform(readFileSync(path, 'utf8'), path)!;
  return JSON.parse(/"text":("(?:[^"\\]|\\.)*")/.exec(code)![1]) as string;
}

function shippedShader({ name, parts }: Shader, folder?: string): Shader {
  return { name, text: shipped(name, folder), parts: parts.map((part) => shippedShader(part, folder)) };
}

interface Chunk {
  /** Whether it is a function. */
  readonly isFunction: boolean;
  readonly tokens: readonly string[];
}

/** Functions, and what lies between them: words (members with their point), numbers and signs, without comments. */
function chunksOf(text: string): Chunk[] {
  const tokens = text
    .replace(/\/\/(?! replaceable$).*/gm, '')
    .replace(/\b(vec[234])([fiu])\b/g, '$1<$232>')
    .replace(/(?<![\w.])(?:\d+\.\d*|\.\d+)/g, (number) => number.replace(/^\./, '0.').replace(/\.$/, '.0'))
    .match(/\/\/ replaceable|@builtin\(\w+\)|@\w+|\d\w*(?:\.\w*)?|\.?[A-Za-z_]\w*|[^\s\w]/g)!;
  const chunks: { isFunction: boolean; tokens: string[] }[] = [{ isFunction: false, tokens: [] }];
  let depth = 0;
  let isInStruct = false;
  for (const [i, token] of tokens.entries()) {
    if (token === 'fn') chunks.push({ isFunction: true, tokens: [] });
    isInStruct = token === 'struct' || (isInStruct && token !== '}');
    chunks.at(-1)!.tokens.push(isInStruct && tokens[i + 1] === ':' ? `.${token}` : token);
    if (token === '{') depth++;
    if (token === '}' && --depth === 0 && chunks.at(-1)!.isFunction) chunks.push({ isFunction: false, tokens: [] });
  }
  return chunks;
}

/** Throws unless each token always becomes the same, and no two become one. */
function pair(before: string, after: string, renamed: Map<string, string>, back: Map<string, string>): void {
  expect([before, renamed.get(before) ?? after]).toEqual([before, after]);
  expect([back.get(after) ?? before, after]).toEqual([before, after]);
  renamed.set(before, after);
  back.set(after, before);
}

describe('the shaders as they are shipped', () => {
  const pairs = [...texts].map(([name, text]) => [chunksOf(text), chunksOf(shipped(name))] as const);

  test('are the same tokens under other names: one for each name of modules and members, in all files', () => {
    const [renamed, back] = [new Map<string, string>(), new Map<string, string>()];
    for (const [before, after] of pairs) {
      expect(after.map(({ tokens }) => tokens.length)).toEqual(before.map(({ tokens }) => tokens.length));
      before.forEach(({ isFunction, tokens }, at) => {
        // a function's own name, and all members
        const ours = isFunction ? (_: string, i: number) => i === 1 || tokens[i].startsWith('.') : () => true;
        tokens.forEach((token, i) => {
          if (ours(token, i)) pair(token, after[at].tokens[i], renamed, back);
        });
      });
    }
    expect([...renamed].filter(([name, short]) => name !== short).length).toBeGreaterThan(250);
  });

  test('and one for each name in a function', () => {
    let count = 0;
    for (const [before, after] of pairs) {
      before.forEach(({ isFunction, tokens }, at) => {
        if (!isFunction) return;
        const [renamed, back] = [new Map<string, string>(), new Map<string, string>()];
        tokens.forEach((token, i) => pair(token, after[at].tokens[i], renamed, back));
        count += [...renamed].filter(([name, short]) => name !== short).length;
      });
    }
    expect(count).toBeGreaterThan(1000);
  });

  test('keep the constants that launches specialise, and the marks of functions that are replaced', () => {
    const words = readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .flatMap((path) => readFileSync(`src/${path}`, 'utf8').match(/\w+/g)!);
    const named = new Set(words);
    const pattern = /^const \w+: ?(?:u32|i32|f32|bool)|^\/\/ replaceable\r?\nfn \w+/gm;
    const found = (text: string) =>
      (text.match(pattern) ?? [])
        .map((line) => line.replaceAll(/: ?/g, ': '))
        .filter((line) => {
          const name = /^const (\w+)/.exec(line)?.[1];
          return name === undefined || named.has(name);
        });
    for (const [name, text] of texts)
      expect([name, ...found(shipped(name))]).toEqual(expect.arrayContaining([name, ...found(text)]));
  });

  test('are well below the size of what was written', () => {
    const size = (all: Iterable<string>) => [...all].reduce((sum, { length }) => sum + length, 0);
    expect(size(Array.from(texts.keys(), (name) => shipped(name)))).toBeLessThan(0.4 * size(texts.values()));
  });

  const kernels = Object.values(files).filter(({ name }) => !name.includes('parts/'));

  test.each(kernels)('$name binds the same, and compiles', async (shader) => {
    const short = shippedShader(shader);
    expect(layoutOf(short)).toEqual(layoutOf(shader));
    const { storage, uniform } = reflect(shader.name, joinParts(short).replace(/\b(vec[234])([fiu])\b/g, '$1<$232>'));
    expect(layoutOf(short)).toMatchObject({ storage, uniform: { binding: uniform!.binding, fields: uniform!.fields } });
    const gpu = await nullDevice();
    const { messages } = await gpu.createShaderModule({ code: joinParts(short) }).getCompilationInfo();
    expect(messages.map(({ message, lineNum }) => `${lineNum}: ${message}`)).toEqual([]);
  });
});

test.each(Object.values(benchFiles).filter(({ name }) => !name.includes('parts/')))(
  'the benchmark’s $name compiles as it is shipped',
  async (shader) => {
    const code = joinParts(shippedShader(shader, 'bench/shaders'));
    const { messages } = await (await nullDevice()).createShaderModule({ code }).getCompilationInfo();
    const isError = ({ message }: GPUCompilationMessage) => !message.includes("extension 'f16' is not allowed");
    expect(messages.filter(isError).map(({ message, lineNum }) => `${lineNum}: ${message}`)).toEqual([]);
  },
);

test('attributes, members that could be swizzles, uniforms, bindings and specialised constants stay', () => {
  const source = `enable f16;
// a comment
const SIZE: u32 = 4u;
const HALF: u32 = SIZE / 2u;
struct Pair { x: f32, second: f32 }
struct Params { rows: u32, inner: Inner }
struct Inner { columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<f32>>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
  let workgroup_id = group.xy; // named as the attribute's word
  switch workgroup_id.x { case HALF: { return; } default: { helper(Pair(1.0, - -2.5).second + a[0].x, SIZE >= 0x3u); } }
}
fn helper(value: f32, params_given: bool) -> f32 { let b = params.inner.columns; return f32(b) * value * 0x1p-23; }
// replaceable
fn hook(value: f32) -> f32 { return 0.5; }
fn last() {}
`;
  const text = minifier([source], new Set(['SIZE']))(source);
  expect(text).toBe(`enable f16;
const SIZE:u32=4u;const A:u32=SIZE/2u;struct B{x:f32,c:f32}struct C{rows:u32,inner:D}struct D{columns:u32}\
@group(0)@binding(0)var<uniform>params:C;@group(0)@binding(1)var<storage,read_write>a:array<vec4f>;\
@compute@workgroup_size(1)fn main(@builtin(workgroup_id)b:vec3u){let c=b.xy;\
switch c.x{case A:{return;}default:{E(B(1.,- -2.5).c+a[0].x,SIZE>=0x3u);}}}\
fn E(a:f32,c:bool)->f32{let b=params.inner.columns;return f32(b)*a*0x1p-23;}
// replaceable
fn hook(a:f32)->f32{return .5;}
fn F(){}
`);
});

test('a function of WGSL stays, also where a variable has its name', () => {
  const source = 'fn helper(count: f32) -> f32 { let round = 2.0; return count * round; }';
  const user = 'fn other() -> f32 { return round(helper(0.5)); }';
  const minify = minifier([source, user], new Set());
  expect(minify(source)).toBe('fn A(a:f32)->f32{let b=2.;return a*b;}\n');
  expect(minify(user)).toBe('fn B()->f32{return round(A(.5));}\n');
});

test('a name that a function shares with its module is one', () => {
  const source = `fn size() -> u32 { return 1u; }
fn f() -> u32 { let size = size(); return size; }
@group(0) @binding(0) var<storage, read> b: array<u32>;
fn g(value: u32) -> u32 { let b = b[value]; return b; }
`;
  expect(minifier([source], new Set())(source)).toBe(
    'fn A()->u32{return 1u;}fn B()->u32{let A=A();return A;}' +
      '@group(0)@binding(0)var<storage,read>b:array<u32>;fn C(a:u32)->u32{let b=b[a];return b;}\n',
  );
});
