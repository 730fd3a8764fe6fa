import { fileURLToPath } from 'node:url';
import { inflateSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  ArgumentError,
  attentionHeatmap,
  drawAttentionHeatmap,
  type AttentionHeatmapOptions,
  type Device,
  type HeatmapCanvasContext,
  type HeatmapWeights,
} from '../../src/index.ts';
import { readExample } from '../cli/example.ts';
import { testDevice } from '../device.ts';

/** 0, 1/100, 2/100, … */
function counting(...shape: number[]): HeatmapWeights {
  const size = shape.reduce((product, length) => product * length, 1);
  return { data: Float32Array.from({ length: size }, (_, i) => i / 100), shape };
}

const draw = (weights: HeatmapWeights, options?: AttentionHeatmapOptions) => attentionHeatmap(weights, options);

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

/** What is written, in the order of the file. */
function written(svg: string): string[] {
  return [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
}

const LABELS = { queries: ['who', 'R&D'], keys: ['the', 'cat', 'the'] };

describe('the SVG', () => {
  test('has one size, a name and a description', async () => {
    const svg = await draw(counting(2, 2, 3), { title: 'Attention <of> R&D' });
    const [, width, height] = /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" [^>]* width="(\d+)" height="(\d+)"/.exec(
      svg,
    )!;
    expect(svg).toContain(`viewBox="0 0 ${width} ${height}" role="img"`);
    expect(svg).toContain('>\n<title>Attention &lt;of&gt; R&amp;D</title>\n<desc>');
    expect(svg).toContain(
      '<desc>A matrix of 2 queries and 3 keys for each of 2 heads, coloured from 0 to 0.11.</desc>',
    );
    expect(svg.endsWith('</svg>\n')).toBe(true);
    expect(await draw(counting(1, 1))).toContain('<title>Attention weights</title>');
  });

  test('labels its axes, heads and colours', async () => {
    const svg = await draw(counting(2, 2, 3), { labels: LABELS, headLabels: ['same word', 'next'], title: 'T' });
    const texts = written(svg).filter((text) => !/^\.\d\d$/.test(text));
    expect(texts.join(', ')).toBe(
      [
        'T, weight, 0, 0.11, exactly 0, as masked',
        // words beside the first head of a row, and below each
        'head 0: same word, who, R&amp;D, query, the, cat, the, key',
        'head 1: next, the, cat, the, key',
      ].join(', '),
    );
  });

  test('gives each weight to its query and key', async () => {
    const svg = await draw(counting(2, 2, 3), { labels: LABELS });
    const titles = [...svg.matchAll(/<rect x="(\d+)" y="(\d+)"[^>]*><title>([^<]*)<\/title>/g)];
    expect(titles.map(([, , , title]) => title)).toEqual(
      [0, 1].flatMap((head) =>
        ['who', 'R&amp;D'].flatMap((query, i) =>
          ['the', 'cat', 'the'].map((key, j) => {
            const weight = (head * 6 + i * 3 + j) / 100;
            return `query ${i} (${query}), key ${j} (${key}): ${weight === 0 ? '0' : weight.toFixed(3)}`;
          }),
        ),
      ),
    );
    // queries run downwards, keys to the right
    expect(titles.slice(0, 4).map(([, x, y]) => [Number(x), Number(y)])).toEqual([
      [0, 0],
      [30, 0],
      [60, 0],
      [0, 30],
    ]);
  });

  test('counts positions where there are no words', async () => {
    const svg = await draw(counting(3, 3));
    expect(svg).toContain('<title>query 2, key 1: 0.070</title>');
    expect(written(svg)).toContain('query position');
    const long = await draw({ data: new Float32Array(60 * 60).fill(1 / 60), shape: [60, 60] });
    expect(written(long).filter((text) => /^\d+$/.test(text))).toEqual(
      expect.arrayContaining(['0', '5', '10', '15', '55']),
    );
  });

  test('opacity grows with the weight from 0 to the largest', async () => {
    const svg = await draw({ data: [0.25, 0.5, 0.125, 0.1], shape: [2, 2] });
    const opacities = [...svg.matchAll(/fill-opacity="([\d.]+)"><title>/g)].map(([, opacity]) => Number(opacity));
    expect(opacities).toEqual([0.5, 1, 0.25, 0.2]);
  });

  test('zeros of weights are hatched whatever the range, those of scores are not, and the legend agrees', async () => {
    const hatched = (svg: string) => svg.includes('exactly 0, as masked');
    const weights = await draw({ data: [1, 0, 0.5, 0.5], shape: [2, 2] }, { range: [0.1, 1] });
    expect(hatched(weights)).toBe(true);
    const without = await draw({ data: [1, 0.2, 0.5, 0.5], shape: [2, 2] }, { range: [0.1, 1] });
    expect(count(weights, 'class="hatch"')).toBeGreaterThan(count(without, 'class="hatch"'));
    const scores = await draw({ data: [1, 0, -0.5, 0.5], shape: [2, 2] }, { range: [0, 1] });
    expect(hatched(scores)).toBe(false);
    expect(count(scores, 'class="hatch"')).toBe(count(without, 'class="hatch"'));
  });

  test('a range fixes the scale, and what is beyond looks like its end', async () => {
    const svg = await draw({ data: [0.25, 0.5, 0.125, 0.1], shape: [2, 2] }, { range: [0, 0.25] });
    expect([...svg.matchAll(/fill-opacity="([\d.]+)"><title>/g)].map(([, opacity]) => Number(opacity))).toEqual([
      1, 1, 0.5, 0.4,
    ]);
    expect(written(svg)).toContain('≥ 0.25');
  });

  test('weights of exactly 0 are hatched, and what is no number is marked', async () => {
    const svg = await draw({ data: [1, 0, 1e-9, NaN], shape: [2, 2] });
    expect(svg).toContain('<path class="hatch" d="M30 30l30 -30"/>');
    expect(svg).toContain('class="bad"><title>query 1, key 1: NaN</title>');
    expect(written(svg)).toEqual(expect.arrayContaining(['exactly 0, as masked', 'not a number']));
    expect(svg).toContain('<title>query 1, key 0: 1.00e-9</title>');
    const plain = await draw({ data: [0.5, 0.5], shape: [1, 2] });
    expect(plain).not.toMatch(/class="hatch"|class="bad"/);
  });

  test('scores are drawn from the lowest to the highest, and −∞ is masked', async () => {
    const svg = await draw({ data: [-4, 0, 4, -Infinity], shape: [2, 2] });
    expect([...svg.matchAll(/fill-opacity="([\d.]+)"><title>/g)].map(([, opacity]) => Number(opacity))).toEqual([
      0, 0.5, 1, 0,
    ]);
    expect(written(svg)).toEqual(expect.arrayContaining(['-4', '4', 'masked']));
  });

  test('writes the weights that are seen, without their leading zero', async () => {
    const svg = await draw({ data: [0.049, 0.05, 1, 0, 0.333, 0.617], shape: [2, 3] });
    expect(written(svg).filter((text) => /^\d?\.\d\d$/.test(text))).toEqual(['.05', '1.00', '.33', '.62']);
    expect(svg).toContain('<text class="strong" x="75" y="18.24">1.00</text>');
    expect(svg).toContain('<text class="weak" x="45" y="48.24">.33</text>');
  });

  test('shows the heads that are asked for, in their order', async () => {
    const svg = await draw(counting(4, 2, 2), { heads: [3, 1] });
    expect(written(svg).filter((text) => text.startsWith('head'))).toEqual(['head 3', 'head 1']);
    expect(svg.match(/key 0: \d\.\d+/)![0]).toBe('key 0: 0.120');
    const one = await draw(counting(4, 2, 2), { heads: 2 });
    expect(written(one).filter((text) => text.startsWith('head'))).toEqual(['head 2']);
  });

  test('shows the batch entry that is asked for', async () => {
    const titles = async (batch?: number) => (await draw(counting(2, 1, 1, 2), { batch })).match(/key \d: \d[.\d]*/g);
    expect(await titles()).toEqual(['key 0: 0', 'key 1: 0.010']);
    expect(await titles(1)).toEqual(['key 0: 0.020', 'key 1: 0.030']);
  });

  test('has no heading where there is one head', async () => {
    expect(written(await draw(counting(2, 2))).some((text) => text.startsWith('head'))).toBe(false);
    expect(written(await draw(counting(1, 2, 2))).some((text) => text.startsWith('head'))).toBe(false);
  });

  test('of zeros and of NaN alone is a picture', async () => {
    expect(await draw({ data: new Float32Array(4), shape: [2, 2] })).not.toMatch(/NaN|Infinity|undefined/);
    const nothing = await draw({ data: new Float32Array(4).fill(NaN), shape: [2, 2] });
    expect(nothing.replaceAll(/: NaN</g, '')).not.toMatch(/NaN|undefined/);
  });

  test('is wide enough for its words', async () => {
    const width = async (word: string) => {
      const svg = await draw(counting(12, 12), { labels: [word, ...Array.from('bcdefghijkl')] });
      return Number(/width="(\d+)"/.exec(svg)![1]);
    };
    expect(await width('quite a long word')).toBeGreaterThan((await width('a')) + 60);
    // longer words are cut in the picture, and whole in the tooltips
    const word = 'a'.repeat(100);
    const svg = await draw(counting(2, 2), { labels: [word, 'b'] });
    expect(written(svg)).toContain(`${'a'.repeat(17)}…`);
    expect(svg).toContain(`(${word})`);
  });
});

