/**
 * A Llama-architecture language model in float64, one token at a time with all earlier keys and values kept (Touvron et al. 2023,
 * arXiv:2302.13971; grouped heads from arXiv:2307.09288).
 *
 *     x = embedding[token]
 *     for each layer:  h = rmsNorm(x);  q, k, v = Wq h, Wk h, Wv h;  q, k turned by their position's angles
 *                      x += Wo · softmax(q kᵀ / √D) v        query head i reads key head ⌊i · Hkv / H⌋
 *                      h = rmsNorm(x);  x += W2 (silu(W1 h) ⊙ W3 h)
 *     logits = Wcls · rmsNorm(x)
 *
 * Pair (a, b) of frequency f at position p becomes (a cos pf − b sin pf, a sin pf + b cos pf). Interleaved, pair i is columns 2i and
 * 2i + 1 of a head; half-split, columns i and i + D/2.
 */

/** A matrix [rows, columns] or vector as plain numbers, row-major. */
type Numbers = ArrayLike<number>;

export interface ReferenceLayer {
  readonly attentionNorm: Numbers;
  readonly wq: Numbers;
  readonly wk: Numbers;
  readonly wv: Numbers;
  readonly wo: Numbers;
  readonly feedForwardNorm: Numbers;
  /** Gate, down and up, [hidden, dim], [dim, hidden], [hidden, dim]. */
  readonly w1: Numbers;
  readonly w2: Numbers;
  readonly w3: Numbers;
  /** Biases of Wq, Wk, Wv, Wo and of W1, W2, W3, where there are any. */
  readonly biases?: Partial<Record<'wq' | 'wk' | 'wv' | 'wo' | 'w1' | 'w2' | 'w3', Numbers>>;
}

export interface ReferenceModel {
  readonly dim: number;
  readonly hiddenDim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly normEps: number;
  readonly interleaved: boolean;
  /** Radians a position, one for each pair of columns. */
  readonly frequencies: readonly number[];
  readonly embedding: Numbers;
  readonly layers: readonly ReferenceLayer[];
  readonly finalNorm: Numbers;
  readonly classifier: Numbers;
}

/** Feeds tokens one after another; each call returns the logits [vocab] that follow the token. */
export class ReferenceRun {
  readonly #model: ReferenceModel;
  readonly #keys: Float64Array[][];
  readonly #values: Float64Array[][];
  #position = 0;

  constructor(model: ReferenceModel) {
    this.#model = model;
    this.#keys = model.layers.map(() => []);
    this.#values = model.layers.map(() => []);
  }

  step(token: number): Float64Array {
    const { dim, hiddenDim, heads, kvHeads, headDim, vocab, normEps, layers } = this.#model;
    let x: Float64Array = Float64Array.from({ length: dim }, (_, i) => this.#model.embedding[token * dim + i]);
    for (const [index, layer] of layers.entries()) {
      const { biases = {} } = layer;
      const h = rmsNorm(x, layer.attentionNorm, normEps);
      const q = this.#rotate(project(layer.wq, h, heads * headDim, biases.wq));
      this.#keys[index].push(this.#rotate(project(layer.wk, h, kvHeads * headDim, biases.wk)));
      this.#values[index].push(project(layer.wv, h, kvHeads * headDim, biases.wv));
      x = add(x, project(layer.wo, this.#attend(q, index), dim, biases.wo));
      const f = rmsNorm(x, layer.feedForwardNorm, normEps);
      const gate = project(layer.w1, f, hiddenDim, biases.w1);
      const up = project(layer.w3, f, hiddenDim, biases.w3);
      const joined = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
      x = add(x, project(layer.w2, joined, dim, biases.w2));
    }
    this.#position++;
    return project(this.#model.classifier, rmsNorm(x, this.#model.finalNorm, normEps), vocab);
  }

  #attend(q: Float64Array, layer: number): Float64Array {
    const { heads, kvHeads, headDim } = this.#model;
    const output = new Float64Array(heads * headDim);
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor((head * kvHeads) / heads) * headDim;
      const scores = this.#keys[layer].map((key) => {
        let score = 0;
        for (let d = 0; d < headDim; d++) score += q[head * headDim + d] * key[kv + d];
        return score / Math.sqrt(headDim);
      });
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      for (const [j, weight] of weights.entries()) {
        const value = this.#values[layer][j];
        for (let d = 0; d < headDim; d++) output[head * headDim + d] += (weight / sum) * value[kv + d];
      }
    }
    return output;
  }

