/** Functions that replace marked ones, as the runtime sees them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Insertion } from '../../src/gpu/shader.ts';
import { createDevice, ShaderError, type Device } from '../../src/index.ts';
import { shaderOf } from '../shader-of.ts';
import { AFFINE } from './affine.ts';

const SHADER = shaderOf(
  'marked',
  `${AFFINE.text.replace('FACTOR * x[id.x]', 'change(FACTOR * x[id.x])')}
// replaceable
fn change(value: f32) -> f32 { return value; }
`,
);

function insertion(text: string): Insertion {
  return { name: 'change', text, explain: (error, line, column) => `change, ${line}:${column}, ${error}` };
}
const square = insertion('fn change(value: f32) -> f32 {\n  return value * value;\n}');
/** What wgsl_reflect reads of it is nothing. */
const odd = insertion(
  'struct Params2 { a: array<vec2<f32>, 1 + 2> }\nfn change(value: f32) -> f32 { return Params2().a[0].x - value; }',
);
const wrong = insertion('fn change(value: f32) -> f32 {\n  return 1u * value;\n}');

let device: Device;
beforeAll(async () => {
  device = await createDevice();
});
afterAll(() => device.dispose());

async function run(
  insertions: readonly Insertion[] | undefined,
  { factor = 2, label }: { factor?: number; label?: string } = {},
) {
  using x = device.tensor([1, 2, 3], [3]);
  using output = device.zeros([3]);
  device.runtime.dispatch(
    {
      shader: SHADER,
      constants: { FACTOR: factor },
      params: { count: 3, addend: 1 },
      workgroups: [1, 1, 1],
      ...(insertions && { insertions }),
    },
    { x: x.storage('test'), output: output.storage('test') },
    label,
  );
  return Array.from(await output.data());
}

test('the marked function computes where there is no other', async () => {
  expect(await run(undefined)).toEqual([3, 5, 7]);
  expect(await run([])).toEqual([3, 5, 7]);
  expect(await run([square])).toEqual([5, 17, 37]);
  expect(await run([odd])).toEqual([-1, -3, -5]);
});

test('the text and the constants are part of a pipeline’s key', async () => {
  const compiled = async (insertions: readonly Insertion[], factor: number) => {
    const before = device.runtime.counters().pipelines;
    await run(insertions, { factor });
    return device.runtime.counters().pipelines - before;
  };
  expect(await compiled([square], 3)).toBe(1);
  expect(await compiled([insertion(square.text)], 3)).toBe(0);
  expect(await compiled([square], 4)).toBe(1);
  expect(await compiled([insertion(`${square.text} `)], 3)).toBe(1);
});

describe('what does not compile', () => {
  test('in a text is told by it, under the name of the op', async () => {
    for (let attempt = 0; attempt < 2; attempt++) {
      const error = await run([wrong], { label: 'anOp' }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(ShaderError);
      expect((error as Error).message).toMatch(
        /^anOp: change, 2:10, no matching overload for 'operator \* \(u32, f32\)'/,
      );
    }
    await expect(run([wrong])).rejects.toThrow(/^marked: change, 2:10, /);
    expect(await run([square])).toEqual([5, 17, 37]);
  });

  test('elsewhere is reported as usual', async () => {
    const shader = { ...SHADER, text: SHADER.text.replace('change(FACTOR', 'missing(FACTOR') };
    const line = shader.text.split('\n').findIndex((text) => text.includes('missing(')) + 1;
    using x = device.zeros([3]);
    using output = device.zeros([3]);
    const launch = { shader, constants: {}, insertions: [square], params: { count: 3, addend: 1 } };
    device.runtime.dispatch(
      { ...launch, workgroups: [1, 1, 1] },
      { x: x.storage('test'), output: output.storage('test') },
      'anOp',
    );
    const error = await device.sync().catch((reason: unknown) => reason);
    expect((error as Error).message).toMatch(/^marked: /);
    expect((error as Error).message).toContain(`:${line}:`);
  });
});

test('a function that is not marked cannot be replaced', async () => {
  const other = { ...square, name: 'main' };
  await expect(run([other])).rejects.toThrow('shader marked: expected one replaceable function main, found 0');
});
