/**
 * ONNX's operator Attention, opsets 23 to 25, as our attention: what its inputs and attributes are called here. It is written
 * over an algebra, so that the reference and the ops run the same adapter.
 *
 * | ONNX | here |
 * | --- | --- |
 * | Q, K, V of rank 3, q_num_heads, kv_num_heads | split into heads, and the output joined again |
 * | past_key, past_value | before K and V; queries come after them: queryOffset |
 * | nonpad_kv_seqlen | keyLengths, and queries are the last of these: alignment 'bottom-right' |
 * | attn_mask with fewer columns than keys | the rest is hidden |
 * | left_window_size, right_window_size | window |
 * | qk_matmul_output_mode 0, 1, 2, 3 | the scores 'scaled', 'capped', 'masked'; the weights |
 * | softmax_precision | nothing: ours is float32 |
 */
import type { OnnxCase } from '../../conformance.ts';
import type { ScoreStage } from '../../reference/attention.ts';
import type { Alignment } from '../../reference/visibility.ts';

export interface OnnxOptions<T> {
  mask?: T;
  isCausal?: Alignment;
  scale?: number;
  softcap?: number;
  window?: { left: number; right: number; align: Alignment };
  queryOffset?: number;
  keyLengths?: number[];
}

export interface OnnxAlgebra<T> {
  input: (slot: string) => T;
  shapeOf: (x: T) => readonly number[];
  /** [B, N, H·D] → [B, H, N, D] */
  split: (x: T, heads: number) => T;
  /** [B, H, N, D] → [B, N, H·D] */
  join: (x: T) => T;
  concat: (first: T, second: T, axis: number) => T;
  /** A mask of this shape, of the dtype of another, that hides everything. */
  hidden: (shape: number[], like: T) => T;
  attend: (
    q: T,
    k: T,
    v: T,
    options: OnnxOptions<T>,
    extra: 'weights' | ScoreStage | undefined,
  ) => { output: T; extra?: T };
}

/** The case's outputs by their ONNX names. */
export function onnxAttention<T>(c: OnnxCase, algebra: OnnxAlgebra<T>): Record<string, T> {
  const { input, shapeOf, split, join, concat } = algebra;
  const number = (name: string) => c.attrs[name] as number | undefined;
  const isFlat = shapeOf(input('Q')).length === 3;
  const byHeads = (slot: string, heads: number | undefined) => (isFlat ? split(input(slot), heads!) : input(slot));
  const afterPast = (x: T, slot: string) => (c.has(slot) ? concat(input(slot), x, 2) : x);
  const q = byHeads('Q', number('q_num_heads'));
  const k = afterPast(byHeads('K', number('kv_num_heads')), 'past_key');
  const v = afterPast(byHeads('V', number('kv_num_heads')), 'past_value');

  const keyLengths = c.has('nonpad_kv_seqlen') ? Array.from(c.tensor('nonpad_kv_seqlen').data) : undefined;
  const align = keyLengths ? 'bottom-right' : 'top-left';
  const [left, right] = [number('left_window_size') ?? -1, number('right_window_size') ?? -1];
  const mode = number('qk_matmul_output_mode') ?? 0;
  const options: OnnxOptions<T> = {
    ...(c.has('attn_mask') && { mask: wholeMask(input('attn_mask'), shapeOf(k)[2], algebra) }),
    ...(number('is_causal') && { isCausal: align }),
    ...(number('scale') !== undefined && { scale: number('scale') }),
    ...(number('softcap') && { softcap: number('softcap') }),
    ...((left >= 0 || right >= 0) && { window: { left, right, align } }),
    ...(c.has('past_key') && { queryOffset: shapeOf(input('past_key'))[2] }),
    ...(keyLengths && { keyLengths }),
  };
  const extra = c.outputs.includes('qk_matmul_output')
    ? (['scaled', 'capped', 'masked', 'weights'] as const)[mode]
    : undefined;
  const result = algebra.attend(q, k, v, options, extra);
  return {
    Y: isFlat ? join(result.output) : result.output,
    ...(c.outputs.includes('present_key') && { present_key: k, present_value: v }),
    ...(extra && { qk_matmul_output: result.extra! }),
  };
}

function wholeMask<T>(mask: T, keys: number, { shapeOf, concat, hidden }: OnnxAlgebra<T>): T {
  const shape = shapeOf(mask);
  const axis = shape.length - 1;
  const missing = keys - shape[axis];
  return missing === 0 ? mask : concat(mask, hidden([...shape.slice(0, -1), missing], mask), axis);
}