  /** Every head of x at the position of the current token. */
  #rotate(x: Float64Array): Float64Array {
    const { headDim, interleaved, frequencies } = this.#model;
    const turned = Float64Array.from(x);
    for (let head = 0; head < x.length; head += headDim) {
      for (const [i, frequency] of frequencies.entries()) {
        const [a, b] = interleaved ? [head + 2 * i, head + 2 * i + 1] : [head + i, head + i + headDim / 2];
        const [cos, sin] = [Math.cos(this.#position * frequency), Math.sin(this.#position * frequency)];
        turned[a] = x[a] * cos - x[b] * sin;
        turned[b] = x[a] * sin + x[b] * cos;
      }
    }
    return turned;
  }
}

/** The logits after each of `tokens`. */
export function referenceLogits(model: ReferenceModel, tokens: readonly number[]): Float64Array[] {
  const run = new ReferenceRun(model);
  return tokens.map((token) => run.step(token));
}

/** The `count` tokens after the prompt if each is the likeliest, and the logits that each was taken from. */
export function referenceGreedy(
  model: ReferenceModel,
  prompt: readonly number[],
  count: number,
): { tokens: number[]; logits: Float64Array[] } {
  const run = new ReferenceRun(model);
  let next: Float64Array = new Float64Array();
  for (const token of prompt) next = run.step(token);
  const tokens: number[] = [];
  const logits: Float64Array[] = [];
  while (tokens.length < count) {
    logits.push(next);
    tokens.push(next.indexOf(Math.max(...next)));
    next = run.step(tokens.at(-1)!);
  }
  return { tokens, logits };
}

/** base^(−2i/D) for i < D/2. */
export function rotaryFrequencies(headDim: number, base = 10000): number[] {
  return Array.from({ length: headDim / 2 }, (_, i) => base ** ((-2 * i) / headDim));
}

/**
 * Llama 3.1's rescaling: wavelengths above original/low are divided by `factor`, those below original/high are kept, and between
 * them the two are mixed in proportion to where original/wavelength lies between low and high.
 */
export function llama3Frequencies(
  frequencies: readonly number[],
  scaling: { factor: number; low: number; high: number; original: number },
): number[] {
  const { factor, low, high, original } = scaling;
  return frequencies.map((frequency) => {
    const turns = (original * frequency) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return kept * frequency + ((1 - kept) * frequency) / factor;
  });
}

/** A checkpoint in llama2.c's first format, read without any check. */
export function readReferenceLlama2c(file: Uint8Array): ReferenceModel {
  const bytes = Uint8Array.from(file);
  const [dim, hiddenDim, layerCount, heads, kvHeads, signedVocab, maxLength] = new Int32Array(bytes.buffer, 0, 7);
  const vocab = Math.abs(signedVocab);
  const headDim = dim / heads;
  let at = 28;
  const take = (count: number): Float32Array => {
    const values = new Float32Array(bytes.buffer, at, count);
    at += 4 * count;
    return values;
  };
  const takeLayers = (count: number): Float32Array[] => Array.from({ length: layerCount }, () => take(count));
  const embedding = take(vocab * dim);
  const attentionNorm = takeLayers(dim);
  const wq = takeLayers(dim * dim);
  const wk = takeLayers(kvHeads * headDim * dim);
  const wv = takeLayers(kvHeads * headDim * dim);
  const wo = takeLayers(dim * dim);
  const feedForwardNorm = takeLayers(dim);
  const w1 = takeLayers(hiddenDim * dim);
  const w2 = takeLayers(dim * hiddenDim);
  const w3 = takeLayers(hiddenDim * dim);
  const finalNorm = take(dim);
  take(maxLength * headDim);
  return {
    dim,
    hiddenDim,
    heads,
    kvHeads,
    headDim,
    vocab,
    embedding,
    finalNorm,
    normEps: 1e-5,
    interleaved: true,
    frequencies: rotaryFrequencies(headDim),
    classifier: signedVocab > 0 ? embedding : take(vocab * dim),
    layers: attentionNorm.map((norm, i) => ({
      attentionNorm: norm,
      wq: wq[i],
      wk: wk[i],
      wv: wv[i],
      wo: wo[i],
      feedForwardNorm: feedForwardNorm[i],
      w1: w1[i],
      w2: w2[i],
      w3: w3[i],
    })),
  };
}

/** W x + b for W [rows, x.length]. */
function project(weight: Numbers, x: Float64Array, rows: number, bias?: Numbers): Float64Array {
  const result = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    let sum = bias?.[row] ?? 0;
    for (let i = 0; i < x.length; i++) sum += weight[row * x.length + i] * x[i];
    result[row] = sum;
  }
  return result;
}

function rmsNorm(x: Float64Array, weight: Numbers, eps: number): Float64Array {
  const meanSquare = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, i) => (value / Math.sqrt(meanSquare + eps)) * weight[i]);
}

function add(x: Float64Array, y: Float64Array): Float64Array {
  return x.map((value, i) => value + y[i]);
}
