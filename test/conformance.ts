/**
 * Cases that PyTorch or ONNX made, for tests to run against.
 *
 * Two sources in one format. `test/fixtures/{sdpa,local,mha}.safetensors` is committed and small. The conformance folder is not
 * part of the project: `WEBGPU_ATTENTION_CONFORMANCE` names it, else it is `../shared/conformance` beside the checkout; it holds
 * `torch_golden/{sdpa,local,mha,seed}.safetensors` and ONNX's `onnx_*.json` manifests over `onnx_*.bin`. Where it is absent,
 * `describeConformance` says so and runs the committed cases alone.
 *
 * In a `.safetensors` set, `__metadata__.cases` is a JSON list of `{ name, kind, tensors, …parameters }`, and a tensor's key is
 * `case/tensor`. Results are float64 rounded to float32; inputs are exact in float16, so one set serves both dtypes. Gradients belong to
 * the loss `Σ out · dout`: dq, dk, dv, dbias; in mha dquery, dkey, dvalue and grad/* of the parameters, but not in its `_nan` cases.
 *
 * - `sdpa`: q [B,H,L,D], k [B,Hkv,S,D], v [B,Hkv,S,Dv], out [B,H,L,Dv], lse [B,H,L], in small cases weights [B,H,L,S]. `mask` (bool, true =
 *   may attend) or `bias` (added to the scaled scores), broadcasting to [B,H,L,S]. `causal`, `scale` (default 1/√D), `softcap`.
 *   A row without keys has out 0 and lse −∞. The causal part of case `bool_and_causal` is in its mask.
 * - `local`: the same with a window, `left` and `right` (inclusive, −1 = unbounded), `align` ('square' = both lengths equal), and in two
 *   cases `key_lens`: keys at or past key_lens[b] are padding.
 * - `mha`: torch.nn.MultiheadAttention. query [N,L,E] ([L,N,E] unless batch_first, [L,E] if unbatched), key and value likewise (absent
 *   if self_attention), out like query, weights [N,L,S] or, unless average_attn_weights, [N,H,L,S]; state/* is the state dict.
 *   attn_mask [L,S] or [N·H,L,S] and key_padding_mask [N,S] are PyTorch's: bool, true = blocked; or numbers to add. In the two cases
 *   whose name ends in `_nan` PyTorch gives NaN for rows without keys; this library gives weights 0 and output out_proj.bias.
 * - `seed`: the course's Python modules, `kind` = `seed.<Module>`. mask [batch, Nq, Nk], true = blocked. ScaledDotProductAttention
 *   divides by `scale`; MultiHeadAttention's and SelfAttention's attn is [head · batch + b, Nq, Nk]; wq, wk, wv are used as x · w.
 */
import { getFloat16 } from '@petamoriken/float16';
import { describe, test } from 'vitest';
import { parseSafetensors } from '../src/io/safetensors.ts';
import { readFile } from './read-file.ts';

export interface CaseTensor {
  dtype: 'float32' | 'float16' | 'float64' | 'bool' | 'int32' | 'uint32' | 'int64';
  shape: number[];
  /** float16 as Float32Array, int64 as Float64Array. */
  data: Float32Array | Float64Array | Uint8Array | Int32Array | Uint32Array;
}

interface Case {
  name: string;
  kind: string;
  tensors: string[];
  note?: string;
  /** The case's tensor of that name, without the case's prefix; throws if it has none. */
  tensor(name: string): CaseTensor;
  has(name: string): boolean;
}

interface AttentionCase extends Case {
  B: number;
  H: number;
  Hkv: number;
  L: number;
  S: number;
  D: number;
  Dv: number;
}

export interface SdpaCase extends AttentionCase {
  causal?: 'top-left' | 'bottom-right';
  scale?: number;
  softcap?: number;
}

export interface LocalCase extends AttentionCase {
  left: number;
  right: number;
  align: 'top-left' | 'bottom-right' | 'square';
  /** True where `right` is 0 by causality: there is nothing to add to the window. */
  causal?: boolean;
  rows_without_key?: number;
  key_lens?: number[];
}

export interface MhaCase extends Case {
  embed_dim: number;
  num_heads: number;
  /** Says 2 in unbatched cases too. */
  N: number;
  L: number;
  S: number;
  kdim: number | null;
  vdim: number | null;
  bias: boolean;
  add_bias_kv: boolean;
  add_zero_attn: boolean;
  batch_first: boolean;
  self_attention: boolean;
  unbatched: boolean;
  need_weights: boolean;
  average_attn_weights: boolean;
}

/** Which parameters a case has depends on its kind. */
export interface SeedCase extends Case {
  kind: `seed.${string}`;
  /** ScaledDotProductAttention: divides the scores. */
  scale?: number;
  /** MultiHeadAttention, SelfAttention; d_k and d_v are per head. */
  n_head?: number;
  d_k?: number;
  d_v?: number;
  d_o?: number;
  /** CrossAttention, LocalAttention. */
  d_model?: number;
  n_heads?: number;
  /** FlashAttention. */
  block_size?: number;
  softmax_scale?: number | null;
  /** LocalAttention: half = ⌊window_size / 2⌋. */
  window_size?: number;
  half?: number;
}

export interface OnnxCase extends Case {
  /** `kind` is the operator. */
  opset: number;
  attrs: Record<string, unknown>;
  covers: string[];
  inputs: string[];
  outputs: string[];
}

