import { describe, expect, test } from 'vitest';
import { loadDrawing } from '../../src/display/drawing.ts';
import { drawAttentionMaps, type AttentionMaps } from '../../src/display/heatmap.ts';

/** Two batch entries of six heads, 2 queries × 3 keys; weights 0, 1/100, 2/100 … */
const maps: AttentionMaps = {
  title: 'Attention <of> R&D',
  weights: Float32Array.from({ length: 2 * 6 * 2 * 3 }, (_, i) => i / 100),
  shape: [2, 6, 2, 3],
  queryLabels: [
    ['who', 'R&D'],
    ['<i>', '"q"'],
  ],
  keyLabels: [
    ['the', 'cat', 'the'],
    ['one', 'two', 'three'],
  ],
  headLabels: ['same word', 'next', 'c', 'd', 'e', 'f'],
};

async function draw(change: Partial<AttentionMaps> = {}): Promise<string> {
  return drawAttentionMaps({ ...maps, ...change }, (await loadDrawing())!);
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

describe('the drawing', () => {
  test('is one SVG of a fixed size on white', async () => {
    const svg = await draw();
    const [, width, height] = /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" width="(\d+)" height="(\d+)"/.exec(svg)!;
    expect(svg).toContain(`viewBox="0 0 ${width} ${height}"`);
    expect(svg).toContain(`<rect width="${width}" height="${height}" fill="white"/>`);
    expect(svg.endsWith('</svg>\n')).toBe(true);
    // Plot's rule would stretch the nested drawings
    expect(svg).not.toContain('<style');
  });

  test('labels its axes, heads, batch entries and colours', async () => {
    const svg = await draw();
    expect(count(svg, '>query position<')).toBe(12);
    expect(count(svg, '>key position<')).toBe(12);
    expect(count(svg, '>head 0: same word<')).toBe(2);
    expect(count(svg, '>head 5: f<')).toBe(2);
    for (const text of ['batch entry 0', 'batch entry 1', 'attention weight']) expect(svg).toContain(`>${text}<`);
    // one label per panel for each word, however often it occurs in the sentence
    expect(count(svg, '>the<')).toBe(2 * 6);
    expect(count(svg, '>who<')).toBe(6);
    // the ends of the colour scale
    expect(svg).toMatch(/>0<[^]*>0\.71</);
  });

  test('gives each weight to its query and key', async () => {
    const svg = await draw();
    const cell = (entry: number, head: number, query: number, key: number) => {
      const weight = (((entry * 6 + head) * 2 + query) * 3 + key) / 100;
      const words = `query ${query} (${maps.queryLabels[entry][query]}), key ${key} (${maps.keyLabels[entry][key]})`;
      return `<title>${words}: ${weight.toFixed(3)}</title>`;
    };
    expect(count(svg, '<title>query ')).toBe(72);
    expect(svg).toContain(cell(0, 0, 0, 2));
    expect(svg).toContain(cell(0, 5, 0, 1));
  });

  test('places queries downwards and keys to the right', async () => {
    const svg = await draw({
      weights: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
      shape: [1, 1, 2, 3],
      headLabels: undefined,
    });
    const at = (weight: string) => {
      const [rect] = new RegExp(`<rect [^>]*><title>[^<]*: ${weight}`).exec(svg)!;
      return ['x', 'y'].map((name) => Number(new RegExp(` ${name}="([\\d.]+)"`).exec(rect)![1]));
    };
    const [[x0, y0], [x1, y1], [x2, y2]] = [at('0.100'), at('0.300'), at('0.400')];
    expect(x1).toBeGreaterThan(x0);
    expect(y1).toBe(y0);
    expect(x2).toBe(x0);
    expect(y2).toBeGreaterThan(y0);
  });

  test('escapes the contents of labels', async () => {
    const svg = await draw();
    expect(svg).toContain('Attention &lt;of&gt; R&amp;D');
    expect(svg).toContain('>R&amp;D<');
    expect(svg).toContain('>&lt;i&gt;<');
    expect(svg).not.toMatch(/<i>|<of>|&(?!amp;|lt;|gt;|quot;)/);
  });

  test('writes the weights that are seen, without their leading zero', async () => {
    const svg = await draw({ weights: Float32Array.of(0.049, 0.05, 1, 0, 0.333, 0.617), shape: [1, 1, 2, 3] });
    const written = [...svg.matchAll(/<text [^>]*>(\d?\.\d\d)<\/text>/g)].map(([, text]) => text);
    expect(written).toEqual(['.05', '1.00', '.33', '.62']);
  });

  test('has no head titles where there is one head', async () => {
    expect(await draw({ weights: new Float32Array(12), shape: [2, 1, 2, 3], headLabels: undefined })).not.toContain(
      'head',
    );
  });

  test('grows with the longest words', async () => {
    const width = (svg: string) => Number(/width="(\d+)"/.exec(svg)![1]);
    const long = [['a rather long label', 'b'], maps.queryLabels[1]];
    expect(width(await draw({ queryLabels: long }))).toBeGreaterThan(width(await draw()) + 4 * 60);
  });

  test('is drawn where all weights are 0', async () => {
    expect(await draw({ weights: new Float32Array(72) })).not.toMatch(/NaN|Infinity|undefined/);
  });
});
