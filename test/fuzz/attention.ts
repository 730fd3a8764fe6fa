/** Random calls of the attention ops, forward and backward: every option that they take, with operands in any layout. */
import fc from 'fast-check';
import { ArgumentError, createBlockMask, type Device, type Tensor, type TunableOp } from '../../src/index.ts';
import { anyLayout, ofRank } from '../ops/any-layout.ts';
import { anyMask, anyScore, type Shift } from '../ops/attention/any-modifiers.ts';
import { expectGradients, runGradients } from '../ops/attention/attention-backward-run.ts';
import {
  ATTENTION_OPS,
  type AttentionOp,
  expectAttention,
  largest,
  type Magnitudes,
  type Problem,
  runAttention,
} from '../ops/attention/attention-run.ts';
import { boolMask, floatMask, map, randomOperands } from '../ops/attention/attention-suite.ts';
import { kernelsOf } from '../ops/attention/pinned.ts';
import type { Float } from '../ops/upload.ts';
import { Random } from '../random.ts';
import type { OutputGradients } from '../reference/attention-gradient.ts';
import type { MaskFunction } from '../reference/block-mask.ts';
import type { HostArray } from '../reference/host-array.ts';
import { visibility } from '../reference/visibility.ts';
import { type Direction, OWN_CHOICE, some, type Subject, subject, tenths, type Verdict } from './subject.ts';

// ---- cases

const bound = fc.oneof(
  { weight: 2, arbitrary: fc.constant(-1) },
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 30 }) },
  { weight: 1, arbitrary: fc.integer({ min: 31, max: 400 }) },
);
const alignment = fc.constantFrom('top-left' as const, 'bottom-right' as const);

const CODES = ['plain', 'modified', 'dropout', 'modified and dropout', 'functions', 'blocks'] as const;
type Code = (typeof CODES)[number];

/** What a kernel is compiled for. */
interface Version {
  readonly code: Code;
  readonly dtype: Float;
  /** Query heads that share their keys. */
  readonly group: number;
  /** Whether rows are aligned vectors, which some kernels read as such. */
  readonly isAligned: boolean;
  /** Head dims. */
  readonly bucket: number;
}

function versionOf(kernel: string, isMaterialised: boolean, seed: number): Version {
  const random = new Random(seed);
  // kernels for tensor cores take nothing else
  const isHalf = kernel.startsWith('matrix') && !isMaterialised;
  return {
    code: isHalf ? 'plain' : random.pick(['plain', 'plain', 'modified', ...CODES]),
    dtype: isHalf || random.uniform() < 0.3 ? 'float16' : 'float32',
    group: random.pick([1, 1, 2, 4]),
    isAligned: random.uniform() < 0.4,
    // a device's own choice is tried with wide heads too: each bucket has kernels of its own
    bucket: kernel === OWN_CHOICE ? random.pick([32, 32, 32, 64, 128]) : 32,
  };
}

/** Dims that share a bucket with the largest. */
function dimsOf({ bucket, isAligned }: Version): fc.Arbitrary<number> {
  const least = bucket === 32 ? 0 : bucket / 2;
  const dims = isAligned ? [least + 8, least + 16, bucket] : [least + 1, least + 7, bucket - 1];
  return fc.constantFrom(...dims);
}

/** Lengths at the edges of tiles, few queries against many keys, and any. */
const edge = fc.constantFrom(1, 31, 32, 33, 63, 64, 65);
const fewQueries = fc.record({ queries: fc.constantFrom(1, 2), keys: fc.integer({ min: 1, max: 700 }) });
const anyLengths = fc.oneof(
  fewQueries,
  fc.record({ queries: edge, keys: edge }),
  fc.record({ queries: fc.integer({ min: 1, max: 75 }), keys: fc.integer({ min: 1, max: 90 }) }),
);