interface Sets {
  sdpa: SdpaCase;
  local: LocalCase;
  mha: MhaCase;
  seed: SeedCase;
  onnx_attention: OnnxCase;
  onnx_attention_window: OnnxCase;
  onnx_flexattention: OnnxCase;
  onnx_blocks: OnnxCase;
}

export type SetName = keyof Sets;

const FOLDER_VARIABLE = 'WEBGPU_ATTENTION_CONFORMANCE';
const cache = new Map<string, Promise<unknown[]>>();

/** The cases of one set of the conformance folder, whose address the configuration gives; undefined where it is absent. */
async function conformanceCases<S extends SetName>(set: S): Promise<Sets[S][] | undefined> {
  const folder = import.meta.env[FOLDER_VARIABLE] as string | undefined;
  if (!folder) return undefined;
  const read = async (): Promise<unknown[]> => {
    if (!set.startsWith('onnx_')) return torchCases(set, await readFile(`${folder}torch_golden/${set}.safetensors`));
    const [manifest, payload] = ['json', 'bin'].map((ending) => readFile(`${folder}${set}.${ending}`));
    return onnxCases(await manifest, await payload);
  };
  return (await cached(folder + set, read)) as Sets[S][];
}

/** The committed cases of a set. */
async function fixtureCases<S extends 'sdpa' | 'local' | 'mha'>(set: S): Promise<Sets[S][]> {
  const path = `fixtures/${set}.safetensors`;
  return (await cached(path, async () => torchCases(set, await readFile(path)))) as Sets[S][];
}

/**
 * Calls `define`, which registers tests, with the committed cases of a set (if there are any) and with those of the conformance
 * folder; where that is absent, a skipped test says so.
 */
export async function describeConformance<S extends SetName>(
  set: S,
  define: (cases: Sets[S][]) => void,
): Promise<void> {
  if (set === 'sdpa' || set === 'local' || set === 'mha') {
    const committed = await fixtureCases(set);
    describe(`${set}, committed cases`, () => define(committed as Sets[S][]));
  }
  const cases = await conformanceCases(set);
  describe(`${set}, conformance folder`, () => {
    if (cases) {
      define(cases);
      return;
    }
    const reason = `skipped: no conformance folder (${FOLDER_VARIABLE} names one)`;
    console.warn(`conformance cases '${set}' ${reason}`);
    test('all cases', (context) => context.skip(reason));
  });
}

function cached(key: string, read: () => Promise<unknown[]>): Promise<unknown[]> {
  let cases = cache.get(key);
  if (!cases) cache.set(key, (cases = read()));
  return cases;
}

function torchCases(set: string, content: Uint8Array): Case[] {
  const { metadata, tensors } = parseSafetensors(content);
  const cases = JSON.parse(metadata['cases']) as Omit<Case, 'tensor' | 'has'>[];
  return cases.map((parameters) => ({
    ...parameters,
    has: (name) => parameters.tensors.includes(name),
    tensor: (name) => {
      const entry = tensors[`${parameters.name}/${name}`];
      if (!entry) throw new Error(`${set}: case ${parameters.name} has no tensor ${name}`);
      return decode(entry.dtype, entry.shape, entry.data);
    },
  }));
}

interface OnnxTensor {
  dtype: string;
  shape: number[];
  offset: number;
  bytes: number;
}

interface OnnxManifestCase {
  name: string;
  op: string;
  opset: number;
  attrs: Record<string, unknown>;
  covers?: string[];
  note?: string;
  inputs: Record<string, OnnxTensor>;
  outputs: Record<string, OnnxTensor>;
}

function onnxCases(content: Uint8Array, payload: Uint8Array): OnnxCase[] {
  const manifest = JSON.parse(new TextDecoder().decode(content)) as { cases: OnnxManifestCase[] };
  return manifest.cases.map(({ op, inputs, outputs, ...rest }) => {
    const tensors = { ...inputs, ...outputs };
    return {
      ...rest,
      kind: op,
      covers: rest.covers ?? [],
      inputs: Object.keys(inputs),
      outputs: Object.keys(outputs),
      tensors: Object.keys(tensors),
      has: (slot) => slot in tensors,
      tensor: (slot) => {
        const entry = tensors[slot];
        if (!entry) throw new Error(`${op}: case ${rest.name} has no tensor ${slot}`);
        return decode(entry.dtype, entry.shape, payload.subarray(entry.offset, entry.offset + entry.bytes));
      },
    };
  });
}

/** `format` is safetensors' name of the dtype or ONNX's, which differ in case. */
function decode(format: string, shape: number[], bytes: Uint8Array): CaseTensor {
  // A copy, because payloads need not be aligned to their elements.
  const copy = new Uint8Array(bytes);
  const { buffer } = copy;
  const view = new DataView(buffer);
  switch (format.toLowerCase()) {
    case 'f32':
      return { dtype: 'float32', shape, data: new Float32Array(buffer) };
    case 'f16':
      return {
        dtype: 'float16',
        shape,
        data: Float32Array.from({ length: copy.length / 2 }, (_, i) => getFloat16(view, 2 * i, true)),
      };
    case 'f64':
      return { dtype: 'float64', shape, data: new Float64Array(buffer) };
    case 'bool':
      return { dtype: 'bool', shape, data: copy };
    case 'i32':
      return { dtype: 'int32', shape, data: new Int32Array(buffer) };
    case 'u32':
      return { dtype: 'uint32', shape, data: new Uint32Array(buffer) };
    case 'i64':
      return { dtype: 'int64', shape, data: Float64Array.from(new BigInt64Array(buffer), Number) };
    default:
      throw new Error(`unknown dtype ${format}`);
  }
}
