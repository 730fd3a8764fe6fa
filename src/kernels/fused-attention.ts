import type { Launch } from '../gpu/runtime.ts';
import type { Shader } from '../gpu/shader.ts';
import type { KernelChoices, Traits } from '../tensor/traits.ts';
import { attentionLaunch, packsGroup, type AttentionPlan, type AttentionProblem } from './attention-operands.ts';
import { attentionStreamVariant, planAttentionStream, type AttentionStreamVariant } from './attention-stream.ts';
import {
  attentionSubgroupVariant,
  planAttentionSubgroup,
  type AttentionSubgroupVariant,
} from './attention-subgroup.ts';
import {
  chooseTile,
  DEFAULT_BLOCK_SIZE,
  planAttentionTile,
  tileVariants,
  valueDimBucket,
  type AttentionTileVariant,
} from './attention-tile.ts';
import { decide, NO_CHOICES, type Choice, type ChoiceKey } from './choice.ts';
import { attentionMatrixKernel, attentionMatrixVariants, type AttentionMatrixVariant } from './matrix.ts';
import { planMergeAttention } from './merge-attention.ts';

export type FusedVariant =
  | AttentionTileVariant
  | AttentionSubgroupVariant
  | AttentionMatrixVariant
  | AttentionStreamVariant;

/** What the choice of a kernel depends on. */
export interface AttentionSize extends Pick<AttentionProblem, 'op' | 'dtype' | 'headDim' | 'valueDim'> {
  /** Query rows that share their keys, where they are known to be few. */
  readonly rows?: number;
  /** Nothing that only some kernels can do: no cache's layout, no modified scores, no small inputs. */
  readonly isPlain?: boolean;
  /** Queries and keys of a block mask's block, two of which no workgroup and no step may straddle. */
  readonly maskBlock?: number;
}

/** Keys a step that tiles are offered with. */
const BLOCK_SIZES = [DEFAULT_BLOCK_SIZE, 64];

/** So few rows that share their keys are decoding. */
const FEW_ROWS = 8;

/** Every kernel that can compute such a problem on the device. */
export function attentionVariants(size: AttentionSize, traits: Traits): FusedVariant[] {
  const { rows = Infinity, isPlain = true } = size;
  const tiles = BLOCK_SIZES.flatMap((blockK) => tileVariants(size.valueDim, blockK, traits));
  const variants: (FusedVariant | undefined)[] = [
    ...(isPlain ? attentionMatrixVariants(size, traits) : []),
    ...tiles,
    attentionSubgroupVariant(size, traits),
    attentionStreamVariant({ ...size, rows }, traits),
  ];
  return variants.filter((variant) => variant !== undefined && fitsBlocks(size, variant)) as FusedVariant[];
}

/** Sizes are powers of two all. */
function fitsBlocks({ maskBlock = Infinity }: AttentionSize, { blockQ, blockK }: FusedVariant): boolean {
  return Math.max(blockQ, blockK) <= maskBlock;
}

/** Dims of one class share a choice, and mostly a compiled kernel; so do problems of few rows. */
export function attentionKey({ op, dtype, headDim, valueDim, rows = Infinity }: AttentionSize): ChoiceKey {
  const dims = valueDimBucket(op, Math.max(valueDim, Math.min(headDim, 256)));
  return { op, dtype, sizeClass: rows <= FEW_ROWS ? `few-${dims}` : dims };
}

/** What suits the device's class where nothing was measured. */
function preferred(size: AttentionSize, traits: Traits): Choice<FusedVariant> {
  const { rows = Infinity, isPlain = true } = size;
  const stream = traits.isSoftware ? attentionStreamVariant({ ...size, rows }, traits) : undefined;
  if (stream && fitsBlocks(size, stream))
    return { variant: stream, reason: 'few queries on a CPU driver: every invocation walks keys of its own' };
  const [matrix] = isPlain && rows > FEW_ROWS ? attentionMatrixVariants(size, traits) : [];
  if (matrix) return { variant: matrix, reason: 'the device was opened for its tensor cores' };
  // SwiftShader, with subgroups of 4, seems to keep no array in registers: the tile kernel is twice as fast there
  const wantsSubgroups = traits.isSoftware && traits.subgroupSize >= 8;
  const subgroup = wantsSubgroups ? attentionSubgroupVariant(size, traits) : undefined;
  if (subgroup && fitsBlocks(size, subgroup))
    return { variant: subgroup, reason: 'a CPU driver: neither barriers nor workgroup memory' };
  if (rows <= FEW_ROWS) {
    const few = tileVariants(size.valueDim, DEFAULT_BLOCK_SIZE, traits).find(({ blockQ }) => blockQ === FEW_ROWS);
    if (few) return { variant: few, reason: 'few queries' };
  }
  return {
    variant: chooseTile(size.op, size.valueDim, DEFAULT_BLOCK_SIZE, traits),
    reason: 'the most queries, up to 32, that fit workgroup memory and registers',
  };
}