describe('text from users', () => {
  const EVIL = `</text><script>alert("1")</script><text x='&`;

  test('is escaped wherever it stands', async () => {
    const svg = await draw(counting(2, 1, 1), {
      labels: [EVIL],
      headLabels: [EVIL, EVIL],
      title: EVIL,
    });
    expect(svg).not.toContain('<script');
    expect(svg).not.toMatch(/&(?!(amp|lt|gt|quot|#39);)/);
    expect(count(svg, '&lt;script&gt;')).toBeGreaterThanOrEqual(2);
    expect(count(svg, '<text')).toBe(count(svg, '</text>'));
  });

  test('holds nothing that XML forbids', async () => {
    const svg = await draw(counting(1, 1), { labels: ['a\0b\x1bc\ud800d\uffff'], title: '\b' });
    expect(svg).toContain('(a\ufffdb\ufffdc\ufffdd\ufffd)');
    // oxlint-disable-next-line no-control-regex
    expect(svg).not.toMatch(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/);
    expect(svg).not.toMatch(/[\ud800-\udfff]/);
  });

  test('is visible where it is a blank', async () => {
    const svg = await draw(counting(4, 4), { labels: ['\n', '  ', '\t', ' the'] });
    expect(written(svg)).toEqual(expect.arrayContaining(['⏎', '␣␣', '⇥', 'the']));
  });
});

describe('light and dark', () => {
  const style = (svg: string) => /<style>(.*)<\/style>/.exec(svg)![1];

  test('both are in one picture, which follows its reader, and pages can set the colours', async () => {
    const css = style(await draw(counting(1, 1)));
    const [light, dark] = css.split('@media screen and (prefers-color-scheme:dark){');
    expect(light).toContain('.attention-heatmap-auto .paper{fill:#ffffff;fill:var(--attention-heatmap-paper,#ffffff)}');
    expect(dark).toContain('.attention-heatmap-auto .paper{fill:#14181f;fill:var(--attention-heatmap-paper,#14181f)}');
    expect(light).toContain('stroke:var(--attention-heatmap-line,');
  });

  test('one alone, with rules that do not touch another picture of the page', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      const svg = await draw(counting(1, 1), { colorScheme });
      expect(svg).toContain(`class="attention-heatmap-${colorScheme}"`);
      expect(style(svg)).not.toContain('@media');
      expect(
        style(svg)
          .match(/[^{}]+(?=\{)/g)!
          .every((rule) => rule.includes(`.attention-heatmap-${colorScheme} `)),
      ).toBe(true);
    }
  });
});

describe('a large picture', () => {
  /** The pixels of each mask: those of weights, and before them those that are not masked, if some are. */
  function images(svg: string): { width: number; height: number; pixels: Uint8Array }[] {
    return [...svg.matchAll(/href="data:image\/png;base64,([^"]*)"/g)].map(([, text]) => {
      const png = Buffer.from(text, 'base64');
      const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
      const rows = inflateSync(png.subarray(41, 41 + png.readUInt32BE(33)));
      const pixels = new Uint8Array(width * height);
      for (let row = 0; row < height; row++) {
        expect(rows[row * (width + 1)]).toBe(0);
        pixels.set(rows.subarray(row * (width + 1) + 1, (row + 1) * (width + 1)), row * width);
      }
      return { width, height, pixels };
    });
  }

  test('has a pixel for each cell', async () => {
    const [rows, columns] = [100, 120];
    const data = Float32Array.from({ length: rows * columns }, (_, i) => ((i % 7) + 1) / 7);
    const svg = await draw({ data, shape: [rows, columns] });
    const [image, ...others] = images(svg);
    expect(others).toEqual([]);
    expect([image.width, image.height]).toEqual([columns, rows]);
    expect([...image.pixels]).toEqual(Array.from(data, (weight) => Math.round(255 * weight)));
    expect(svg).not.toContain('<title>query');
    expect(svg).not.toContain('class="hatch"');
  });

  test('tells masked cells from small weights, and marks NaN', async () => {
    const data = new Float32Array(100 * 100).fill(1e-6);
    data[0] = 1;
    data[1] = 0;
    data[2] = NaN;
    const [present, weights, bad] = images(await draw({ data, shape: [100, 100] }, { range: [0, 1] }));
    expect([...present.pixels.subarray(0, 4)]).toEqual([255, 0, 0, 255]);
    expect([...weights.pixels.subarray(0, 4)]).toEqual([255, 0, 0, 0]);
    expect([...bad.pixels.subarray(0, 4)]).toEqual([0, 0, 255, 0]);
  });

  test('of more cells than pixels shows the largest of several, so that no strong key is lost', async () => {
    const length = 1500;
    const data = new Float32Array(length * length).fill(1 / length);
    data[701 * length + 1499] = 1;
    const [image] = images(await draw({ data, shape: [length, length] }, { range: [0, 1] }));
    expect([image.width, image.height]).toEqual([750, 750]);
    expect(image.pixels[350 * 750 + 749]).toBe(255);
    expect(image.pixels.filter((share) => share === 255)).toHaveLength(1);
  });

  test('has few pixels for each of many heads', async () => {
    const svg = await draw({ data: new Float32Array(64 * 300 * 300).fill(0.5), shape: [64, 300, 300] });
    const all = images(svg);
    expect(all).toHaveLength(64);
    expect(all[0].width).toBe(150);
  });

  test('ends its scale where nearly all attention lies', async () => {
    const length = 200;
    // causal and even: weights of 1, 1/2, 1/3, …
    const data = Float32Array.from({ length: length * length }, (_, i) => {
      const row = Math.floor(i / length);
      return i % length <= row ? 1 / (row + 1) : 0;
    });
    const end = written(await draw({ data, shape: [length, length] })).find((text) => text.startsWith('≥'))!;
    // 95 % of the rows have weights of at most 1/11
    expect(Number(end.slice(2))).toBeGreaterThanOrEqual(1 / 11.1);
    expect(Number(end.slice(2))).toBeLessThan(1 / 8);
    // a diagonal of large weights is not beyond the scale
    const sharp = Float32Array.from({ length: length * length }, (_, i) =>
      i % (length + 1) === 0 ? 0.9 : 0.1 / length,
    );
    expect(written(await draw({ data: sharp, shape: [length, length] }))).toContain('0.9');
  });
});