/** Arguments that no op may take, which the case is given last. */
const FAULTS: Readonly<Record<string, (problem: Problem) => Problem>> = {
  'softcap 0': (problem) => ({ ...problem, softcap: 0 }),
  'scale NaN': (problem) => ({ ...problem, scale: NaN }),
  'window -2': (problem) => ({ ...problem, window: { left: -2, right: 0 } }),
  'window 1.5': (problem) => ({ ...problem, window: { left: 0, right: 1.5 } }),
  'more values than keys': (problem) => ({ ...problem, v: longer(problem.v, -2) }),
  'more heads of keys': (problem) => ({ ...problem, k: longer(problem.k, -3) }),
  'longer queries than keys': (problem) => ({ ...problem, q: longer(problem.q, -1) }),
  'a wider mask': (problem) => {
    const keys = problem.k.shape.at(-2)!;
    return { ...problem, mask: { shape: [keys + 2], data: new Uint8Array(keys + 2) } };
  },
  'a longer keyMask': (problem) => {
    const keys = problem.k.shape.at(-2)! + 1;
    return {
      ...problem,
      keyMask: { shape: [problem.q.shape[0], keys], data: new Uint8Array(problem.q.shape[0] * keys) },
    };
  },
  'negative keyLengths': (problem) => ({ ...problem, asTensors: false, keyLengths: problem.q.data.length ? [-1] : [] }),
  'dropoutP 1.5': (problem) => ({ ...problem, dropoutP: 1.5, dropoutSeed: 1 }),
  'dropoutP NaN': (problem) => ({ ...problem, dropoutP: NaN, dropoutSeed: 1 }),
  'dropoutSeed -1': (problem) => ({ ...problem, dropoutP: 0.5, dropoutSeed: -1 }),
  'too many sinks': (problem) => ({ ...problem, sinks: { shape: [65], data: new Float32Array(65) } }),
  'queryOffset 0.5': (problem) => ({ ...problem, queryOffset: 0.5 }),
};

const shared = {
  seed: fc.nat(1e6),
  fault: some(fc.constantFrom(...Object.keys(FAULTS)), 1, 20),
  kvHeads: fc.integer({ min: 1, max: 2 }),
  isCausal: fc.boolean(),
  align: alignment,
  window: some(fc.record({ left: bound, right: bound, align: some(alignment) }), 1, 3),
  scale: some(tenths(-2, 2)),
  softcap: some(tenths(0.3, 60)),
  slopes: fc.constantFrom('heads' as const, 'batch' as const),
  dropoutP: fc.constantFrom(0.1, 0.5, 1),
  sinks: some(fc.boolean()),
  offset: fc.constantFrom('none' as const, 'none' as const, 'one' as const, 'batch' as const),
  /** Shares of the keys. */
  keyLengths: some(fc.array(tenths(0, 1), { minLength: 4, maxLength: 4 }), 1, 3),
  asTensors: fc.boolean(),
  /** Logits of about ±1e4 between some queries and keys, or in a gradient ±100. */
  outlier: fc.constantFrom(0, 0, 0, 1, -1),
  hasLogSumExp: fc.boolean(),
};

const mask = some(
  fc.record({
    kind: fc.constantFrom('bool' as const, 'float' as const, 'far' as const),
    /** Along which of [B, H, Nq, Nk] it repeats. */
    repeats: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
    /** Leading axes left out. */
    dropped: fc.integer({ min: 0, max: 3 }),
    layout: anyLayout,
  }),
);

function anyCase(op: AttentionOp, direction: Direction, kernel: string, seed: number) {
  const version = versionOf(kernel, op === 'scaledDotProductAttention', seed);
  const lengths = kernel === 'stream' ? fewQueries : anyLengths;
  const layout = version.isAligned ? fc.constant(undefined) : anyLayout;
  const given = { ...shared, dim: dimsOf(version), valueDim: dimsOf(version) };
  const target = {
    op: fc.constant(op),
    direction: fc.constant(direction),
    version: fc.constant(version),
    blockSize: fc.constant(Math.max(32, ...(kernel.match(/\d+/g) ?? []).map(Number))),
  };
  const dense = fc.record({
    ...given,
    form: fc.constantFrom('heads' as const, 'heads' as const, 'heads' as const, 'no heads' as const),
    batch: fc.integer({ min: 1, max: 2 }),
    lengths,
    mask,
    keyMask: some(fc.constantFrom(0.8, 0.3), 1, 3),
    /** What keys and values hold that no query may attend to. */
    poison: some(fc.constantFrom(NaN, Infinity, -Infinity)),
    layouts: fc.record({ q: layout, k: layout, v: layout }),
    ...target,
  });
  const packed = fc.record({
    ...given,
    form: fc.constant('packed' as const),
    sequences: fc.array(fc.record({ lengths, hasQueries: tenths(0, 1), hasKeys: tenths(0, 1) }), {
      minLength: 1,
      maxLength: 4,
    }),
    layouts: fc.record({ q: layout, k: layout, v: layout }),
    ...target,
  });
  return fc.oneof({ weight: 4, arbitrary: dense }, { weight: 1, arbitrary: packed });
}

