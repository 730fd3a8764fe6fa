/** Fused attention, forward: the kernels of shaders/attention, the choice between them, and their launches. */
import blockMaskShader from '../../shaders/attention/block-mask.wgsl';
import flashShader from '../../shaders/attention/flash-attention.wgsl';
import localShader from '../../shaders/attention/local-attention.wgsl';
import mergeShader from '../../shaders/attention/merge.wgsl';
import registerShader from '../../shaders/attention/register.wgsl';
import streamShader from '../../shaders/attention/stream.wgsl';
import subgroupShader from '../../shaders/attention/subgroup.wgsl';
import type { UniformValues } from '../gpu/uniform.ts';
import type { Launch } from '../gpu/runtime.ts';
import type { Constants, Insertion, Shader } from '../gpu/shader.ts';
import type { FloatDType } from '../tensor/dtype.ts';
import { largestOf } from '../tensor/shape.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { attentionMatrixKernel, attentionMatrixVariants, type AttentionMatrixVariant } from './matrix.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey, type Variant } from './choice.ts';
import { foldWorkgroups, operandFields, readsQuads, readsVectors, type Limits, type Operand } from './launch.ts';

/** The effect of a call's options on a kernel (src/ops/attention/internal/options.ts). */
export interface OptionFields {
  /** Constants of the parts that differ from their defaults. */
  readonly constants: Constants;
  /** Uniform fields, by the structs of the parts that read them. */
  readonly fields: Readonly<Record<string, UniformValues>>;
  /** A user's functions, and those of the gradient's kernels, which include the derivative. */
  readonly insertions: readonly Insertion[];
  readonly gradientInsertions: readonly Insertion[];
  /** Keys that a query sees to the left and to the right of its position. */
  readonly band: { readonly left: number; readonly right: number };
  /** Whether several sequences lie one after another in q, k, v and the output, whose batch axis is 1. */
  readonly isPacked: boolean;
  /** Whether every kernel knows all options that are given. */
  readonly isPlain: boolean;
  /** Queries, and keys, of a block mask's block. No workgroup and no step may straddle two blocks. */
  readonly maskBlock?: number;
}

/** How kernels read keys and values that do not both have the same float dtype (src/kernels/codes.ts). */
export interface KeyStorage {
  /** Whether keys, and values, are codes with scales. Their operands then count 32-bit words. */
  readonly hasKeyCodes: boolean;
  readonly hasValueCodes: boolean;
  readonly constants: Constants;
  /** A kernel's shader that reads them. */
  readonly readerOf: (shader: Shader) => Shader;
}

/** What the fused attention kernels read, forward and backward; strides are those of batch, head, row, column. */
export interface AttentionInputs {
  /** The op's name, for errors. */
  readonly op: string;
  /** The op whose choice of kernels applies. */
  readonly kernelsOf: AttentionOp;
  /** Dtype of q and the output. */
  readonly dtype: FloatDType;
  /** Dtype of k and v; what they are read as, if `storage` is given. */
  readonly kvDtype: FloatDType;
  readonly storage?: KeyStorage;
  /** Batch entries; the sequences of a packed batch. */
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Queries and keys of the longest sequence. */
  readonly queryLength: number;
  readonly keyLength: number;
  /** Rows of q: those of all packed sequences, else queryLength. */
  readonly queryRows: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly options: OptionFields;
}

export type AttentionOp = 'flashAttention' | 'localAttention';

/** What the forward kernels compute. */
export interface AttentionProblem extends AttentionInputs {
  readonly output: Operand;
  readonly writesLogSumExp: boolean;
  /** Keys per step of the online softmax, if the user asks for a number. */
  readonly blockSize?: number;
}

/** One way to compute fused attention. */
interface FusedVariant extends Variant {
  /** Query rows per workgroup. */
  readonly blockQ: number;
  /** Keys per step of the online softmax. */
  readonly blockK: number;
}

/** Twin of the constants of attention/parts/tile. */
export interface TileVariant extends FusedVariant {
  readonly family: 'tile';
  /** Invocations, eight along a row. */
  readonly workgroup: number;
  /** Workgroup memory. */
  readonly bytes: number;
}

/** Twin of the constants of attention/register. */
export interface RegisterVariant extends FusedVariant {
  readonly family: 'register';
  /** Query rows, and keys, per invocation. */
  readonly rows: number;
  readonly keys: number;
  /** Buckets of the head dim, and of the value dims of a workgroup. */
  readonly dim: number;
  readonly valueDim: number;
  /** Workgroups that share rows and divide the value dims. */
  readonly valueParts: number;
  /** Quads of head dims in a chunk of K, and keys in a chunk of V. */
  readonly kQuads: number;
  readonly vKeys: number;
  /** Whether workgroup memory holds whole rows of Q. */
  readonly holdsQ: boolean;
  /** Whether K and V are read from storage where they are multiplied, instead of passing through workgroup memory. */
  readonly fromCache: boolean;
}

