import { beforeAll, describe, expect, test } from 'vitest';
import { renderHtml } from '../../bench/report/html.ts';
import { parseResult } from '../../bench/result-text.ts';
import type { BenchResult, PeerEntry, PeerRow } from '../../bench/result.ts';
import { loadDrawing, type Drawing } from '../../src/display/drawing.ts';
import { decodeCase, flashCase, full, localCase, matmulCase, small, trainingCases } from './fixture.ts';

let drawing: Drawing;
beforeAll(async () => {
  drawing = (await loadDrawing())!;
});

const render = (change: Partial<BenchResult> = {}, base = small): string => renderHtml({ ...base, ...change }, drawing);

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

/** Texts as they are read: without markup, one space where there are several or a line break. */
function read(html: string): string {
  return html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
}

const untimed = full.cases.map((result) => ({ ...result, gpu: undefined }));
const withoutHalf = { ...small.roof, f16Gflops: undefined };
/** A clock too coarse to see the kernel: what is then not finite is null in JSON. */
const unseen = { ...flashCase(2048), gpu: { ...flashCase(2048).wall, median: 0, low: 0, min: 0 } };
const unknown = { ...unseen, gflops: Infinity, gbs: Infinity, roofShare: NaN };

const VARIANTS: readonly [string, BenchResult][] = [
  ['many cases and peers', full],
  ['two cases', small],
  ['no cases', { ...small, cases: [], failures: [{ name: 'matmul 1x1x1x1 float32', reason: 'The device was lost.' }] }],
  ['no float16', { ...full, roof: withoutHalf, cases: full.cases.filter(({ dtype }) => dtype === 'float32') }],
  ['no GPU times', { ...full, cases: untimed }],
  ['times of zero', { ...small, cases: [unknown, JSON.parse(JSON.stringify(unknown)), ...small.cases] }],
  [
    'one length',
    { ...small, cases: [flashCase(512), flashCase(512, { causal: true }), localCase(512, { window: 64 })] },
  ],
  ['a roof of nothing', { ...small, roof: { ...withoutHalf, f32Gflops: 0, copyGBs: 0 } }],
];