type Case = ReturnType<typeof anyCase> extends fc.Arbitrary<infer T> ? T : never;

// ---- problems

interface Built {
  readonly problem: Problem;
  /** Its mask function, where the case wants blocks of it. */
  readonly blocks?: MaskFunction;
  readonly magnitudes: Magnitudes;
}

function build(c: Case): Built {
  const random = new Random(c.seed);
  const heads = c.form === 'no heads' ? 1 : c.kvHeads * c.version.group;
  const kvHeads = c.form === 'no heads' ? 1 : c.kvHeads;
  const offsets = c.form === 'packed' ? sequenceOffsets(c.sequences) : undefined;
  const batch = c.form === 'packed' ? c.sequences.length : c.batch;
  const [queries, keys] =
    c.form === 'packed'
      ? [offsets!.queryOffsets.at(-1)!, offsets!.keyOffsets.at(-1)!]
      : [c.lengths.queries, c.lengths.keys];
  const sizes = { batch: offsets ? 1 : batch, heads, kvHeads, queries, keys, dim: c.dim, valueDim: c.valueDim };
  const operands = withOutlier(randomOperands(random, sizes), c, random);
  const has = (...codes: Code[]) => codes.includes(c.version.code);
  const slopeShape = c.slopes === 'batch' ? [batch, heads] : [heads];
  const offset = () => random.integer(-queries - 5, keys + 5);
  const scoreShape = [sizes.batch, heads, queries, keys] as const;

  let problem: Problem = {
    ...operands,
    ...offsets,
    scale: c.scale,
    isCausal: c.isCausal ? c.align : false,
    window: c.window && {
      left: c.window.left,
      right: c.window.right,
      ...(c.window.align && { align: c.window.align }),
    },
    sinks: c.sinks === undefined ? undefined : { shape: [heads], data: random.normals([heads], 2) },
    queryOffset: { none: undefined, one: offset(), batch: Array.from({ length: batch }, offset) }[c.offset],
    keyLengths: c.keyLengths && Array.from({ length: batch }, (_, b) => Math.round(c.keyLengths![b % 4] * keys)),
    asTensors: c.asTensors,
    ...(has('modified', 'modified and dropout') && {
      softcap: c.softcap,
      alibiSlopes: { shape: slopeShape, data: random.normals(slopeShape, 0.1) },
    }),
    ...(has('dropout', 'modified and dropout') && { dropoutP: c.dropoutP, dropoutSeed: 2 ** 32 + c.seed }),
    layouts: Object.fromEntries(
      Object.entries(c.layouts).map(([name, layout]) => [name, ofRank(layout, c.form === 'no heads' ? 3 : 4)]),
    ),
  };
  if (c.form !== 'packed') problem = withMasks(problem, c, random, scoreShape);
  const blocks = withFunctions(c, random, scoreShape);
  const shift: Shift = (_b, h, i, j) => ((3 * h + i * j) % 7) / 3;
  if (has('functions')) {
    problem.scoreMod = (score, b, h, i, j) => 0.5 * score + shift(b, h, i, j);
    problem.scoreModDerivative = () => 0.5;
    problem.modifiers = (device) => ({ scoreMod: anyScore(device, scoreShape, 0.5, shift) });
  }
  if (blocks) problem.maskMod = blocks;
  const magnitudes = magnitudesOf(problem, c.outlier !== 0 && c.direction === 'backward');
  if (c.form === 'heads' && c.poison !== undefined) problem = poisoned(problem, scoreShape, c.poison);
  if (c.form === 'no heads') problem = withoutHeads(problem);
  if (c.fault) problem = FAULTS[c.fault](problem);
  return { problem, blocks, magnitudes };
}

function sequenceOffsets(sequences: (Case & { form: 'packed' })['sequences']) {
  const [queryOffsets, keyOffsets] = [[0], [0]];
  for (const { lengths, hasQueries, hasKeys } of sequences) {
    queryOffsets.push(queryOffsets.at(-1)! + (hasQueries === 0 ? 0 : lengths.queries));
    keyOffsets.push(keyOffsets.at(-1)! + (hasKeys === 0 ? 0 : lengths.keys));
  }
  // an op has at least one row of each
  for (const offsets of [queryOffsets, keyOffsets]) if (offsets.at(-1) === 0) offsets[offsets.length - 1] = 1;
  return { queryOffsets, keyOffsets };
}