/** `blockSize` asks for a tile of so many keys, or of a block mask's fewer, whatever was chosen. */
export function chooseAttention(
  size: AttentionSize,
  traits: Traits,
  choices: KernelChoices,
  blockSize?: number,
): Choice<FusedVariant> {
  valueDimBucket(size.op, size.valueDim);
  if (blockSize !== undefined) {
    const keys = Math.min(blockSize, size.maskBlock ?? Infinity);
    return { variant: chooseTile(size.op, size.valueDim, keys, traits), reason: 'blockSize was given' };
  }
  const fallback = preferred(size, traits);
  if (choices.pinned.size === 0 && choices.tuned.size === 0) return fallback;
  return decide(attentionKey(size), attentionVariants(size, traits), fallback, choices);
}

/** What the choice of a kernel for `problem` depends on. */
function sizeOf(problem: AttentionProblem): AttentionSize {
  const { dtype, kvDtype = dtype, headDim, valueDim, heads, kvHeads, queryLength, keys, blocks, scores } = problem;
  const { op, kernelsOf = op } = problem;
  const isPlain = kvDtype === dtype && keys.layout === 'contiguous' && Object.keys(scores).length === 0;
  const rows = blocks ? queryLength : (queryLength * heads) / kvHeads;
  return { op: kernelsOf, dtype, headDim, valueDim, rows, isPlain, maskBlock: blocks?.blockSize };
}

/** Fewer keys than this are not worth a split of their own. */
const LEAST_SPLIT_KEYS = 256;

/**
 * Parts that the keys of few queries are divided into, so that the device has something to do: some workgroups for each
 * of a CPU's cores, or for each of a GPU's multiprocessors, neither of which WebGPU tells.
 */
export function chooseSplits(problem: AttentionProblem, variant: FusedVariant, traits: Traits): number {
  const { batch, heads, kvHeads, queryLength, keyLength, visibility, blocks } = problem;
  const packs = packsGroup(problem, variant);
  const tiles = Math.ceil((packs ? (queryLength * heads) / kvHeads : queryLength) / variant.blockQ);
  if (tiles > 2 || blocks || variant.family === 'matrix') return 1;
  const groups = tiles * batch * (packs ? kvHeads : heads);
  const { left, right } = visibility.band;
  const keys = Math.min(keyLength, left + right + queryLength);
  const wanted = traits.isSoftware ? 64 : 256;
  return Math.max(1, Math.min(Math.ceil(wanted / groups), Math.floor(keys / LEAST_SPLIT_KEYS)));
}

export function planAttentionMatrix(
  problem: AttentionProblem,
  variant: AttentionMatrixVariant,
  traits: Traits,
): Launch {
  const { shader, constants } = attentionMatrixKernel(variant);
  return attentionLaunch(shader, constants, problem, variant, traits);
}

function planVariant(
  tileShader: Shader,
  problem: AttentionProblem,
  variant: FusedVariant,
  traits: Traits,
  splits: number,
): Launch {
  switch (variant.family) {
    case 'tile':
      return planAttentionTile(tileShader, problem, variant, traits, splits);
    case 'subgroup':
      return planAttentionSubgroup(problem, variant, traits, splits);
    case 'stream':
      return planAttentionStream(problem, variant, traits, splits);
    case 'matrix':
      return planAttentionMatrix(problem, variant, traits);
  }
}

/** Plans `problem` for the chosen kernel; `tileShader` is the op's own, which walks the keys by tiles. */
export function planFusedAttention(
  tileShader: Shader,
  problem: AttentionProblem,
  traits: Traits,
  choices: KernelChoices = NO_CHOICES,
  blockSize?: number,
): AttentionPlan {
  valueDimBucket(problem.op, problem.valueDim);
  const choice = chooseAttention(sizeOf(problem), traits, choices, blockSize);
  const splits = chooseSplits(problem, choice.variant, traits);
  const launch = planVariant(tileShader, problem, choice.variant, traits, splits);
  if (splits === 1) return { choice, ...launch };
  const { op, heads, queryRows, valueDim, dtype, output, writesLogSumExp, scores } = problem;
  const batch = scores.sequences ? 1 : problem.batch;
  const merge = { op, parts: splits, batch, heads, queryLength: queryRows, valueDim, dtype, output, writesLogSumExp };
  return { choice, ...launch, merge: { parts: splits, ...planMergeAttention(merge, traits) } };
}
