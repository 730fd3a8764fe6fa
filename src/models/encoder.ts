/** Encoders: networks that give each token, or each patch of an image, a vector. */
import { ArgumentError } from '../gpu/errors.ts';
import { checkIntegers, checkTensor, describe } from '../ops/internal/check.ts';
import type { Device } from '../tensor/device.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { formatShape } from '../tensor/shape.ts';
import { Tensor, type FloatTensor } from '../tensor/tensor.ts';
import type { ModelConfig } from './model.ts';

export interface TextEncoderConfig extends ModelConfig {
  readonly vocabSize: number;
  /** Positions that the model was made for. */
  readonly maxLength: number;
}

export interface EncodeOptions {
  /**
   * [B, N], a bool tensor or rows of numbers as tokenizers give them: true or 1 for a token, false or 0 for padding, which no
   * token attends to.
   */
  attentionMask?: Tensor | readonly (readonly number[])[];
}

/** A model that gives each token of a text a vector. */
export interface TextEncoder {
  readonly device: Device;
  readonly config: TextEncoderConfig;
  readonly dtype: FloatDType;
  /**
   * @param ids [B, N]; int32 or uint32
   * @returns the last hidden state [B, N, embedDim]; that of padding means nothing
   * @throws ArgumentError for ids or options that do not fit
   */
  forward(ids: Tensor, options?: EncodeOptions): FloatTensor;
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface ImageEncoderConfig extends ModelConfig {
  readonly imageSize: number;
  readonly patchSize: number;
  readonly numChannels: number;
}

/** A model that gives each patch of an image a vector, and the image as a whole the first. */
export interface ImageEncoder {
  readonly device: Device;
  readonly config: ImageEncoderConfig;
  readonly dtype: FloatDType;
  /**
   * @param pixels [B, numChannels, imageSize, imageSize], normalised as the model's preprocessor_config.json says
   * @returns the last hidden state [B, 1 + patches, embedDim]
   * @throws ArgumentError for pixels that do not fit
   */
  forward(pixels: Tensor): FloatTensor;
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Checks ids [B, N] of a model. */
export function checkIds(call: string, name: string, ids: Tensor, maxLength: number): void {
  checkIntegers(call, name, ids);
  if (ids.rank !== 2 || ids.shape[1] > maxLength) {
    throw new ArgumentError(
      `${call}: ${name} must be [batch, length] with at most ${maxLength} tokens, got ${formatShape(ids.shape)}`,
    );
  }
}

/** The key mask that an attention mask is, bool [B, N]; undefined if there is none. Call it inside of a scope. */
export function keyMaskOf(call: string, { attentionMask: mask }: EncodeOptions, ids: Tensor): Tensor | undefined {
  if (mask === undefined) return undefined;
  const [batch, length] = ids.shape;
  if (mask instanceof Tensor) {
    checkTensor(call, 'attentionMask', mask);
    if (mask.dtype === 'bool' && mask.rank === 2 && mask.shape[0] === batch && mask.shape[1] === length) return mask;
  } else if (
    Array.isArray(mask) &&
    mask.length === batch &&
    mask.every((row) => Array.isArray(row) && row.length === length && row.every((bit) => bit === 0 || bit === 1))
  ) {
    return ids.device.tensor(Uint8Array.from(mask.flat()), [batch, length]);
  }
  throw new ArgumentError(
    `${call}: attentionMask must be ${batch} rows of ${length} numbers that are 0 or 1, or a bool tensor ` +
      `[${batch}, ${length}], got ${describe(mask)}`,
  );
}