/** Twin of the constants of attention/subgroup. */
export interface SubgroupVariant extends FusedVariant {
  readonly family: 'subgroup';
  /** Invocations of a subgroup. */
  readonly lanes: number;
  /** Query rows per invocation. */
  readonly rows: number;
}

/** Twin of the constants of attention/stream. */
export interface StreamVariant extends FusedVariant {
  readonly family: 'stream';
  /** Invocations, which divide the keys among them. */
  readonly lanes: number;
}

export type AttentionVariant = TileVariant | RegisterVariant | SubgroupVariant | StreamVariant | AttentionMatrixVariant;

export interface AttentionPlan {
  readonly choice: Choice<AttentionVariant>;
  /** Each has at most MAX_COLUMNS columns of the output. */
  readonly passes: readonly Launch[];
  /** If the keys are split, the launch that merges `parts` results in float32. */
  readonly merge?: Launch & { readonly parts: number };
}

// ---- the kernels

/** Columns of the output, or a gradient, that one launch computes. More take several launches, each of which computes the scores. */
export const MAX_COLUMNS = 256;
/** Value dims that share registers of O in the tile kernels. */
export const VALUE_DIM_BUCKETS = [32, 64, 128, MAX_COLUMNS];
/** The larger of head and value dim, in kernels that hold q and O in registers. */
export const DIM_BUCKETS = [32, 64, 96, 128, 256];

/** Keys per step of the online softmax that suit most devices: a 32 × 32 tile fits WebGPU's default 16 KiB. */
export const DEFAULT_BLOCK_SIZE = 32;
/** Keys per step that tiles are offered with. */
const BLOCK_SIZES = [DEFAULT_BLOCK_SIZE, 64];
/** Query rows per workgroup. */
const BLOCK_QS = [128, 64, 32, 16, 8];
const MOST_INVOCATIONS = 256;
/** Up to this many rows that share their keys count as decoding. */
const FEW_ROWS = 8;
/** What the size classes of few queries begin with. */
const FEW = 'few-';
/** Query rows of a workgroup of the stream kernel. */
const STREAM_ROWS = [1, 2, 4];
const SUBGROUP_BLOCK_K = 8;

export function valueDimBucket(valueDim: number): number {
  return VALUE_DIM_BUCKETS.find((size) => valueDim <= size) ?? MAX_COLUMNS;
}

/** Bytes of the workgroup variables of attention/parts/tile, each rounded up to 16 as WebGPU counts them. */
export function tileBytes(blockQ: number, blockK: number): number {
  const rowPitch = 9;
  const quads = (blockQ + blockK) * rowPitch + blockQ * (blockK / 4 + 1) - 3; // no padding after the last row of each
  return 16 * quads + 4 * blockQ * 8 + 16;
}

/**
 * The tiles of `blockK` keys that fit the device's limits and an invocation's registers, the widest first. An invocation
 * keeps at most four rows of max(blockK, 32) / 8 scores and valueDim / 8 outputs each, or two rows if those are many.
 */
function tileVariants(valueDim: number, blockK: number, traits: Traits): TileVariant[] {
  const mostRows = valueDim > 128 || blockK > 32 ? 2 : 4;
  const most = Math.min(MOST_INVOCATIONS, traits.maxComputeInvocationsPerWorkgroup);
  return BLOCK_QS.map((blockQ): TileVariant => {
    const workgroup = Math.max(64, (8 * blockQ) / mostRows);
    const bytes = tileBytes(blockQ, blockK);
    return { name: `tile-${blockQ}x${blockK}`, family: 'tile', blockQ, blockK, workgroup, bytes };
  }).filter(({ workgroup, bytes }) => bytes <= traits.maxComputeWorkgroupStorageSize && workgroup <= most);
}

/** Undefined if not even eight query rows fit, as with 128 keys in WebGPU's default memory. */
export function chooseTile(valueDim: number, blockK: number, traits: Traits): TileVariant | undefined {
  // 64 invocations suit every device; the tuner tries more
  return tileVariants(valueDim, blockK, traits).find(({ workgroup }) => workgroup === 64);
}

/** Tiles of the register kernel: query rows and keys of a workgroup, and of a lane. */
const REGISTER_TILES = [
  [64, 64, 8, 8],
  [32, 128, 8, 8],
  [64, 64, 4, 8],
  [32, 64, 8, 4],
  [32, 64, 4, 8],
  [32, 128, 4, 8],
  [16, 128, 4, 8],
  [32, 32, 4, 4],
  [16, 64, 4, 4],
] as const;
/** Those with variants that read K and V from cache, for tune() to try. */
const CACHE_TILES: readonly (readonly [number, number, number, number])[] = [
  [64, 64, 4, 8],
  [32, 64, 4, 8],
  [32, 32, 4, 4],
];
/**
 * GPUs on which a lane may have 255 registers. With 4 × 8 scores the kernel takes 132 on AMD at head dim 64, and 180 at 128. A lane
 * of an Apple, Intel or phone GPU is taken to have 128 at most; nothing is known of a vendor that is not named.
 */