/** A query and a key of each head a hundred times as long, in a gradient ten times. */
function withOutlier(operands: Pick<Problem, 'q' | 'k' | 'v'>, { outlier, direction }: Case, random: Random) {
  if (outlier === 0) return operands;
  const factor = direction === 'forward' ? 100 : 10;
  const stretch = ({ shape, data }: HostArray, by: number) => {
    const [rows, dim] = shape.slice(-2);
    const row = random.integer(0, rows - 1);
    return map({ shape, data }, (x, at) => (Math.floor(at / dim) % rows === row ? by * x : x));
  };
  return { q: stretch(operands.q, factor), k: stretch(operands.k, outlier * factor), v: operands.v };
}

function withMasks(
  problem: Problem,
  c: Exclude<Case, { form: 'packed' }>,
  random: Random,
  scoreShape: readonly number[],
): Problem {
  const [batch, , , keys] = scoreShape;
  const masked = c.mask && c.form === 'no heads' ? { ...c.mask, dropped: Math.max(1, c.mask.dropped) } : c.mask;
  const shape = masked && scoreShape.map((size, axis) => (masked.repeats[axis] ? 1 : size)).slice(masked.dropped);
  const values =
    shape &&
    {
      bool: () => boolMask(random, shape),
      float: () => floatMask(random, shape),
      far: () => map(floatMask(random, shape), (x) => (x > 1 ? -1e4 : x)),
    }[masked.kind]();
  return {
    ...problem,
    mask: values,
    keyMask: c.keyMask === undefined ? undefined : boolMask(random, [batch, keys], c.keyMask),
    layouts: { ...problem.layouts, ...(shape && { mask: ofRank(masked.layout, shape.length) }) },
  };
}

/** Which keys a query may attend to, by blocks of 32 and by single keys. */
function withFunctions(c: Case, random: Random, scoreShape: readonly number[]): MaskFunction | undefined {
  if (c.version.code === 'functions') return (_b, h, i, j) => (i + 2 * j + h) % 5 !== 0;
  if (c.version.code !== 'blocks' || c.form === 'packed') return undefined;
  const [, , queries, keys] = scoreShape;
  const kinds = random.normals([Math.ceil(queries / 32) * Math.ceil(keys / 32)]); // finer than the blocks may be
  return (_b, _h, i, j) => {
    const kind = kinds[Math.floor(i / 32) * Math.ceil(keys / 32) + Math.floor(j / 32)];
    return kind > 0.5 || (kind > -0.5 && (i + j) % 3 !== 0);
  };
}

/** The bound of Cauchy and Schwarz on what a score is a sum of. */
function magnitudesOf({ q, k, scale, dropoutP, softcap }: Problem, isStretched: boolean): Magnitudes {
  const norm = ({ shape, data }: HostArray) => {
    const dim = shape.at(-1)!;
    let most = 0;
    for (let at = 0; at < data.length; at += dim) {
      let square = 0;
      for (let d = 0; d < dim; d++) square += data[at + d] ** 2;
      most = Math.max(most, Math.sqrt(square));
    }
    return most;
  };
  const factor = Math.abs(scale ?? 1 / Math.sqrt(q.shape.at(-1)!));
  const kept = dropoutP === undefined || dropoutP === 1 ? 1 : 1 / (1 - dropoutP);
  const stretched = isStretched ? Math.max(1, factor) * Math.max(largest(q.data), largest(k.data)) : 1;
  return { isFar: true, maxProduct: factor * norm(q) * norm(k) + (softcap ?? 0), maxValue: kept * stretched };
}

/** Keys and values that no query may attend to hold the value. */
function poisoned(problem: Problem, scoreShape: readonly number[], value: number): Problem {
  const [batch, heads, queries, keys] = scoreShape;
  const bias = visibility(scoreShape, problem).data;
  const kvHeads = problem.k.shape[1];
  const seen = new Uint8Array(batch * kvHeads * keys);
  for (let row = 0; row < batch * heads * queries; row++) {
    const head = Math.floor(row / queries);
    const at = (Math.floor(head / heads) * kvHeads + Math.floor(((head % heads) * kvHeads) / heads)) * keys;
    for (let key = 0; key < keys; key++) if (bias[row * keys + key] !== -Infinity) seen[at + key] = 1;
  }
  const poison = (x: HostArray) => {
    const dim = x.shape.at(-1)!;
    return map(x, (element, at) => (seen[Math.floor(at / dim)] ? element : value));
  };
  return { ...problem, k: poison(problem.k), v: poison(problem.v) };
}

