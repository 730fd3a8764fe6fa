import { describe, expect, test } from 'vitest';
import { withTables } from '../../bench/report/document.ts';
import { markdownTables } from '../../bench/report/tables.ts';
import type { BenchResult } from '../../bench/result.ts';
import { decodeCase, flashCase, full, matmulCase, small } from './fixture.ts';

const tables = (change: Partial<BenchResult> = {}): string => markdownTables({ ...small, ...change });

describe('the tables', () => {
  test('tell the device and give each case a line', () => {
    const cases = [
      {
        ...flashCase(1024, { causal: true }),
        gpu: { ...flashCase(1024).wall, median: 55.31 },
        gflops: 38.82,
        roofShare: 0.456,
      },
      {
        ...matmulCase([8, 512, 512, 64], { dtype: 'float16' }),
        gpu: undefined,
        wall: { ...flashCase(1024).wall, median: 1234.5 },
      },
    ];
    expect(tables({ cases: [cases[0]] })).toBe(
      '**llvmpipe (LLVM 15.0.6, 256 bits)** (Mesa 25.0.7 (LLVM 15.0.6), Example CPU @ 2.80GHz, 2 cores, node 20.20.2, ' +
        'webgpu 0.6.2), webgpu-attention 0.1.0, 4 May 2026. Measured on it: 85.2 GFLOP/s in float32, ' +
        `46.7 GFLOP/s in float16, 7.30 GB/s copied.

| op | shape | dtype | GPU ms | GFLOP/s | of the roof |
| --- | --- | --- | --- | --- | --- |
| \`flashAttention\` | 8×1024×64, causal | float32 | 55.3 | 38.8 | 46 % |`,
    );
    expect(tables({ cases: [cases[1]] })).toMatch(
      /\| wall ms \|[^]*\| `matmul` \| 8×512×512×64 \| float16 \| 1,235 \|/,
    );
    expect(tables({ cases })).toContain('| GPU ms, else wall |');
  });

  test('tell the variants of a case', () => {
    const cases = [
      flashCase(1024, { softcap: 20, via: 'score-mod' }),
      flashCase(2048, { causal: true, window: 256, via: 'block-mask' }),
      flashCase(1024, { alibi: true, sinks: true, keyLengths: [300, 1024, 700] }),
      decodeCase(4096, { op: 'PagedKeyValueCache.attend', kvHeads: 1 }),
    ];
    const lines = tables({ cases }).split('\n').slice(-cases.length);
    expect(lines.map((line) => line.split(' | ')[1])).toEqual([
      '8×1024×64, softcap 20, by score-mod',
      '8×2048×64, causal, ±256, by block-mask',
      '8×1024×64, ALiBi, sinks, 300 to 1024 keys',
      '8×1×64, 4096 keys, 1 kv heads',
    ]);
  });

  test('give the times of all libraries and the ratio to the best that is right', () => {
    const lines = markdownTables(full).split('\n');
    expect(lines.filter((line) => /^\| (wall|flash|matmul|decode)/.test(line))).toEqual([
      '| wall ms | webgpu-attention | onnxruntime-web (initialised) | onnxruntime-web | tfjs-backend-webgpu | @jax-js/jax | onnxruntime-node (CPU) | times as fast as the best peer |',
      '| flash 8×1024×64 | 110 | 203 | 98.0 (wrong) | 786 | 947 | 30.0 | **1.85×** |',
      '| flash 8×1024×64 causal | 55.3 | 120 | – | – | – | 141 | **2.17×** |',
      '| matmul 1024³ | 92.4 | 519 | – | 482 | – | 25.0 | **5.22×** |',
      '| decode 1→4096 | 21.0 | – | – | – | 14.0 | – | **0.667×** |',
    ]);
    expect(markdownTables(full)).toContain('Measured on 5 May 2026: webgpu-attention 0.1.0, onnxruntime-web (init');
    expect(tables()).not.toContain('best peer');
  });

  test('fold many cases away, and list the failures', () => {
    expect(tables()).not.toContain('<details>');
    expect(markdownTables(full)).toContain(`<details><summary>All ${full.cases.length} cases</summary>\n\n| op |`);
    const failures = [{ name: 'softmax 1x1 float32', reason: 'off by 1' }];
    expect(tables({ failures })).toContain('Without figures: softmax 1x1 float32 (off by 1)');
  });

  test('escape the contents of names', () => {
    const device = { ...small.device, name: 'A|B <i> _R&D_ `c`\n# d' };
    expect(tables({ device })).toContain('**A\\|B \\<i\\> \\_R\\&D\\_ \\`c\\` # d**');
  });

  test('show no missing number as NaN or undefined', () => {
    const roof = { ...small.roof, f16Gflops: undefined };
    const unknown = { ...flashCase(512), gflops: Infinity, roofShare: NaN };
    const text = markdownTables({ ...full, roof, cases: [...full.cases, unknown] });
    expect(text).not.toMatch(/NaN|undefined|Infinity|null|\[object/);
    expect(text).not.toContain('in float16');
  });
});

describe('a document with tables', () => {
  const empty = 'before\n<!-- bench:begin -->\n<!-- bench:end -->\nafter\n';

  test('has them between its markers, and is then left as it is', () => {
    const filled = withTables(empty, [small]);
    expect(filled).toBe(`before\n<!-- bench:begin -->\n\n${markdownTables(small)}\n\n<!-- bench:end -->\nafter\n`);
    expect(withTables(filled, [small])).toBe(filled);
    expect(withTables(filled, [full])).not.toBe(filled);
    expect(withTables(empty, [small, small])).not.toContain('\n\n\n');
  });

  test('names GPUs before software drivers', () => {
    const gpu = { ...small, device: { ...small.device, name: 'A GPU', isSoftware: false } };
    expect(withTables(empty, [small, gpu])).toMatch(/\*\*A GPU\*\*[^]*\*\*llvmpipe/);
  });

  test('needs a place for them once there are results', () => {
    expect(withTables('none', [])).toBe('none');
    expect(withTables(empty, [])).toBe(empty);
    expect(() => withTables('none', [small])).toThrow('must hold <!-- bench:begin --> and after it <!-- bench:end -->');
    expect(() => withTables('<!-- bench:end --> <!-- bench:begin -->', [small])).toThrow('got no end');
  });
});