const MANY_REGISTERS: readonly (string | undefined)[] = ['nvidia', 'amd'];

export function hasManyRegisters({ vendor, isSoftware }: Traits): boolean {
  return !isSoftware && MANY_REGISTERS.includes(vendor);
}

/** Scores and outputs of a lane that registers hold. */
export const MOST_REGISTER_NUMBERS = 128;
const REGISTER_DIM_BUCKETS = [...DIM_BUCKETS, 512];
/** A chunk of K in workgroup memory. One of V has 16 or 32 keys. */
export const CHUNK_BYTES = 4096;

/** The tiles of the register kernel that fit the device's limits and an invocation's registers. */
function registerVariants(size: AttentionSize, traits: Traits): RegisterVariant[] {
  const dim = REGISTER_DIM_BUCKETS.find((bucket) => size.headDim <= bucket);
  if (dim === undefined) return [];
  const bytes = (size.kvDtype ?? size.dtype) === 'float16' ? 2 : 4;
  const tiles = [
    ...REGISTER_TILES.map((tile) => ({ tile, fromCache: false })),
    ...CACHE_TILES.map((tile) => ({ tile, fromCache: true })),
  ];
  return tiles.flatMap(({ tile: [blockQ, blockK, rows, keys], fromCache }): RegisterVariant[] => {
    const across = blockK / keys;
    const workgroup = (across * blockQ) / rows;
    if (workgroup > traits.maxComputeInvocationsPerWorkgroup) return [];
    const loads = (16 / bytes) * workgroup; // elements that all lanes load at once
    let kQuads = CHUNK_BYTES / bytes / 4 / blockK;
    while ((dim / 4) % kQuads !== 0) kQuads /= 2;
    const name = `${fromCache ? 'cache' : 'register'}-${blockQ}x${blockK}-${rows}x${keys}`;
    const variants = valueDivisions(size.valueDim).flatMap(({ valueDim, valueParts }) => {
      if (valueDim % (4 * across) !== 0 || rows * (keys + valueDim / across) > MOST_REGISTER_NUMBERS) return [];
      const vKeys = (16 * valueDim) % loads === 0 ? 16 : 32;
      const sizes = { blockQ, blockK, rows, keys, dim, valueDim, valueParts, kQuads, vKeys, fromCache };
      return [true, false].map((holdsQ): RegisterVariant => ({ name, family: 'register', ...sizes, holdsQ }));
    });
    return variants
      .filter((variant) => registerBytes(variant, bytes) <= traits.maxComputeWorkgroupStorageSize)
      .slice(0, 1);
  });
}

/** How workgroups may divide value dims, the fewest workgroups first: each computes all scores. */
function valueDivisions(columns: number): { valueDim: number; valueParts: number }[] {
  const [whole, half] = [columns, Math.ceil(columns / 2)].map((most) => DIM_BUCKETS.find((bucket) => most <= bucket)!);
  const divisions = [{ valueDim: whole, valueParts: 1 }];
  return columns > 128 ? [...divisions, { valueDim: half, valueParts: 2 }] : divisions;
}

const LEAST_ROWS_HELD = 32;

/**
 * The smallest tile that holds all rows, else the largest, with 4 × 8 scores a lane, or 4 × 4 where registers are few. Those of 8 × 8
 * have a higher bound on AMD, but need 216 to 256 registers there. What another compiler makes of that is for the tuner to find out.
 */
function defaultRegisterVariant(size: AttentionSize, traits: Traits): RegisterVariant | undefined {
  const { rows = Infinity } = size;
  const mostKeys = hasManyRegisters(traits) ? 8 : 4;
  const known = registerVariants(size, traits).filter((variant) => {
    return !variant.fromCache && variant.rows === 4 && variant.keys <= mostKeys && fitsBlocks(size, variant);
  });
  const fewestParts = Math.min(...known.map(({ valueParts }) => valueParts));
  const undivided = known.filter(({ valueParts }) => valueParts === fewestParts);
  const widest = undivided.filter(({ keys }) => keys === undivided[0].keys);
  const holding = widest.filter(({ holdsQ }) => holdsQ);
  // tiles that hold few rows of Q read K and V more often than tiles of more rows read Q
  const rowsHeld = Math.min(rows, LEAST_ROWS_HELD);
  const wanted = holding.some(({ blockQ }) => blockQ >= rowsHeld) ? holding : widest;
  return wanted.toSorted((a, b) => a.blockQ - b.blockQ).find(({ blockQ }) => blockQ >= rows) ?? wanted[0];
}

