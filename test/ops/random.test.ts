/** The generator of shaders/parts/random.wgsl against the vectors that its authors published, on the GPU. */
import { expect, test } from 'vitest';
import random from '../../shaders/parts/random.wgsl?raw'; // with its names, whatever is shipped
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { shaderOf } from '../shader-of.ts';
import { philox, uniformOf } from '../reference/sample.ts';

/** Six words an input: counter and key; eight an output: the four words, and the bits of their uniform numbers. */
const shader = shaderOf(
  'random-test',
  `
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.x;
  if i >= params.count { return; }
  let counter = vec4<u32>(inputs[6u * i], inputs[6u * i + 1u], inputs[6u * i + 2u], inputs[6u * i + 3u]);
  let words = philox(counter, vec2<u32>(inputs[6u * i + 4u], inputs[6u * i + 5u]));
  for (var j = 0u; j < 4u; j++) {
    output[8u * i + j] = words[j];
    output[8u * i + 4u + j] = bitcast<u32>(uniform_of(words[j]));
  }
}
`,
  [shaderOf('parts/random', random)],
);

/** Random123's kat_vectors for philox4x32-10: counter, key, result. */
const PUBLISHED = [
  '00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8',
  'ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd',
  '243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1',
].map((line) => line.split(' ').map((word) => Number.parseInt(word, 16)));

test('the reference gives the published words', () => {
  for (const vector of PUBLISHED) expect(philox(vector.slice(0, 4), vector.slice(4, 6))).toEqual(vector.slice(6));
});

test('the GPU gives the published words, and those of the reference', async () => {
  const device = await testDevice();
  const random = new Random(53);
  const word = () => random.integer(0, 2 ** 32 - 1);
  const inputs = [
    ...PUBLISHED.map((vector) => vector.slice(0, 6)),
    ...Array.from({ length: 100 }, () => Array.from({ length: 6 }, word)),
  ];
  const output = device.scope(() => {
    const given = device.tensor(Uint32Array.from(inputs.flat()), [inputs.length, 6]);
    const result = device.empty([inputs.length, 8], 'uint32', 'test');
    const launch = { shader, constants: {}, params: { count: inputs.length }, workgroups: [2, 1, 1] as const };
    device.runtime.dispatch(launch, { inputs: given.storage('test'), output: result.storage('test') });
    return result;
  });
  const words = (await output.data()) as Uint32Array<ArrayBuffer>;
  output.dispose();
  inputs.forEach((input, i) => {
    const expected = PUBLISHED[i]?.slice(6) ?? philox(input.slice(0, 4), input.slice(4));
    expect([...words.subarray(8 * i, 8 * i + 4)]).toEqual(expected);
    expect([...new Float32Array(words.buffer, 4 * (8 * i + 4), 4)]).toEqual(expected.map(uniformOf));
  });
});

test('uniform numbers lie inside of (0, 1), as float32 too', () => {
  for (const bits of [0, 1, 511, 512, 0xffffffff]) {
    const value = uniformOf(bits);
    expect(value).toBeGreaterThan(0);
    expect(value).toBeLessThan(1);
    expect(Math.fround(value)).toBe(value);
  }
});