describe('a tensor', () => {
  let device: Device;
  beforeAll(async () => {
    device = await testDevice();
  });

  test('is read and stays the caller’s', async () => {
    const { data, shape } = counting(2, 2, 2, 3);
    const weights = device.tensor(data as Float32Array, shape, { requiresGrad: true });
    const { live } = device.memory();
    for (const batch of [0, 1]) {
      expect(await attentionHeatmap(weights, { batch })).toBe(await draw({ data, shape }, { batch }));
    }
    expect(device.memory().live).toBe(live);
    expect(weights.disposed).toBe(false);
    weights.dispose();
  });

  test('of bools is a picture of a mask', async () => {
    const mask = device.tensor(Uint8Array.of(1, 0, 1, 1), [2, 2]);
    expect(count(await attentionHeatmap(mask), ': 1.000</title>')).toBe(3);
  });

  test('that is disposed is refused', async () => {
    const weights = device.zeros([2, 2]);
    weights.dispose();
    await expect(attentionHeatmap(weights)).rejects.toThrow(
      new ArgumentError('attentionHeatmap: the tensor of shape [2, 2] is disposed'),
    );
  });
});

test("the documents' picture is drawn so", async () => {
  const { runs, tensors } = readExample();
  const { queryLabels, headLabels } = runs.find(({ name }) => name === 'SelfAttention')!;
  const { data, shape } = tensors['SelfAttention/weights'];
  const picture = await attentionHeatmap(
    { data: new Float32Array(data.slice().buffer), shape },
    { heads: [0, 2], labels: queryLabels![0], headLabels, title: 'Self-attention' },
  );
  const file = new URL('../../docs/attention-heatmap.svg', import.meta.url);
  await expect(picture).toMatchFileSnapshot(fileURLToPath(file));
});

