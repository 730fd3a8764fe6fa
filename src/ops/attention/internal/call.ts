/** Checks the tensors and options of the attention ops. After this, all tensors have four axes. */
import { noGrad } from '../../../autograd/tape.ts';
import { ArgumentError } from '../../../gpu/errors.ts';
import { planKeyPlaces, type AttentionInputs, type KeyPlaces, type KeyStorage } from '../../../kernels/attention.ts';
import { operandOf } from '../../../kernels/launch.ts';
import type { FloatDType } from '../../../tensor/dtype.ts';
import { checkOptions } from '../../../tensor/options.ts';
import { formatShape } from '../../../tensor/shape.ts';
import type { FloatTensor, Tensor } from '../../../tensor/tensor.ts';
import { checkAlike, checkFloat } from '../../internal/check.ts';
import { withHeads, withoutHeads } from '../../internal/heads.ts';
import {
  ATTENTION_OPTIONS,
  checkOptionValues,
  checkPacking,
  MAX_LENGTH,
  resolveOptions,
  type AttentionOptions,
  type CallSizes,
  type Effect,
} from './options.ts';

export interface AttentionResult {
  /**
   * [B, H, Nq, Dv], with 3-D tensors [B, Nq, Dv]. Row-major, with one exception: if the query's heads lie inside its rows
   * ([B, Nq, H, D] in memory), so do the output's, and `output.transpose(1, 2).reshape([B, Nq, H·Dv])` is a view.
   */
  output: FloatTensor;
  /** Present if `returnLogSumExp` asks for it. */
  logSumExp?: FloatTensor;
}

