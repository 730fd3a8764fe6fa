import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { version } from '../../package.json';
import { runCommandLine } from '../../src/cli/commands.ts';
import { packageRoot } from './example.ts';

let written: string[];

beforeEach(() => {
  written = [];
  const write = (...parts: unknown[]) => void written.push(parts.join(' '));
  for (const name of ['log', 'info', 'error'] as const) vi.spyOn(console, name).mockImplementation(write);
});

afterEach(() => vi.restoreAllMocks());

/** The exit code, and what was printed. */
async function run(...args: string[]): Promise<[number, string]> {
  const code = await runCommandLine(['node', 'webgpu-attention', ...args], packageRoot);
  return [code, written.join('\n')];
}

describe('help', () => {
  test.each([[], ['--help'], ['-h']])('%s names the commands', async (...args: string[]) => {
    const [code, text] = await run(...args);
    expect(code).toBe(0);
    for (const command of [
      'demo',
      'info',
      'shader [op]',
      'tune',
      'bench',
      'bench compare <before> <after>',
      'generate',
    ]) {
      expect(text).toMatch(new RegExp(`^ {2}${command.replace(/[[\]]/g, '\\$&')} {2}`, 'm'));
    }
  });

  test('of demo names its options and the modules', async () => {
    const [code, text] = await run('demo', '--help');
    expect(code).toBe(0);
    for (const part of ['--module <name>', 'LocalAttention', '--adapter <kind>', '--out <folder>']) {
      expect(text).toContain(part);
    }
  });

  test("--version is the package's", async () => {
    const [code, text] = await run('--version');
    expect(code).toBe(0);
    expect(text).toContain(`webgpu-attention/${version}`);
  });
});

describe('a mistake is one sentence and exit code 1', () => {
  test.each([
    [['dmo'], "command must be demo, info, shader, tune, bench or generate, got 'dmo' (did you mean demo?)"],
    [['train'], "command must be demo, info, shader, tune, bench or generate, got 'train'"],
    [['demo', '--module', 'Cross'], "got 'Cross' (did you mean CrossAttention?)"],
    [['demo', '--module'], 'option `--module <name>` value is missing'],
    [['demo', '--module', 'a', '--module', 'b'], '--module must be given once, got a and b'],
    [['demo', '--modul', 'x'], 'Unknown option `--modul`'],
    [['demo', 'twice'], 'Unused args: `twice`'],
    [['demo', '--adapter', 'hardwar'], "adapter must be one of 'hardware', 'software', 'lavapipe', 'embedded'"],
    [['info', '--adapter', '7'], "got '7'"],
    [['info', '--kernel', 'matmul'], "--kernel must be an op and its kernel, such as matmul=subgroup, got 'matmul'"],
    [['info', '--kernel', 'matmul=fast'], 'the kernel of matmul must be '],
    [['tune', '--kernel', 'matmul=subgroup'], 'Unknown option `--kernel`'],
    [['bench', '--op', 'flash'], "got 'flash' (did you mean flashAttention?)"],
    [['bench', '--shape', '1x2x3'], 'bench: --shape must come with --op'],
    [['bench', '--runs', '0'], "bench: --runs must be a whole number of 1 or more, got '0'"],
    [['bench', '--runs', '3', '--runs', '4'], '--runs must be given once, got 3 and 4'],
    [['bench', '--save', '--filter', 'matmul'], 'bench: --save must come without --op, --shape, --filter'],
    [['bench', '--save', '--kernel', 'matmul=tile-32x32'], 'bench: --save must come without --op, --shape, --filter'],
    [['bench', '--json', 'no-such-folder/a.json'], 'no-such-folder'],
    [['bench', 'twice'], 'Unused args: `twice`'],
    [['bench', '--fast'], 'Unknown option `--fast`'],
    [['bench', 'compare', 'a.json'], 'missing required args for command `bench compare <before> <after>`'],
    [['bench', 'compare', 'no-such.json', 'no-such.json'], 'no-such.json'],
    [
      ['bench', 'compare', 'a.json', 'b.json', '--threshold', 'x'],
      "--threshold must be a share below 1, such as 0.05 for 5 %, got 'x'",
    ],
  ])('%j', async (args, message) => {
    const [code, text] = await run(...args);
    expect(code).toBe(1);
    expect(text).toContain(message);
    expect(text).toMatch(/error:.* \S/);
    expect(text.split('\n')).toHaveLength(1);
  });

  test('but a defect shows where it is', async () => {
    vi.mocked(console.info).mockImplementation(() => {
      throw new TypeError('x is not a function');
    });
    const [code, text] = await run();
    expect(code).toBe(1);
    expect(text).toMatch(/TypeError: x is not a function\n +at /);
  });
});