function withoutHeads(problem: Problem): Problem {
  const drop = ({ shape: [batch, , ...rest], data }: HostArray) => ({ shape: [batch, ...rest], data });
  const { mask } = problem;
  return {
    ...problem,
    q: drop(problem.q),
    k: drop(problem.k),
    v: drop(problem.v),
    mask: mask && mask.shape.length === 4 ? drop(mask) : mask,
  };
}

/** One more along an axis. */
/** `axis` counts from the end. */
function longer({ shape, data }: HostArray, axis: number): HostArray {
  const more = shape.with(axis, shape.at(axis)! + 1);
  return { shape: more, data: new Float32Array(more.reduce((a, b) => a * b)).fill(data[0]) };
}

// ---- the check

async function check(device: Device, c: Case): Promise<Verdict> {
  const { problem, blocks, magnitudes } = build(c);
  const open: Disposable[] = [];
  if (blocks) {
    const [batch, heads, queryLength, keyLength] = [problem.q.shape[0], headsOf(problem), ...lengthsOf(problem)];
    const maskMod = anyMask(device, [1, heads, queryLength, keyLength], blocks);
    open.push(maskMod.captures['allowed'] as Tensor);
    const { blockSize } = c;
    const sizes = { batch, heads, queryLength, keyLength, blockSize };
    const blockMask = c.version.code === 'blocks' ? createBlockMask(device, maskMod, sizes) : undefined;
    if (blockMask) open.push(blockMask);
    const { modifiers } = problem;
    problem.modifiers = (d) => ({ ...modifiers?.(d), ...(blockMask ? { blockMask } : { maskMod }) });
  }
  const gradients = gradientsFor(problem, c);
  const isForward = c.direction === 'forward';
  try {
    if (c.fault) {
      // there is no reference for it
      await (isForward
        ? runAttention(c.op, problem, c.version.dtype)
        : runGradients(c.op, problem, gradients, c.version.dtype));
    } else if (isForward) await expectAttention(c.op, problem, c.version.dtype, magnitudes);
    else await expectGradients(c.op, problem, gradients, c.version.dtype, undefined, magnitudes);
  } catch (error) {
    if (error instanceof ArgumentError) return 'refused';
    throw error;
  } finally {
    for (const one of open) one[Symbol.dispose]();
  }
  if (c.fault) throw new Error(`${c.fault} was not refused`);
  return 'right';
}

function headsOf({ q }: Problem): number {
  return q.shape.length === 3 ? 1 : q.shape[1];
}

function lengthsOf({ q, k }: Problem): [queries: number, keys: number] {
  return [q.shape.at(-2)!, k.shape.at(-2)!];
}

function gradientsFor(problem: Problem, c: Case): OutputGradients {
  const random = new Random(c.seed + 1);
  const { q, v } = problem;
  const rows = q.shape.slice(0, -1);
  const normals = (shape: number[]) => ({ shape, data: random.normals(shape) });
  const isMaterialised = c.op === 'scaledDotProductAttention';
  return {
    output: normals([...rows, v.shape.at(-1)!]),
    ...(c.hasLogSumExp && { logSumExp: normals(rows) }),
    ...(c.hasLogSumExp && isMaterialised && { weights: normals([...rows, lengthsOf(problem)[1]]) }),
  };
}

// ---- what is fuzzed

export const attentionSubjects: readonly Subject[] = ATTENTION_OPS.flatMap((op) =>
  (['forward', 'backward'] as const).map((direction) => {
    const fused = direction === 'forward' ? op : 'attentionGradient';
    const pins: TunableOp = op === 'scaledDotProductAttention' ? 'matmul' : (fused as TunableOp);
    return subject<Case>({
      op,
      direction,
      pins,
      kernels: (device) => [OWN_CHOICE, ...kernelsOf(pins, device)],
      cases: (kernel, version) => anyCase(op, direction, kernel, version),
      check,
    });
  }),
);