/** Bytes of the workgroup variables of attention/register. */
function registerBytes(variant: Omit<RegisterVariant, 'name' | 'family'>, elementBytes: number): number {
  const { blockQ, blockK, keys, dim, valueDim, kQuads, vKeys, holdsQ, fromCache } = variant;
  const p = (blockQ / 4) * (Math.max(vKeys, blockK / keys) + 1);
  const chunk = fromCache ? 16 : Math.max(blockK * kQuads * 4, vKeys * valueDim) * elementBytes;
  return 16 * (blockQ * ((holdsQ ? dim / 4 : kQuads) + 1) + p) + chunk + 32; // one of the chunks is unused, and a flag
}

/** Undefined if subgroups or dims do not allow it, and where q and O would want too many of a GPU's registers. */
function subgroupVariant({ headDim, valueDim }: AttentionSize, traits: Traits): SubgroupVariant | undefined {
  const { subgroupSize: lanes, isSoftware } = traits;
  const dim = Math.max(headDim, valueDim);
  if (lanes === 0 || (lanes > 8 && !isSoftware) || dim > DIM_BUCKETS.at(-1)!) return undefined;
  const rows = dim > 64 ? 2 : 4; // four rows of more dims take too long to compile
  return { name: 'subgroup', family: 'subgroup', blockQ: lanes * rows, blockK: SUBGROUP_BLOCK_K, lanes, rows };
}

/** For up to eight rows that share their keys; undefined for more, or if registers or workgroup memory do not hold them. */
function streamVariant(
  { headDim, valueDim, rows = Infinity }: AttentionSize,
  traits: Traits,
): StreamVariant | undefined {
  const { subgroupSize, isSoftware, maxComputeWorkgroupStorageSize } = traits;
  const dim = DIM_BUCKETS.find((size) => Math.max(headDim, valueDim) <= size);
  const most = STREAM_ROWS.at(-1)!;
  if (rows > 2 * most || dim === undefined || (dim > 128 && !isSoftware)) return undefined;
  // on a CPU driver one vector; on a GPU a workgroup should have a few subgroups
  const blockQ = STREAM_ROWS.find((size) => rows <= size) ?? most;
  const lanes = isSoftware ? Math.max(subgroupSize, 4) : 32;
  const bytes = lanes * (4 + 4 + 4 * dim); // maximum, sum and O of each
  if (bytes > maxComputeWorkgroupStorageSize) return undefined;
  return { name: 'stream', family: 'stream', blockQ, blockK: lanes, lanes };
}

/** For kernels on CPU drivers, which run both sides of a branch: whether q, k and v can be read by quads without one. */
export function alignment({ headDim, valueDim, q, k, v, storage }: AttentionInputs): Constants {
  const operands = [q, ...(storage?.hasKeyCodes ? [] : [k]), ...(storage?.hasValueCodes ? [] : [v])];
  const isAligned = headDim % 4 === 0 && valueDim % 4 === 0 && operands.every((operand) => readsQuads(operand, 3));
  return isAligned ? { ALIGNED: true } : {};
}

/** A variant's shader, with its own constants. */
function kernelOf(problem: AttentionProblem, variant: AttentionVariant): { shader: Shader; constants: Constants } {
  const { kernelsOf, dtype, headDim, valueDim, options } = problem;
  const storage = { IS_F16: dtype === 'float16' };
  const dim = DIM_BUCKETS.find((size) => Math.max(headDim, valueDim) <= size)!;
  switch (variant.family) {
    case 'tile': {
      const { blockQ, blockK, workgroup } = variant;
      const tile = { BLOCK_Q: blockQ, BLOCK_K: blockK, WORKGROUP: workgroup };
      // the kernel of local attention does not support block masks
      const isBanded = kernelsOf === 'localAttention' && options.maskBlock === undefined;
      return {
        shader: isBanded ? localShader : flashShader,
        constants: { ...storage, VALUE_DIM: valueDimBucket(valueDim), ...tile },
      };
    }
    case 'register': {
      const { blockQ, blockK, rows, keys } = variant;
      const width = problem.kvDtype === 'float16' ? 8 : 4;
      const isWhole = (operand: Operand, columns: number) => columns % width === 0 && readsVectors(operand, 3, width);
      const { KV_RING: isRing, KV_PAGED: isPaged } = options.constants;
      const vectors = !isRing &&
        !isPaged &&
        !problem.storage &&
        isWhole(problem.k, headDim) &&
        isWhole(problem.v, valueDim) && { VECTORS: true };
      return {
        shader: registerShader,
        constants: {
          ...storage,
          DIM: variant.dim,
          VALUE_DIM: variant.valueDim,
          VALUE_PARTS: variant.valueParts,
          BLOCK_Q: blockQ,
          BLOCK_K: blockK,
          ROWS: rows,
          KEYS: keys,
          WORKGROUP: (blockQ / rows) * (blockK / keys),
          STEP_QUADS: variant.kQuads,
          V_KEYS: variant.vKeys,
          HOLDS_Q: variant.holdsQ,
          FROM_CACHE: variant.fromCache,
          ...vectors,
        },
      };
    }
    case 'subgroup': {
      const constants = { ...storage, DIM: dim, SUBGROUP: variant.lanes, ROWS: variant.rows };
      return { shader: subgroupShader, constants };
    }
    case 'stream': {
      const constants = { ...storage, DIM: dim, ROWS: variant.blockQ, LANES: variant.lanes };
      return { shader: streamShader, constants: { ...constants, ...alignment(problem) } };
    }
    case 'matrix':
      return attentionMatrixKernel(variant);
  }
}