test.each<[string, unknown, unknown, string]>([
  ['no weights', undefined, {}, 'weights must be a Tensor or { data, shape }, got undefined'],
  ['an array', [1, 2], {}, 'weights must be a Tensor or { data, shape }, got an array of numbers'],
  ['one axis', counting(3), {}, 'weights must be [Nq, Nk], [H, Nq, Nk] or [B, H, Nq, Nk], got [3]'],
  ['too few numbers', { data: [1], shape: [1, 2] }, {}, 'weights.data must have 2 numbers for shape [1, 2], got 1'],
  ['a batch of none', counting(2, 2), { batch: 0 }, 'batch must come with weights [B, H, Nq, Nk], got [2, 2]'],
  ['a batch too far', counting(2, 1, 2, 2), { batch: 2 }, 'batch must be an integer from 0 to 1, got 2'],
  ['a head too far', counting(2, 2, 2), { heads: [0, 2] }, 'heads must be integers from 0 to 1, got 2'],
  ['a second head', counting(2, 2), { heads: 1 }, 'heads must be 0, the only head, got 1'],
  [
    'no heads',
    counting(2, 2, 2),
    { heads: [] },
    'heads must be a head, or a list of at least one, got an array of numbers',
  ],
  [
    'one list for two axes',
    counting(2, 3),
    { labels: ['a', 'b'] },
    'labels must be { queries, keys } for 2 queries and 3 keys, got one list',
  ],
  ['too few labels', counting(2, 2), { labels: ['a'] }, 'labels must have a string for each of the 2 positions, got 1'],
  [
    'too many keys',
    counting(1, 2),
    { labels: { keys: ['a', 'b', 'c'] } },
    'labels.keys must have a string for each of the 2 keys, got 3',
  ],
  [
    'numbers as labels',
    counting(2, 2),
    { labels: [1, 2] },
    'labels must be a list of strings, got an array of numbers',
  ],
  [
    'too few head labels',
    counting(2, 2, 2),
    { headLabels: ['a'] },
    'headLabels must have a string for each of the 2 heads, got 1',
  ],
  ['a title that is none', counting(2, 2), { title: 3 }, 'title must be a string, got 3'],
  [
    'a range that falls',
    counting(2, 2),
    { range: [1, 0] },
    'range must be two finite numbers, the lower first, got an array of numbers',
  ],
  [
    'another scheme',
    counting(2, 2),
    { colorScheme: 'sepia' },
    "colorScheme must be 'auto', 'light' or 'dark', got 'sepia'",
  ],
  ['an unknown option', counting(2, 2), { head: 1 }, "unknown option 'head'; did you mean 'heads'?"],
])('%s: refused', async (_name, weights, options, message) => {
  const call = attentionHeatmap(weights as HeatmapWeights, options as AttentionHeatmapOptions);
  await expect(call).rejects.toThrow(new ArgumentError(`attentionHeatmap: ${message}`));
});

