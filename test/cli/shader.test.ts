import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { runCommandLine } from '../../src/cli/commands.ts';
import { CALLS } from '../../src/cli/shader-calls.ts';
import { prepareShader, printShaderList, type ShaderWords } from '../../src/cli/shader.ts';
import { add, createDevice, type Device } from '../../src/index.ts';
import { kernelNames } from '../../src/tuning/pinned.ts';
import { testDevice } from '../device.ts';
import { packageRoot } from './example.ts';

let device: Device;
let printed: string[];

beforeAll(async () => void (device = await testDevice()));
beforeEach(() => void (printed = []));

const print = (text: string) => void printed.push(text);

/** What the command prints, on the device that all tests share. */
function shader(op: string, words: ShaderWords = {}): string {
  printed = [];
  prepareShader(op, words, packageRoot, print).run(device);
  return printed.join('\n');
}

const headings = (text: string) => text.match(/^\/\/ ={8} .*$/gm) ?? [];

describe('shader', () => {
  const cases = Object.entries(CALLS).flatMap(([op, { takes }]) =>
    takes.includes('backward') ? [[op, {}] as const, [op, { backward: true }] as const] : [[op, {}] as const],
  );

  test.each(cases)('prints the kernels of %s %j, and runs none', (op, words) => {
    const before = device.runtime.counters();
    const { live } = device.memory();
    const text = shader(op, { dtype: 'float16', ...words });
    expect(text).toMatch(/^\/\/ \S+ [\dx]+ float16.*\n\/\/ Device: /);
    expect(headings(text).length).toBeGreaterThan(0);
    expect(text.match(/^@compute/gm)).toHaveLength(headings(text).length);
    expect(device.runtime.counters()).toMatchObject({ dispatches: before.dispatches, pipelines: before.pipelines });
    if (!op.includes('Cache') && !/^(SGD|Adam)/.test(op)) expect(device.memory().live).toBe(live);
  });

  test('prints what the device compiles for the call, but for the comments that it adds', async () => {
    const fresh = await createDevice();
    prepareShader('add', { shape: '3x5' }, packageRoot, print).run(fresh);
    const [, , kernel, ...others] = printed;
    const [, , , , ...source] = kernel.split('\n');
    const modules = vi.spyOn(fresh.gpu, 'createShaderModule');
    fresh.scope(() => void add(fresh.zeros([3, 5]), fresh.zeros([3, 5])));
    expect(others).toEqual([]);
    expect(source.map((line) => line.replace(/ \/\/ (?:specialised|here: ).*$/, ''))).toEqual(
      modules.mock.calls.flatMap(([{ code }]) => code.split('\n')),
    );
    await fresh.sync();
    fresh.dispose();
  });

  test('says how a kernel is specialised and launched', () => {
    const text = shader('softmax', { shape: '2x3x5', causal: true });
    expect(text).toMatch(/^\/\/ softmax 2x3x5 float32 --causal\n/);
    expect(headings(text)).toEqual(['// ======== 1 of 1: softmax/softmax.wgsl, of softmax']);
    expect(text).toMatch(/^\/\/ constants: .*LANES = \d+/m);
    expect(text).toMatch(/^\/\/ workgroups: \d+ × 1 × 1$/m);
    expect(text).toMatch(/^const LANES: u32 = \d+u;.* \/\/ specialised/m);
  });

  test("takes the problem's options", () => {
    const plain = shader('flashAttention', { shape: '1x4x40x16' });
    for (const words of [{ dropout: '0.1' }, { softcap: '20' }, { dtype: 'float16' }]) {
      expect(
        shader('flashAttention', { shape: '1x4x40x16', ...words })
          .split('\n')
          .slice(2),
      ).not.toEqual(plain.split('\n').slice(2));
    }
    expect(
      shader('flashAttention', { shape: '2x4x7x16', kvHeads: '2', keys: '90', window: '3,-1', mask: 'bool' }),
    ).toMatch(/^\/\/ flashAttention 2x4x7x16 float32 --window 3,-1 --keys 90 --kv-heads 2 --mask bool\n/);
    expect(shader('localAttention', { window: '8' })).toContain('--window 8,8');
  });

  test('takes the kernel that is pinned, and says where that changes nothing', () => {
    const { kernels } = device;
    const names = kernelNames('matmul', device.traits);
    const texts = names.map((kernel) => {
      expect(prepareShader('matmul', { kernel }, packageRoot, print).kernels).toEqual({ matmul: kernel });
      device.kernels = { ...kernels, pinned: new Map([['matmul', kernel]]) };
      return shader('matmul', { kernel });
    });
    device.kernels = kernels;
    const unchanged = texts.filter((text) => text.includes('changes nothing'));
    expect(unchanged.length).toBeGreaterThan(0);
    const sources = texts.map((text) => text.slice(text.indexOf('// ====')));
    expect(new Set(sources).size).toBe(names.length - unchanged.length + 1);
    expect(prepareShader('linear', { kernel: 'matmul=subgroup' }, packageRoot, print).kernels).toEqual({
      matmul: 'subgroup',
    });
  });

  test('--list shows each op, and the kernels that ops choose from', () => {
    printShaderList(device, print);
    const text = printed.join('\n');
    for (const op of Object.keys(CALLS)) expect(text).toContain(op);
    for (const op of ['flashAttention', 'matmul']) {
      expect(text).toMatch(new RegExp(`│ ${op} +│ .* │ float32 +│ \\S+ \\(default\\)`));
    }
  });
});

describe('a mistake is one sentence', () => {
  test.each([
    [[], 'shader: op must be one of flashAttention, '],
    [['flashAtention'], "got 'flashAtention' (did you mean flashAttention?)"],
    [['matmul', '--kernel', 'fast'], /the kernel of matmul must be \S+.* on this device, got 'fast'/],
    [
      ['softmax', '--kernel', 'tile'],
      "kernels must be of flashAttention, localAttention, matmul or attentionGradient, got 'softmax'",
    ],
    [['softmax', '--softcap', '3'], '--softcap must come with an op that takes it, got softmax, which takes --causal'],
    [['matmul', '--shape', '2x3'], "--shape of matmul must be BxMxNxK, such as 1x1024x1024x1024, got '2x3'"],
    [['relu', '--shape', '2x0'], "--shape of relu must be lengths, such as 1024x1024, got '2x0'"],
    [['relu', '--dtype', 'int8'], "--dtype must be float32 or float16, got 'int8'"],
    [['flashAttention', '--window', 'wide'], "--window must be keys to the left and right, such as 64,0, got 'wide'"],
    [['flashAttention', '--window=-2,0'], "got '-2,0'"],
    [['flashAttention', '--window', '1,2,3'], "got '1,2,3'"],
    [['flashAttention', '--keys', '0'], "--keys must be a whole number of 1 or more, got '0'"],
    [['flashAttention', '--softcap', '0'], "--softcap must be a positive number, got '0'"],
    [['flashAttention', '--mask', 'key'], "--mask must be bool or float, got 'key'"],
    [['flashAttention', '--kv-heads', '3'], /flashAttention: .*heads.* 3/],
  ])('%j', async (args: string[], message) => {
    const errors: string[] = [];
    vi.spyOn(console, 'error').mockImplementation((text) => void errors.push(String(text)));
    vi.spyOn(console, 'log').mockImplementation(print);
    expect(await runCommandLine(['node', 'webgpu-attention', 'shader', ...args], packageRoot)).toBe(1);
    vi.restoreAllMocks();
    expect(printed).toEqual([]);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(message);
    expect(errors[0].split('\n')).toHaveLength(1);
  });
});
