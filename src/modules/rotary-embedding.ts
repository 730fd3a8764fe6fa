import { ArgumentError } from '../gpu/errors.ts';
import { checkBoolean, checkFinite } from '../ops/internal/check.ts';
import { rotaryEmbedding, type RotaryPositions } from '../ops/rotary-embedding.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions } from '../tensor/options.ts';
import type { FloatTensor, Tensor } from '../tensor/tensor.ts';
import { checkSizes } from './check.ts';
import { Module } from './module.ts';
import { checkScaling, rotaryFrequencies, type RotaryScaling } from './rotary-frequencies.ts';

export type { RotaryScaling } from './rotary-frequencies.ts';

export interface RotaryEmbeddingModuleOptions {
  /** R, the number of columns of a head that are rotated: the head dim, or less. Even. */
  dim: number;
  /** Pair i rotates by base^(−2i/dim) radians per position; default 10000. */
  base?: number;
  /** P: the tables have positions 0 to P − 1. */
  maxLength: number;
  /** Rotates columns 2i and 2i + 1 together, as llama2.c does; default i and i + R/2, as in GPT-NeoX and Hugging Face. */
  interleaved?: boolean;
  /** For longer texts than the model was trained on. */
  scaling?: RotaryScaling;
}

/**
 * Rotary position embedding with its tables, `cos` and `sin` [maxLength, dim / 2], made in float64 and stored in float32.
 * The state dict does not contain them.
 */
export class RotaryEmbedding extends Module {
  readonly dim: number;
  readonly maxLength: number;
  readonly interleaved: boolean;
  /** The factor by which YaRN multiplies the tables, and so the scores by its square; without YaRN, 1. */
  readonly attentionFactor: number;
  /** float32 [maxLength, dim / 2]: the attention factor times the cosines. The module owns it. */
  readonly cos: Tensor;
  /** float32 [maxLength, dim / 2]: the attention factor times the sines. The module owns it. */
  readonly sin: Tensor;
  readonly #base: number;
  readonly #scaling: RotaryScaling | undefined;

  /** @throws ArgumentError for options that do not fit */
  constructor(device: Device, options: RotaryEmbeddingModuleOptions) {
    const name = 'RotaryEmbedding';
    super(name);
    checkOptions(name, options, ['dim', 'base', 'maxLength', 'interleaved', 'scaling']);
    const { dim, base = 10000, maxLength, interleaved = false, scaling } = options;
    checkSizes(name, { dim, maxLength });
    if (dim % 2 !== 0) throw new ArgumentError(`${name}: dim must be even, got ${dim}`);
    checkFinite(name, 'base', base);
    if (base <= 1) throw new ArgumentError(`${name}: base must exceed 1, got ${base}`);
    checkBoolean(name, 'interleaved', interleaved);
    if (scaling !== undefined) checkScaling(name, dim, scaling);
    const shape = [maxLength, dim / 2];
    device.checkRoom(name, [shape, shape], 'float32');
    const { frequencies, attentionFactor } = rotaryFrequencies(dim, base, scaling);
    this.dim = dim;
    this.maxLength = maxLength;
    this.interleaved = interleaved;
    this.attentionFactor = attentionFactor;
    this.#base = base;
    this.#scaling = scaling && { ...scaling };
    const table = (turn: (angle: number) => number) =>
      device.tensor(
        Float32Array.from({ length: maxLength * frequencies.length }, (_, at) => {
          const position = Math.floor(at / frequencies.length);
          return attentionFactor * turn(position * frequencies[at % frequencies.length]);
        }),
        shape,
      );
    const tables = device.scope(() => ({ cos: table(Math.cos), sin: table(Math.sin) }));
    this.cos = tables.cos;
    this.sin = tables.sin;
    device.keep(this.cos);
    device.keep(this.sin);
  }

  protected override extraRepr(): Readonly<Record<string, unknown>> {
    const { dim, maxLength, interleaved } = this;
    return { dim, maxLength, base: this.#base, interleaved, scaling: this.#scaling };
  }

  /**
   * Rotates queries or keys by their positions, which start at `offset`.
   *
   * @param x [B, H, N, D] or [B, N, D] with D ≥ dim; float32 or float16
   * @returns a tensor of x's shape and dtype
   */
  forward(x: Tensor, options: RotaryPositions = {}): FloatTensor {
    checkOptions(`${this.name}.forward`, options, ['offset', 'positions']);
    const { offset, positions } = options;
    return rotaryEmbedding(x, this.cos, this.sin, { offset, positions, interleaved: this.interleaved });
  }

  override dispose(): void {
    this.cos.dispose();
    this.sin.dispose();
    super.dispose();
  }
}