describe('on a canvas', () => {
  /** Pixels as a real canvas has them, and a list of what else was drawn. */
  class Canvas implements HeatmapCanvasContext {
    readonly canvas: { width: number; height: number };
    readonly pixels: Uint8ClampedArray;
    readonly texts: string[] = [];
    fillStyle: unknown = '';
    strokeStyle: unknown = '';
    lineWidth = 1;
    font = '';
    textAlign: unknown = '';
    textBaseline: unknown = '';
    readonly transforms: number[][] = [];

    constructor(width: number, height: number) {
      this.canvas = { width, height };
      this.pixels = new Uint8ClampedArray(width * height * 4);
    }
    save(): void {}
    restore(): void {}
    translate(): void {}
    rotate(): void {}
    strokeRect(): void {}
    setTransform(...matrix: number[]): void {
      this.transforms.push(matrix);
    }
    fillRect(x: number, y: number, width: number, height: number): void {
      expect([x, y, width, height]).toEqual([0, 0, this.canvas.width, this.canvas.height]);
      const value = Number.parseInt(String(this.fillStyle).slice(1), 16);
      for (let i = 0; i < this.pixels.length; i += 4)
        this.pixels.set([value >> 16, (value >> 8) & 255, value & 255, 255], i);
    }
    fillText(text: string): void {
      this.texts.push(text);
    }
    createImageData(width: number, height: number) {
      return { width, height, data: new Uint8ClampedArray(width * height * 4) };
    }
    putImageData(image: { width: number; height: number; data: Uint8ClampedArray }, left: number, top: number): void {
      for (let row = 0; row < image.height; row++) {
        const line = image.data.subarray(row * image.width * 4, (row + 1) * image.width * 4);
        this.pixels.set(line, ((top + row) * this.canvas.width + left) * 4);
      }
    }
    at(x: number, y: number): number[] {
      return [...this.pixels.subarray((y * this.canvas.width + x) * 4, (y * this.canvas.width + x) * 4 + 3)];
    }
  }

  const weights = { data: [1, 0, 0.5, NaN], shape: [2, 2] };

  test('the cells have the colours of the SVG, at twice the size too', async () => {
    const svg = await draw(weights);
    const [, width, height] = /width="(\d+)" height="(\d+)"/.exec(svg)!.map(Number);
    const [, x, y] = /translate\(([\d.]+) ([\d.]+)\)/.exec(svg)!.map(Number);
    for (const zoom of [1, 2]) {
      const canvas = new Canvas(width * zoom, height * zoom);
      await drawAttentionHeatmap(canvas, weights, { colorScheme: 'light' });
      const cell = (row: number, column: number) =>
        canvas.at(zoom * (x + 30 * column + 13), zoom * (y + 30 * row + 11));
      expect(cell(0, 0)).toEqual([0x0b, 0x3d, 0x91]);
      expect(cell(1, 0)).toEqual([0x85, 0x9e, 0xc8]);
      expect(cell(1, 1)).toEqual([0xc2, 0x41, 0x0c]);
      expect([
        [255, 255, 255],
        [0xc3, 0xca, 0xd4],
      ]).toContainEqual(cell(0, 1));
      expect(canvas.at(0, 0)).toEqual([255, 255, 255]);
      expect(canvas.transforms.at(-1)).toEqual([zoom, 0, 0, zoom, 0, 0]);
      expect(canvas.texts.toSorted()).toEqual(written(svg).toSorted());
    }
  });

  test('the ground is the reader’s: light unless the page prefers dark', async () => {
    const ground = async () => {
      const canvas = new Canvas(400, 300);
      await drawAttentionHeatmap(canvas, weights);
      return canvas.at(399, 299);
    };
    expect(await ground()).toEqual([255, 255, 255]);
    const page = globalThis as { matchMedia?: (query: string) => { matches: boolean } };
    page.matchMedia = (query) => ({ matches: query === '(prefers-color-scheme: dark)' });
    try {
      expect(await ground()).toEqual([0x14, 0x18, 0x1f]);
    } finally {
      delete page.matchMedia;
    }
  });

  test('what is no canvas is refused', async () => {
    await expect(drawAttentionHeatmap({ getContext: 1 } as never, weights)).rejects.toThrow(
      new ArgumentError("drawAttentionHeatmap: context must be a canvas's '2d' context, got Object"),
    );
  });
});