// ---- where keys lie

/**
 * The places of the keys of a batch entry, oldest first. `ring`: key j < kept in row j, the others in row
 * kept + (start + j − kept) mod length. `paged`: row j mod pageSize of the page that `pages` names for the batch entry and
 * ⌊j / pageSize⌋.
 */
export type KeyPlaces =
  | { readonly kind: 'contiguous' }
  | { readonly kind: 'ring'; readonly kept: number; readonly start: number; readonly length: number }
  | { readonly kind: 'paged'; readonly pageSize: number; readonly pages: readonly (readonly number[])[] };

/** Twin of the uniform struct KeyParams. Kernels for contiguous keys read nothing of it. */
const CONTIGUOUS_KEYS = {
  ring_kept: 0,
  ring_start: 0,
  ring_length: 0,
  pages_at: 0,
  pages_pitch: 0,
  page_shift: 0,
};

/** What a kernel needs for keys in such places: constants, words for `table`, and uniform fields, given where the words lie. */
export function planKeyPlaces(places: KeyPlaces): {
  readonly constants: Constants;
  readonly words?: Uint32Array;
  readonly fields: (at: number) => UniformValues;
} {
  switch (places.kind) {
    case 'contiguous':
      return { constants: {}, fields: () => CONTIGUOUS_KEYS };
    case 'ring': {
      const { kept, start, length } = places;
      const ring = { ring_kept: kept, ring_start: start, ring_length: length };
      return { constants: { KV_RING: true }, fields: () => ({ ...CONTIGUOUS_KEYS, ...ring }) };
    }
    case 'paged': {
      const { pages, pageSize } = places;
      const pitch = largestOf(pages.map(({ length }) => length));
      const words = new Uint32Array(pitch * pages.length);
      pages.forEach((numbers, entry) => words.set(numbers, entry * pitch));
      const pageShift = Math.log2(pageSize);
      return {
        constants: { KV_PAGED: true },
        words,
        fields: (at) => ({ ...CONTIGUOUS_KEYS, pages_at: at, pages_pitch: pitch, page_shift: pageShift }),
      };
    }
  }
}

// ---- the choice

/** What the choice of a kernel depends on. */
export interface AttentionSize extends Pick<AttentionInputs, 'dtype' | 'headDim' | 'valueDim'> {
  readonly kernelsOf: AttentionOp;
  /** Dtype of k and v; q's if it is left out. */
  readonly kvDtype?: FloatDType;
  /** Query rows that share their keys, if they are known to be few. */
  readonly rows?: number;
  /** False where only some kernels will do: for a cache's layout, modified scores, small inputs. Default true. */
  readonly isPlain?: boolean;
  /** Queries, and keys, of a block mask's block. */
  readonly maskBlock?: number;
}

/** The size of the first pass, whose kernel the others take too. */
function sizeOf(problem: AttentionProblem): AttentionSize {
  const { kernelsOf, dtype, kvDtype, storage, headDim, heads, kvHeads, queryLength, options } = problem;
  const valueDim = columnsOfPass(problem.valueDim);
  const { maskBlock } = options;
  const isPlain = kvDtype === dtype && options.isPlain && storage === undefined;
  const rows = maskBlock === undefined ? (queryLength * heads) / kvHeads : queryLength;
  return { kernelsOf, dtype, kvDtype, headDim, valueDim, rows, isPlain, maskBlock };
}

/** Every kernel that can compute such a problem on the device. */
export function attentionVariants(whole: AttentionSize, traits: Traits): AttentionVariant[] {
  const size = { ...whole, valueDim: columnsOfPass(whole.valueDim) };
  const tiles = BLOCK_SIZES.flatMap((blockK) => tileVariants(size.valueDim, blockK, traits));
  const matrices = size.isPlain === false ? [] : attentionMatrixVariants(size, traits);
  const variants = [
    ...matrices,
    ...tiles,
    ...registerVariants(size, traits),
    subgroupVariant(size, traits),
    streamVariant(size, traits),
  ];
  return variants.filter((variant) => variant !== undefined).filter((variant) => fitsBlocks(size, variant));
}

/** All sizes are powers of two. */
function fitsBlocks({ maskBlock = Infinity }: AttentionSize, { blockQ, blockK }: AttentionVariant): boolean {
  return Math.max(blockQ, blockK) <= maskBlock;
}