/** q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv]; or a cache's storage of k and v. */
export interface AttentionTensors {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/** A checked call, with its options resolved. */
export interface AttentionCall extends AttentionTensors {
  readonly inputs: Omit<AttentionInputs, 'kernelsOf'>;
  /** The options' tensors, by their bindings: large ones, and `table` with the small ones. */
  readonly bindings: Readonly<Record<string, Tensor>>;
  /** All tensors that may be asked for a gradient, by their names on the tape, and why the call has none. */
  readonly differentiable: Readonly<Record<string, Tensor>>;
  readonly refusal: string | undefined;
  /** [B, H, Nq, Dv]; of a packed batch, B is 1 and Nq the rows of all sequences. */
  readonly outputShape: readonly [number, number, number, number];
}

/** Keys and values that a cache holds. */
export interface StoredKeys {
  /** Keys of the longest batch entry. */
  readonly keyLength: number;
  readonly places: KeyPlaces;
  /** Elements of a value. */
  readonly valueDim: number;
  /** Given unless keys and values have the same float dtype. */
  readonly storage?: KeyStorage;
  /** The query, rotated; called when all checks have passed. */
  readonly rotate?: () => Tensor;
}

/** What one op has besides the options of all attention ops. */
export interface OwnParts {
  /** Names of its further options. */
  readonly names?: readonly string[];
  /** Checks them, and what the op demands of the tensors, when all other checks have passed. */
  readonly check?: () => void;
  readonly stored?: StoredKeys;
}

/**
 * Checks a call and computes it inside a scope. `compute` gets tensors of three axes as views of four axes. The caller gets
 * its results as views of three axes.
 *
 * @throws ArgumentError for shapes, dtypes or options that do not fit, before anything is computed
 */
export function callAttention<R extends Readonly<Record<string, Tensor | undefined>>>(
  op: string,
  tensors: AttentionTensors,
  options: AttentionOptions,
  compute: (call: AttentionCall) => R,
  own: OwnParts = {},
): R {
  checkOptions(op, options, [...ATTENTION_OPTIONS, ...(own.names ?? [])]);
  const { q: query, k: key, v: value } = tensors;
  checkFloat(op, 'query', query);
  if (!own.stored) {
    checkFloat(op, 'key', key);
    checkFloat(op, 'value', value);
    checkAlike(op, 'query', { query, key, value });
    checkShapes(op, query, key, value);
  }
  return query.device.scope(() => {
    const isHeadless = query.rank === 3;
    const [q, k, v] = [query, key, value].map(withHeads);
    const call = attentionCall(op, { q, k, v }, options, isHeadless, own);
    const results = compute(call);
    return isHeadless ? withoutHeads(results) : results;
  });
}

function attentionCall(
  op: string,
  { q: query, k, v }: AttentionTensors,
  options: AttentionOptions,
  isHeadless: boolean,
  { check, stored }: OwnParts,
): AttentionCall {
  const [storedBatch, heads, queryRows, headDim] = query.shape;
  const kvHeads = k.shape[1];
  const valueDim = stored?.valueDim ?? v.shape[3];
  if (heads % kvHeads !== 0) throw new ArgumentError(`${op}: key heads must divide query's ${heads}, got ${kvHeads}`);
  if (queryRows > MAX_LENGTH) {
    throw new ArgumentError(`${op}: query length must be at most ${MAX_LENGTH}, got ${queryRows}`);
  }
  const packing = stored ? undefined : checkPacking(op, options, query.shape, k.shape);
  const sizes: CallSizes = {
    op,
    like: { name: 'query', tensor: query },
    batch: packing?.count ?? storedBatch,
    heads,
    queryLength: packing?.queryLength ?? queryRows,
    keyLength: packing?.keyLength ?? stored?.keyLength ?? k.shape[2],
    headDim,
    isHeadless,
    packing,
  };
  const effects = [...checkOptionValues(options, sizes), ...(stored ? [effectOf(op, stored.places)] : [])];
  check?.();
  // all checks have passed; a copy that joins small inputs is no step of the tape
  const { table, options: fields } = noGrad(() => resolveOptions(op, query.device, effects));
  const q = stored?.rotate?.() ?? query;
  const merge = (records: readonly (Readonly<Record<string, Tensor>> | undefined)[]): Record<string, Tensor> =>
    Object.fromEntries(records.flatMap((record) => Object.entries(record ?? {})));
  return {
    q,
    k,
    v,
    inputs: {
      op,
      dtype: q.dtype as FloatDType,
      kvDtype: stored?.storage ? 'float32' : (k.dtype as FloatDType),
      storage: stored?.storage,
      batch: sizes.batch,
      heads,
      kvHeads,
      queryLength: sizes.queryLength,
      keyLength: sizes.keyLength,
      queryRows,
      headDim,
      valueDim,
      q: operandOf(q),
      k: operandOf(k),
      v: operandOf(v),
      options: fields,
    },
    bindings: { ...merge(effects.map(({ bindings }) => bindings)), ...(table && { table }) },
    differentiable: { q, k, v, ...merge(effects.map(({ inputs }) => inputs)) },
    refusal: effects.find(({ refusal }) => refusal)?.refusal,
    outputShape: [storedBatch, heads, queryRows, valueDim],
  };
}

function effectOf(op: string, places: KeyPlaces): Effect {
  const { constants, words, fields } = planKeyPlaces(places);
  return {
    isPlain: places.kind === 'contiguous',
    constants,
    segments: words ? [{ words }] : [],
    fields: ([at]) => ({ keys: fields(at) }),
    refusal: `${op}: keys and values must be tensors of the call where a gradient is wanted, got those of a cache`,
  };
}

function checkShapes(op: string, q: Tensor, k: Tensor, v: Tensor): void {
  const fail = (argument: string, expected: string, got: unknown) => {
    throw new ArgumentError(`${op}: ${argument} must ${expected}, got ${String(got)}`);
  };
  if (q.rank !== 3 && q.rank !== 4) {
    fail('query', 'be [batch, heads, length, headDim] or [batch, length, headDim]', formatShape(q.shape));
  }
  for (const [name, tensor] of [
    ['key', k],
    ['value', v],
  ] as const) {
    if (tensor.rank !== q.rank) fail(name, `have query's rank ${q.rank}`, formatShape(tensor.shape));
    if (tensor.shape[0] !== q.shape[0]) fail(`${name} batch`, `equal query's ${q.shape[0]}`, tensor.shape[0]);
  }
  const [keyHeads, valueHeads] = [k, v].map(({ shape, rank }) => (rank === 3 ? 1 : shape[1]));
  const [keyLength, valueLength] = [k, v].map(({ shape }) => shape.at(-2)!);
  if (keyLength > MAX_LENGTH) fail('key length', `be at most ${MAX_LENGTH}`, keyLength);
  const [headDim, keyDim] = [q, k].map(({ shape }) => shape.at(-1)!);
  if (keyDim !== headDim) fail('key headDim', `equal query's ${headDim}`, keyDim);
  if (valueLength !== keyLength) fail('value length', `equal key's ${keyLength}`, valueLength);
  if (valueHeads !== keyHeads) fail('value heads', `equal key's ${keyHeads}`, valueHeads);
}
