/** The command from end to end, on a problem that takes no time. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { formatResult, parseResult } from '../../bench/result-text.ts';
import { runCommandLine } from '../../src/cli/commands.ts';
import { packageRoot } from '../cli/example.ts';
import { triesEveryKernel } from '../device.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';
import { caseOf, resultOf, timing } from './results.ts';

let folder: string;
let out: string[];
let err: string[];

beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-bench-'))));
afterAll(() => rmSync(folder, { recursive: true }));

beforeEach(() => {
  [out, err] = [[], []];
  vi.spyOn(console, 'log').mockImplementation((text) => void out.push(String(text)));
  vi.spyOn(console, 'error').mockImplementation((text) => void err.push(String(text)));
});

afterEach(() => vi.restoreAllMocks());

const run = (...args: string[]) => runCommandLine(['node', 'webgpu-attention', 'bench', ...args], packageRoot);

describe('bench', async () => {
  test.runIf(await triesEveryKernel())(
    'measures the device and the problem, and with --json - has nothing but the result on stdout',
    async () => {
      const page = join(folder, 'page.html');
      const problem = ['--op', 'flashAttention', '--shape', '1x2x16x8', '--causal', '--runs', '2'];
      expect(await run(...problem, '--json', '-', '--html', page)).toBe(0);
      const result = parseResult(out[0], 'stdout');
      expect(result.cases.map(({ name }) => name)).toEqual(['flashAttention 1x2x16x8 causal float32']);
      expect(result.failures).toBeUndefined();
      const { f32Gflops, copyGBs, dispatchUs } = result.roof;
      for (const cost of [f32Gflops, copyGBs, dispatchUs]) expect(cost).toBeGreaterThanOrEqual(0);
      for (const text of ['flashAttention', 'GFLOP/s', '1x2x16x8 causal']) expect(err.join('\n')).toContain(text);
      expect(readFileSync(page, 'utf8')).toMatch(/^<!doctype html>/);
      expect(out.slice(1)).toEqual([]);
    },
  );

  // measuring the device takes the time
  test.runIf(IS_MATRIX)('fails where a case has no figures, and writes the result all the same', async () => {
    const file = join(folder, 'failed.json');
    expect(await run('--op', 'matmul', '--shape', '1x100000x100000x1', '--runs', '1', '--json', file)).toBe(1);
    const { cases, failures } = parseResult(readFileSync(file, 'utf8'), file);
    expect(cases).toEqual([]);
    expect(failures).toMatchObject([{ name: 'matmul 1x100000x100000x1 float32' }]);
    expect(err.at(-1)).toContain('bench: a case has no figures: matmul 1x100000x100000x1 float32: ');
  });
});

describe('bench compare', () => {
  const write = (name: string, gpu: number) => {
    const path = join(folder, name);
    writeFileSync(path, formatResult(resultOf([caseOf('matmul 8', { gpu: timing(gpu) })])));
    return path;
  };

  test.each([
    ['nothing', 10, 10, [], 0, 'within noise'],
    ['what is faster', 10, 5, [], 0, '50 % faster'],
    ['what is slower, and fails', 10, 12, [], 1, '20 % slower'],
    ['what is slower within the threshold', 10, 12, ['--threshold', '0.3'], 0, '20 % slower'],
  ])('tells %s', async (_name, before, after, options, code, text) => {
    expect(await run('compare', write('a.json', before), write('b.json', after), ...options)).toBe(code);
    expect(out.join('\n')).toContain(text);
    if (code === 1) expect(err).toHaveLength(1);
  });

  test('refuses a file that is no result', async () => {
    const path = join(folder, 'package.json');
    writeFileSync(path, '{"name":"x"}');
    expect(await run('compare', path, path)).toBe(1);
    expect(err.join('\n')).toContain("package.json must be a benchmark's result, got one in which format must be 1");
  });
});