/** Dims of one class share a choice, and mostly a compiled kernel. Few queries have choices of their own. */
export function attentionKey(size: AttentionSize): ChoiceKey {
  const { kernelsOf, dtype, headDim, valueDim } = size;
  const bucket = valueDimBucket(Math.max(valueDim, headDim));
  return { op: kernelsOf, dtype, sizeClass: isFew(size) ? `${FEW}${bucket}` : bucket };
}

function isFew({ rows = Infinity }: AttentionSize): boolean {
  return rows <= FEW_ROWS;
}

/** What suits the device's class if nothing was measured. */
function preferred(size: AttentionSize, traits: Traits): Choice<AttentionVariant> {
  const stream = traits.isSoftware ? streamVariant(size, traits) : undefined;
  if (stream && fitsBlocks(size, stream)) {
    return { variant: stream, reason: 'few queries on a CPU driver: every invocation walks keys of its own' };
  }
  const [matrix] = size.isPlain === false || isFew(size) ? [] : attentionMatrixVariants(size, traits);
  if (matrix) return { variant: matrix, reason: 'the device was opened for its tensor cores' };
  // SwiftShader, with subgroups of 4, seems to keep no array in registers: the tile kernel is twice as fast there
  const wantsSubgroups = traits.isSoftware && traits.subgroupSize >= 8;
  const subgroup = wantsSubgroups ? subgroupVariant(size, traits) : undefined;
  if (subgroup && fitsBlocks(size, subgroup)) {
    return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  }
  const register = traits.isSoftware ? undefined : defaultRegisterVariant(size, traits);
  if (register) {
    return { variant: register, reason: `a GPU: ${register.rows} × ${register.keys} scores a lane, in registers` };
  }
  const few = isFew(size)
    ? tileVariants(size.valueDim, DEFAULT_BLOCK_SIZE, traits).find(({ blockQ }) => blockQ === FEW_ROWS)
    : undefined;
  if (few) return { variant: few, reason: 'few queries' };
  return {
    variant: chooseTile(size.valueDim, DEFAULT_BLOCK_SIZE, traits)!,
    reason: 'the most queries, up to 32, that fit workgroup memory and registers',
  };
}

/** `blockSize` asks for a tile of that many keys, or of a block mask's block if that is smaller, whatever was chosen. */
export function chooseAttention(
  size: AttentionSize,
  traits: Traits,
  choices: KernelChoices = NO_CHOICES,
  blockSize?: number,
): Choice<AttentionVariant> {
  if (blockSize !== undefined) {
    const keys = Math.min(blockSize, size.maskBlock ?? Infinity);
    return { variant: chooseTile(size.valueDim, keys, traits)!, reason: 'blockSize was given' };
  }
  const fallback = preferred(size, traits);
  if (choices.pinned.size === 0 && choices.tuned.size === 0) return fallback;
  return decide(attentionKey(size), attentionVariants(size, traits), fallback, choices);
}

// ---- the launch

/** Plans a problem for the kernel that is chosen for it. */
export function planAttention(problem: AttentionProblem, traits: Traits, choices?: KernelChoices): AttentionPlan {
  const choice = chooseAttention(sizeOf(problem), traits, choices, problem.blockSize);
  const splits = chooseSplits(problem, choice.variant, traits);
  const { op, heads, queryRows: queryLength, valueDim, dtype, output, writesLogSumExp } = problem;
  const columns = columnsOfPass(valueDim);
  const passes = Array.from({ length: Math.ceil(valueDim / columns) }, (_, pass) =>
    attentionLaunch(problem, choice.variant, splits, traits, pass * columns),
  );
  if (splits === 1) return { choice, passes };
  const sizes = { op, parts: splits, batch: storedBatch(problem), heads, queryLength, valueDim, dtype };
  const merge = planMergeAttention({ ...sizes, output, writesLogSumExp }, traits);
  return { choice, passes, merge: { parts: splits, ...merge } };
}

/** A split has at least this many keys. */
const LEAST_SPLIT_KEYS = 256;

/** A workgroup should have at most this many operations, which take one multiprocessor of a small GPU half a second. */
const MOST_WORKGROUP_OPERATIONS = 2.5e9;
/** The most bytes that the parts of many queries may take, in float32: what every device binds. */
const MOST_PART_BYTES = 2 ** 27;

/**
 * Parts into which the keys of few queries are divided, so that the device is busy. There should be some workgroups for each
 * core of a CPU, or multiprocessor of a GPU. WebGPU reports neither number. Very many keys are divided for any number of
 * queries, so that no workgroup runs for long.
 */
function chooseSplits(problem: AttentionProblem, variant: AttentionVariant, traits: Traits): number {
  const { batch, queryLength, keyLength, options } = problem;
  if (options.maskBlock !== undefined || variant.family === 'matrix') return 1;
  const { headTiles, rows } = foldHeads(problem, variant);
  const tiles = Math.ceil(rows / variant.blockQ);
  const long = splitsOfManyKeys(problem, variant);
  if (tiles > 2) return long;
  const keys = Math.min(keyLength, options.band.left + options.band.right + queryLength);
  const wanted = (traits.isSoftware ? 64 : 256) / valuePartsOf(variant);
  const few = Math.min(Math.ceil(wanted / (tiles * batch * headTiles)), Math.floor(keys / LEAST_SPLIT_KEYS));
  return Math.max(1, few, long);
}

