/** Checks what is to be drawn, and reads it. */
import { ArgumentError, shorten } from '../../gpu/errors.ts';
import { checkOptions, kindOf } from '../../tensor/options.ts';
import { formatShape, sizeOf, type Shape } from '../../tensor/shape.ts';
import { Tensor } from '../../tensor/tensor.ts';
import type { Heatmap } from './scene.ts';

/** Weights on the host, row-major. */
export interface HeatmapWeights {
  readonly data: ArrayLike<number>;
  readonly shape: Shape;
}

export interface AttentionHeatmapOptions {
  /** The token at each position: one list for both axes, or one for each. Without them, the axes count positions. */
  labels?: readonly string[] | { readonly queries?: readonly string[]; readonly keys?: readonly string[] };
  /** Which heads are shown, in this order: one large, or several side by side. Default all. */
  heads?: number | readonly number[];
  /** What is written over each head of the weights, after its number. */
  headLabels?: readonly string[];
  /** Which entry of the batch is shown; default 0. */
  batch?: number;
  /** Written over the picture, and its name for readers who cannot see it. */
  title?: string;
  /** The weights at the ends of the colour scale, so that pictures can be compared. Default from 0 to the largest, in large pictures less. */
  range?: readonly [low: number, high: number];
  /**
   * `'light'` or `'dark'` ground. By default SVG has both and follows the reader's `prefers-color-scheme`, and a canvas takes what
   * that is now.
   */
  colorScheme?: 'auto' | 'light' | 'dark';
}

const OPTIONS = ['labels', 'heads', 'headLabels', 'batch', 'title', 'range', 'colorScheme'];

/**
 * Checks everything, and then reads the weights of the batch entry.
 *
 * @throws ArgumentError for weights or options that do not fit
 */
export async function readHeatmap(
  call: string,
  weights: Tensor | HeatmapWeights,
  options: AttentionHeatmapOptions,
): Promise<Heatmap> {
  checkOptions(call, options, OPTIONS);
  const shape = checkWeights(call, weights);
  const [queries, keys] = shape.slice(-2);
  const count = shape.at(-3) ?? 1;
  const { title, range, colorScheme, headLabels } = options;
  const batch = checkBatch(call, shape, options.batch);
  const heads = checkHeads(call, count, options.heads);
  const labels = checkLabels(call, queries, keys, options.labels);
  if (headLabels !== undefined) checkWords(call, 'headLabels', headLabels, count, 'heads');
  if (title !== undefined && typeof title !== 'string') fail(call, 'title', 'a string', title);
  if (colorScheme !== undefined && !['auto', 'light', 'dark'].includes(colorScheme)) {
    fail(call, 'colorScheme', "'auto', 'light' or 'dark'", colorScheme);
  }
  if (range !== undefined) checkRange(call, range);

  const size = queries * keys;
  const read =
    weights instanceof Tensor
      ? await readEntry(weights, batch)
      : part(weights.data, batch * count * size, (batch + 1) * count * size);
  const headingOf = (head: number) => (headLabels ? `head ${head}: ${headLabels[head]}` : `head ${head}`);
  return {
    heads: heads.map((head) => ({
      weights: part(read, head * size, (head + 1) * size),
      ...((count > 1 || headLabels) && { heading: headingOf(head) }),
    })),
    queries,
    keys,
    queryLabels: labels.queries,
    keyLabels: labels.keys,
    title,
    range,
  };
}

async function readEntry(weights: Tensor, batch: number): Promise<ArrayLike<number>> {
  if (weights.rank < 4) return weights.data();
  const entry = weights.device.scope(() => weights.detach().slice(0, batch, batch + 1));
  try {
    return await entry.data();
  } finally {
    entry.dispose();
  }
}

/** A view of typed arrays, a copy of others. */
function part(data: ArrayLike<number>, begin: number, end: number): ArrayLike<number> {
  return ArrayBuffer.isView(data)
    ? (data as Float32Array).subarray(begin, end)
    : (Array.prototype.slice.call(data, begin, end) as number[]);
}