describe.each(VARIANTS)('of %s, the page', (_name, result) => {
  test('needs nothing from elsewhere', () => {
    const html = renderHtml(result, drawing);
    expect(html).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(html).not.toMatch(/<script|<link|<img|<iframe|@import|url\(|\ssrc=|\shref=/);
    const addresses = html.match(/https?:[^"'\s<]*/g) ?? [];
    expect(addresses.filter((address) => !address.startsWith('http://www.w3.org/'))).toEqual([]);
  });

  test('holds each case, once in the table', () => {
    const html = renderHtml(result, drawing);
    for (const { name } of result.cases) expect(html).toContain(`<td title="${name}">`);
    expect(count(html, '<td title="')).toBe(result.cases.length);
  });

  test('shows no missing number as NaN or undefined', () => {
    expect(renderHtml(result, drawing)).not.toMatch(/NaN|undefined|Infinity|null|\[object/);
  });
});

test('the page is made from what the command writes', () => {
  expect(renderHtml(parseResult(JSON.stringify(full), 'full.json'), drawing)).toBe(renderHtml(full, drawing));
});

test('the header tells the device, the driver, the versions and the host', () => {
  const text = read(render());
  for (const part of [
    'llvmpipe (LLVM 15.0.6, 256 bits)',
    'lavapipe, on the CPU',
    'Mesa 25.0.7',
    'webgpu-attention 0.1.0',
  ]) {
    expect(text).toContain(part);
  }
  expect(text).toContain('4 May 2026');
  expect(text).toContain('node 20.20.2, webgpu 0.6.2');
  expect(text).toContain('Example CPU @ 2.80GHz, 2 cores, linux-x64');
});

test('names from outside are escaped wherever they stand', () => {
  const evil = `<b>&"'</b>`;
  const safe = '&lt;b&gt;&amp;';
  const [row] = full.peers!.rows;
  const html = render({
    device: { ...small.device, name: evil, driver: evil, vendor: evil },
    cases: [{ ...flashCase(512), name: evil, kernel: evil }, flashCase(1024)],
    failures: [{ name: evil, reason: evil }],
    peers: {
      date: small.date,
      rows: [{ name: evil, entries: row.entries.map((entry) => ({ ...entry, library: evil })) }],
    },
  });
  expect(html).not.toContain('<b>');
  expect(html).not.toMatch(/&(?!(amp|lt|gt|quot|#39|nbsp);)/);
  expect(html).toContain(`<title>Attention kernels on ${safe}`);
  // the tooltip, in both roofline plots
  expect(html).toMatch(new RegExp(`<title>${safe}[^]*<title>${safe}[^]*GFLOP/s at`));
});

describe('the roofline plot', () => {
  /** Shorter where there is less room. */
  const FLOAT32_ROOF = />float32( arithmetic, measured)?: 85\.2 GFLOP\/s</g;

  test('has a dot with a tooltip for each case that computes anything, wide and narrow', () => {
    const html = render({}, full);
    for (const { name, flops } of full.cases) {
      const dots = count(html, `<title>${name}\n`);
      if (flops > 0) expect(dots).toBeGreaterThanOrEqual(2);
      else expect(dots).toBe(0);
    }
  });

  test('labels the roofs and the cases for which there is room', () => {
    const html = render();
    for (const label of [FLOAT32_ROOF, />copy, measured: 7\.30 GB\/s</g, />8×1024×64</g, />1024³</g]) {
      expect(html.match(label)).toHaveLength(2);
    }
  });

  test('has one roof where there is no float16', () => {
    expect(render()).toMatch(/>float16[^<]*46\.7 GFLOP\/s</);
    const html = render({ roof: withoutHalf });
    expect(html).not.toMatch(/46\.7/);
    expect(read(html)).toContain('float16 arithmetic none');
  });

  test('labels a roof even where dots lie on it', () => {
    const onRoof = [512, 1024, 2048, 4096, 8192].map((length) => ({ ...flashCase(length), gflops: 85 }));
    expect(render({ cases: onRoof }).match(FLOAT32_ROOF)).toHaveLength(2);
  });

  test('is left out where no case has a rate', () => {
    expect(render({ cases: [unknown] })).not.toContain('How close to the roof');
  });
});

describe('time and memory against length', () => {
  test('names each line where it ends', () => {
    const html = render({}, full);
    expect(html).toContain('<h3>8 heads of 64, float32</h3>');
    expect(html).toContain('<h3>8 heads of 64, float16</h3>');
    for (const name of ['materialised', 'flash', 'flash causal', 'local ±64', 'local ±256']) {
      expect(html).toMatch(new RegExp(`<text [^>]*>${name}</text>`));
    }
    // ops that need the same memory share a line
    expect(html).toContain('>flash, local</text>');
  });

  test('sums inputs, outputs and what is needed beyond them', () => {
    const html = render({}, full);
    // q, k, v and the output of 8 × 1024 × 64 floats are 2 MiB each; the scores before and after softmax 32 MiB each
    expect(html).toContain('<title>materialised, length 1024\n72 MiB</title>');
    expect(html).toContain('<title>flash, local, length 1024\n8 MiB</title>');
  });

  test('compares only cases that differ in nothing else', () => {
    const cases = [flashCase(512), flashCase(1024, { headDim: 128 }), flashCase(2048, { mask: 'bool' })];
    expect(render({ cases })).toContain('No attention was measured at more than one length');
    const decoding = [1, 128].map((length) => flashCase(length, { keyLength: 4096 }));
    expect(render({ cases: decoding })).toContain('No attention was measured at more than one length');
  });

  test('draws decoding against the length of the keys, in a chart of its own', () => {
    const html = render({}, full);
    expect(html).toContain('<h3>8 heads of 64, float32, one query</h3>');
    for (const name of ['flash', 'cache', 'paged cache'])
      expect(html).toMatch(new RegExp(`<text [^>]*>${name}</text>`));
    // keys and values of 8 × 4096 × 64 floats, 8 MiB each, and the query and the output
    expect(html).toContain('<title>flash, cache, length 4096\n16 MiB</title>');
    const cases = [512, 1024].map((length) => decodeCase(length, { op: 'KeyValueCache.append' }));
    expect(render({ cases })).toContain('No attention was measured at more than one length');
  });

  test('draws training, a pass forward and one back, in a chart of its own', () => {
    const html = render({}, full);
    expect(html).toContain('<h3>8 heads of 64, float32, forward and backward</h3>');
    const cases = [512, 1024].flatMap((length) => trainingCases.map((trained) => trained(length)));
    const alone = render({ cases });
    expect(alone).not.toContain('<h3>8 heads of 64, float32</h3>');
    // operands, output and their gradients, 8 × 1024 × 64 floats each, and three matrices of scores
    expect(alone).toContain('<title>materialised, length 1024\n112 MiB</title>');
    expect(alone).toContain('<title>flash, length 1024\n16 MiB</title>');
  });

  test('says by which clock', () => {
    const cases = [flashCase(512), flashCase(1024)];
    const [first, second] = cases.map((result) => ({ ...result, gpu: undefined }));
    expect(render({ cases })).toContain('>GPU time (ms)<');
    expect(render({ cases: [first, second] })).toContain('>wall time (ms)<');
    expect(render({ cases: [first, cases[1]] })).toContain('>GPU or wall time (ms)<');
  });
});

describe('the table of cases', () => {
  test('gives medians with their intervals, rates, memory and error', () => {
    const gpu = { median: 12.34, low: 12.1, high: 12.6, min: 12, max: 15, runs: 15 };
    const wall = { median: 13, low: 12.9, high: 13.2, min: 12.8, max: 15, runs: 15 };
    const result = {
      ...flashCase(512),
      gpu,
      wall,
      gflops: 43.21,
      gbs: 1234.5,
      roofShare: 0.507,
      extraBytes: 3 * 2 ** 20,
    };
    const text = read(render({ cases: [{ ...result, kernel: 'tile-32x32', error: 3.2e-7, tolerance: 1e-4 }] }));
    expect(text).toContain(
      '1×8×512×64 float32 tile-32x32 12.3 12.1–12.6 13.0 12.9–13.2 43.2 1,235 51 % 3 MiB 3.2e-7 of 1.0e-4',
    );
  });

  test('says so where there are no GPU times', () => {
    expect(render()).not.toContain('timestamp queries');
    expect(render({ cases: untimed })).toContain('This device has no timestamp queries');
    expect(render({ cases: [...untimed, ...small.cases] })).toContain('Cases without a GPU time');
  });

  test('marks an error past its tolerance', () => {
    expect(render()).not.toContain('<td class="bad">');
    expect(render({ cases: [{ ...matmulCase([1, 64, 64, 64]), error: 1 }] })).toContain('<td class="bad">1.0e+0');
  });

  test('is followed by the cases that have no figures', () => {
    expect(render()).not.toContain('Without figures');
    const failures = [{ name: 'softmax 1x1x8x8 float32', reason: 'The result is off by 0.1.' }];
    expect(read(render({ failures }))).toContain('softmax 1x1x8x8 float32 : The result is off by 0.1.');
  });
});

describe('the peers', () => {
  /** The group of one problem: its markup from its heading on. */
  function group(row: PeerRow): string {
    const html = render({ peers: { date: small.date, rows: [row] } });
    return html.slice(html.indexOf(`<h3>${row.name}</h3>`), html.indexOf('<h2>All cases'));
  }

  const [flash, causal, , decode] = full.peers!.rows;
  const change = (index: number, entry: Partial<PeerEntry>): PeerRow => {
    return { ...flash, entries: flash.entries.map((old, i) => (i === index ? { ...old, ...entry } : old)) };
  };

  test('are left out where they were not measured', () => {
    expect(render()).not.toContain('Against its peers');
    expect(render({ peers: { date: small.date, rows: [] } })).not.toContain('Against its peers');
  });

  test('are compared with ours by the fastest right one', () => {
    // the fastest of all is wrong, and the fastest of the others is on the CPU
    expect(read(group(flash))).toContain('1.85× as fast as onnxruntime-web (initialised), the best peer');
    expect(read(group(decode))).toContain('0.667× as fast as @jax-js/jax, the best peer');
  });

  test('are marked where they are wrong', () => {
    const wrong = /<li class="wrong">[^]*?<\/li>/g;
    const marked = group(flash).match(wrong)!;
    expect(marked).toHaveLength(1);
    expect(read(marked[0])).toMatch(/onnxruntime-web 1\.26\.0 wrong, off by 3\.1e-2 · 98\.0 ms/);
    expect(group(causal)).not.toMatch(wrong);
  });

  test('stand apart where they run on the CPU, whose times do not stretch the scale', () => {
    const text = group(causal);
    const [webgpu, cpu] = text.split('for scale, on the CPU');
    expect(webgpu).not.toContain('onnxruntime-node');
    expect(cpu).toMatch(/<li class="cpu beyond">[^]*onnxruntime-node \(CPU\)/);
    // 120 ms, its interval to 124.8 ms: the longest bar of those that are compared
    expect(webgpu).toContain('<div class="bar" style="width:96.15%">');
    expect(group(decode)).not.toContain('for scale');
  });

  test('say why they have no time', () => {
    expect(read(group(causal))).toContain('@jax-js/jax 0.1.25 – It has no causal option on WebGPU.');
  });

  test('have no ratio without a right result of ours, or of theirs', () => {
    expect(read(group(change(0, { isRight: false })))).toContain('no ratio: ours is wrong');
    expect(read(group(change(0, { timing: undefined, failure: 'No.' })))).toContain('no ratio: ours failed');
    expect(read(group({ ...flash, entries: flash.entries.slice(1) }))).toContain('not measured with ours');
    const alone = { ...flash, entries: [flash.entries[0], flash.entries[2], flash.entries[5]] };
    expect(read(group(alone))).toContain('no peer on WebGPU gave a right result');
  });
});