function splitsOfManyKeys(problem: AttentionProblem, variant: AttentionVariant): number {
  const { heads, queryRows, headDim, valueDim } = problem;
  const operations = 2 * pairsOfTile(problem, variant) * (headDim + Math.min(valueDim, MAX_COLUMNS));
  const partBytes = 4 * storedBatch(problem) * heads * queryRows * valueDim;
  const splits = Math.min(Math.ceil(operations / MOST_WORKGROUP_OPERATIONS), Math.floor(MOST_PART_BYTES / partBytes));
  return Math.max(1, splits);
}

/** Workgroups that divide the value dims of the same rows. */
function valuePartsOf(variant: AttentionVariant): number {
  return variant.family === 'register' ? variant.valueParts : 1;
}

/** The number of heads with their own tiles, and the rows of each. If a group's heads have few rows, they share tiles. */
function foldHeads(problem: AttentionProblem, { family, blockQ }: AttentionVariant) {
  const { heads, kvHeads, queryLength, options } = problem;
  const folds = heads > kvHeads && queryLength < blockQ && options.maskBlock === undefined && family !== 'matrix';
  return folds
    ? { folds, headTiles: kvHeads, rows: (queryLength * heads) / kvHeads }
    : { folds, headTiles: heads, rows: queryLength };
}

/** Length of the batch axis of q, k, v and the output. */
export function storedBatch({ batch, options }: AttentionInputs): number {
  return options.isPacked ? 1 : batch;
}

/** Twin of the uniform struct `OptionParams` (shaders/attention/parts/score.wgsl). */
export function optionParams({ fields }: OptionFields, queryLength: number, keyLength: number) {
  const { sequences, visibility, score, dropout, captures } = fields;
  const lengths = { query_length: queryLength, key_length: keyLength };
  return { sequences: { ...sequences, ...lengths }, visibility, score, dropout, captures };
}

/** Uniform fields of attention/parts/inputs and attention/parts/score, forward and backward. */
export function inputFields(problem: AttentionInputs) {
  return {
    heads: problem.heads,
    options: optionParams(problem.options, problem.queryLength, problem.keyLength),
    blocks: problem.options.fields.blocks,
    inputs: {
      q: operandFields(problem.q),
      k: operandFields(problem.k),
      v: operandFields(problem.v),
      group_size: problem.heads / problem.kvHeads,
      head_dim: problem.headDim,
      value_dim: problem.valueDim,
      query_rows: problem.queryRows,
    },
  };
}

/** A workgroup for each `blockQ` rows of each head and split, which computes the columns of a pass from `firstColumn` on. */
export function attentionLaunch(
  whole: AttentionProblem,
  variant: AttentionVariant,
  splits: number,
  traits: Traits,
  firstColumn = 0,
): Launch {
  const problem = passOf(whole, firstColumn);
  const { op, output, batch, heads, queryRows, dtype, kvDtype, storage, options } = problem;
  const { valueDim } = whole;
  const { folds, headTiles, rows } = foldHeads(problem, variant);
  const { shader, constants } = kernelOf(problem, variant);
  const queryTiles = Math.ceil(rows / variant.blockQ);
  const groups = queryTiles * splits * headTiles * batch * valuePartsOf(variant);
  // splits are row-major: [splits, batch, heads, rows, value dim]
  const partStrides = [heads * queryRows * valueDim, queryRows * valueDim, valueDim, 1];
  return {
    shader: storage?.readerOf(shader) ?? shader,
    constants: {
      ...constants,
      ...options.constants,
      ...(kvDtype === 'float16' && { KV_F16: true }),
      ...storage?.constants,
      ...(dtype === 'float16' && splits === 1 && { OUT_F16: true }),
      ...(folds && { FOLDS_GROUP: true }),
    },
    params: {
      first_group: 0,
      end_group: groups,
      ...inputFields(problem),
      keys: options.fields.keys ?? CONTIGUOUS_KEYS,
      sinks: options.fields.sinks,
      work: { query_tiles: queryTiles, splits, head_tiles: headTiles },
      output: {
        strides: splits === 1 ? output.strides : partStrides,
        first_column: firstColumn,
        split_pitch: storedBatch(problem) * partStrides[0],
        split_rows: storedBatch(problem) * heads * queryRows,
        writes_log_sum_exp: firstColumn === 0 && (problem.writesLogSumExp || splits > 1) ? 1 : 0,
      },
    },
    workgroups: foldWorkgroups(op, groups, traits),
    operations: 2 * visiblePairs(problem) * (problem.headDim + problem.valueDim),
    ...(leavesWorkOut(problem) && { isUpperBound: true }),
    insertions: options.insertions,
  };
}