function fail(call: string, name: string, expected: string, got: unknown): never {
  throw new ArgumentError(`${call}: ${name} must be ${expected}, got ${shorten(describe(got))}`);
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  return typeof value === 'number' ? String(value) : kindOf(value);
}

function checkWeights(call: string, weights: Tensor | HeatmapWeights): Shape {
  const isTensor = weights instanceof Tensor;
  if (isTensor) weights.assertAlive(call);
  const { shape, data } = (weights ?? {}) as HeatmapWeights;
  const isShape = Array.isArray(shape) && shape.every((length) => Number.isSafeInteger(length) && length >= 1);
  if (!isShape || (!isTensor && typeof data?.length !== 'number')) {
    fail(call, 'weights', 'a Tensor or { data, shape }', weights);
  }
  if (shape.length < 2 || shape.length > 4) {
    throw new ArgumentError(
      `${call}: weights must be [Nq, Nk], [H, Nq, Nk] or [B, H, Nq, Nk], got ${formatShape(shape)}`,
    );
  }
  if (!isTensor && data.length !== sizeOf(shape)) {
    throw new ArgumentError(
      `${call}: weights.data must have ${sizeOf(shape)} numbers for shape ${formatShape(shape)}, got ${data.length}`,
    );
  }
  return shape;
}

function checkBatch(call: string, shape: Shape, batch: number | undefined): number {
  if (batch === undefined) return 0;
  const most = shape.length === 4 ? shape[0] : 0;
  if (most === 0)
    throw new ArgumentError(`${call}: batch must come with weights [B, H, Nq, Nk], got ${formatShape(shape)}`);
  if (!Number.isInteger(batch) || batch < 0 || batch >= most)
    fail(call, 'batch', `an integer from 0 to ${most - 1}`, batch);
  return batch;
}

function checkHeads(call: string, count: number, heads: AttentionHeatmapOptions['heads']): readonly number[] {
  if (heads === undefined) return Array.from({ length: count }, (_, head) => head);
  const wanted: readonly unknown[] = Array.isArray(heads) ? heads : [heads];
  if (wanted.length === 0) fail(call, 'heads', 'a head, or a list of at least one', heads);
  for (const head of wanted) {
    const fits = Number.isInteger(head) && (head as number) >= 0 && (head as number) < count;
    if (!fits) fail(call, 'heads', count === 1 ? '0, the only head' : `integers from 0 to ${count - 1}`, head);
  }
  return wanted as readonly number[];
}

function checkLabels(
  call: string,
  queries: number,
  keys: number,
  labels: AttentionHeatmapOptions['labels'],
): { readonly queries?: readonly string[]; readonly keys?: readonly string[] } {
  if (labels === undefined) return {};
  if (Array.isArray(labels)) {
    if (queries !== keys) {
      throw new ArgumentError(
        `${call}: labels must be { queries, keys } for ${queries} queries and ${keys} keys, got one list`,
      );
    }
    checkWords(call, 'labels', labels, keys, 'positions');
    return { queries: labels, keys: labels };
  }
  checkOptions(`${call}.labels`, labels, ['queries', 'keys']);
  const own = labels as { readonly queries?: readonly string[]; readonly keys?: readonly string[] };
  if (own.queries !== undefined) checkWords(call, 'labels.queries', own.queries, queries, 'queries');
  if (own.keys !== undefined) checkWords(call, 'labels.keys', own.keys, keys, 'keys');
  return own;
}

function checkWords(call: string, name: string, words: unknown, count: number, what: string): void {
  const isList = Array.isArray(words) && words.every((word) => typeof word === 'string');
  if (!isList) fail(call, name, 'a list of strings', words);
  if (words.length !== count) {
    throw new ArgumentError(
      `${call}: ${name} must have a string for each of the ${count} ${what}, got ${words.length}`,
    );
  }
}

function checkRange(call: string, range: unknown): void {
  const isRange =
    Array.isArray(range) && range.length === 2 && range.every((end) => Number.isFinite(end)) && range[0] < range[1];
  if (!isRange) fail(call, 'range', 'two finite numbers, the lower first', range);
}