/** Pairs of a query and a key in a tile of query rows, at most. */
function pairsOfTile({ keyLength, options: { band } }: AttentionProblem, { blockQ }: AttentionVariant): number {
  return blockQ * Math.min(keyLength, band.left + band.right + blockQ);
}

/**
 * Pairs of a query and a key over all heads that the band leaves, if the last query sees the last key. Where the band leaves more in
 * another alignment, they are counted too. Lengths of single sequences are not known here: each counts as the longest, but
 * packed sequences have no more queries than q has rows.
 */
export function visiblePairs(problem: AttentionInputs): number {
  const { batch, heads, queryLength, keyLength, options } = problem;
  const { left, right } = options.band;
  const queries = Math.min(queryLength, keyLength);
  const after = Math.max(0, queries - 1 - right); // keys that the first query does not see after it, one fewer each row
  const isOpen = right >= keyLength;
  const before = isOpen ? 0 : Math.max(0, keyLength - 1 - left); // keys that the last query does not see before it
  const rows = Math.min(queries, before);
  const hidden = (after * (after + 1)) / 2 + rows * before - (rows * (rows - 1)) / 2;
  const inBatch = batch * Math.max(0, queryLength * keyLength - hidden);
  const inRows = storedBatch(problem) * problem.queryRows * Math.min(keyLength, left + right + 1);
  return heads * Math.min(inBatch, inRows);
}

/** In a uniform, the place in `table` of something that is not there: twin of parts/table.wgsl. */
export const ABSENT = 0xffffffff;

/** Whether a kernel may have far fewer pairs to compute: those of shorter sequences, and of a block mask's blocks. */
export function leavesWorkOut({ options }: AttentionInputs): boolean {
  const { sequences } = options.fields as { sequences?: { key_lengths_at?: number } };
  return options.isPacked || options.maskBlock !== undefined || (sequences?.key_lengths_at ?? ABSENT) !== ABSENT;
}

/** Columns of each pass but the last: the same number, in whole vectors of float16. */
function columnsOfPass(valueDim: number): number {
  const passes = Math.ceil(valueDim / MAX_COLUMNS);
  return passes === 1 ? valueDim : 8 * Math.ceil(valueDim / passes / 8);
}

/** The problem with the columns of v of one pass. */
function passOf(problem: AttentionProblem, firstColumn: number): AttentionProblem {
  const { v, valueDim, storage } = problem;
  // a row of codes begins with a scale, so its reader counts columns from there
  const offset = storage?.hasValueCodes ? v.offset : v.offset + firstColumn * v.strides[3];
  const columns = Math.min(valueDim - firstColumn, columnsOfPass(valueDim));
  return { ...problem, valueDim: columns, v: { ...v, offset } };
}

// ---- merging parts, and block masks

/** Partial results in float32, row-major [parts, batch, heads, rows, valueDim], with their log-sum-exp. */
export interface MergeProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly parts: number;
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly valueDim: number;
  readonly dtype: FloatDType;
  readonly output: Operand;
  readonly writesLogSumExp: boolean;
}

const MERGE_WORKGROUP = 64;

export function planMergeAttention(problem: MergeProblem, limits: Limits): Launch {
  const { op, parts, batch, heads, queryLength, valueDim, dtype, output } = problem;
  const rows = batch * heads * queryLength;
  const quads = Math.ceil(valueDim / 4);
  const groups = Math.ceil((rows * quads) / MERGE_WORKGROUP);
  return {
    shader: mergeShader,
    constants: { OUT_F16: dtype === 'float16' },
    params: {
      parts,
      heads,
      query_length: queryLength,
      rows,
      value_dim: valueDim,
      quads,
      output_strides: output.strides,
      writes_log_sum_exp: problem.writesLogSumExp ? 1 : 0,
    },
    workgroups: foldWorkgroups(op, groups, limits),
  };
}

export interface BlockMaskProblem {
  /** The op's name, for errors. */
  readonly op: string;
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  /** Queries, and keys, of a block. */
  readonly blockSize: number;
  /** The mask modifier, with the uniform fields that it reads its captures by. */
  readonly insertions: readonly Insertion[];
  readonly captures: UniformValues;
}

/** A workgroup for each block. */
export function planBlockMask(problem: BlockMaskProblem, limits: Limits): Launch {
  const { op, heads, queryLength, keyLength, blockSize, insertions, captures } = problem;
  const [rows, columns] = [Math.ceil(queryLength / blockSize), Math.ceil(keyLength / blockSize)];
  const groups = problem.batch * heads * rows * columns;
  return {
    shader: blockMaskShader,
    constants: {},
    insertions,
    params: {
      groups,
      heads,
      rows,
      columns,
      query_length: queryLength,
      key_length: keyLength,
      block_size: blockSize,
      options: { captures },
    },
    workgroups: foldWorkgroups(op, groups, limits),
  };
}
