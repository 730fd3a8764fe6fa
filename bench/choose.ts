/** Chooses the cases that the command line asks for. */
import { ArgumentError } from '../src/index.ts';
import { nearest } from '../src/tensor/options.ts';
import { caseName, fullSet, QUICK } from './cases.ts';
import type { BenchCase, OpName } from './result.ts';

/** The options as the user gave them. */
export interface Choice {
  /** Chooses the cases of this op; with `shape`, names the op of the problem. */
  readonly op?: string;
  readonly shape?: string;
  readonly dtype?: string;
  readonly window?: string;
  readonly keys?: string;
  readonly causal?: boolean;
  /** Chooses the cases whose name contains this. */
  readonly filter?: string;
  readonly full?: boolean;
}

type FullSetDevice = Parameters<typeof fullSet>[0];

/**
 * Checks a choice. The function that it returns applies it to a device.
 *
 * @throws ArgumentError for a case that no device could run, or a choice of nothing
 */
export function chooseCases(choice: Choice): (device: FullSetDevice) => readonly BenchCase[] {
  if (choice.shape !== undefined) {
    const bench = problem(choice, choice.shape);
    return () => [bench];
  }
  for (const name of ['dtype', 'window', 'keys', 'causal'] as const) {
    if (choice[name] !== undefined) {
      throw new ArgumentError(`bench: --${name} must come with --op and --shape; --filter chooses by name`);
    }
  }
  const op = choice.op === undefined ? undefined : checkOp(choice.op);
  const word = choice.filter?.toLowerCase().replaceAll('×', 'x') ?? '';
  const isChosen = (bench: BenchCase) =>
    (op === undefined || bench.op === op) && caseName(bench).toLowerCase().includes(word);
  return (device) => {
    const all = fullSet(device);
    const chosen = (choice.full ? all : QUICK).filter(isChosen);
    if (chosen.length > 0) return chosen;
    const expected =
      choice.filter === undefined
        ? '--op must be one that is measured by default'
        : `--filter must match the name of a case${op ? ` of ${op}` : `, as '${caseName(QUICK[0])}'`}`;
    const hidden = all.filter(isChosen).length;
    const hint = hidden > 0 ? ` (with --full it matches ${hidden})` : '';
    throw new ArgumentError(`bench: ${expected}, got '${choice.filter ?? op}'${hint}`);
  };
}

interface OpForm {
  /** The axes of `--shape`, and an example. */
  readonly axes: readonly string[];
  readonly example: string;
  readonly takesCausal?: boolean;
  readonly window?: 'may' | 'must';
  readonly takesKeys?: boolean;
  readonly isModule?: boolean;
  readonly parts?: number;
}

const ROWS = { axes: ['B', 'H', 'N', 'D'], example: '1x8x1024x64' } as const;
const HEADS = { ...ROWS, takesCausal: true, window: 'may', takesKeys: true } as const;
const APPENDED = { ...ROWS, example: '1x8x1x64', takesKeys: true } as const;
const MODULE = { axes: ['B', 'N', 'E'], example: '1x512x512', takesCausal: true, isModule: true } as const;

const OPS: Readonly<Record<OpName, OpForm>> = {
  matmul: { axes: ['batch', 'M', 'N', 'K'], example: '1x1024x1024x1024' },
  softmax: { axes: ['B', 'H', 'Nq', 'Nk'], example: '1x8x1024x1024', takesCausal: true },
  scaledDotProductAttention: HEADS,
  flashAttention: HEADS,
  localAttention: { ...HEADS, window: 'must' },
  mergeAttention: { ...ROWS, parts: 4 },
  'KeyValueCache.attend': HEADS,
  'KeyValueCache.append': APPENDED,
  'PagedKeyValueCache.attend': HEADS,
  'PagedKeyValueCache.append': APPENDED,
  'scaledDotProductAttention.train': HEADS,
  'flashAttention.train': HEADS,
  'localAttention.train': { ...HEADS, window: 'must' },
  SelfAttention: MODULE,
  MultiHeadAttention: { ...MODULE, takesKeys: true },
  CrossAttention: { ...MODULE, takesKeys: true },
  LocalAttention: { ...MODULE, window: 'must' },
};

/** The problem that the user describes. */
function problem(choice: Choice, shapeText: string): BenchCase {
  for (const name of ['filter', 'full'] as const) {
    if (choice[name] !== undefined) {
      throw new ArgumentError(`bench: --shape must come without --${name}: it is the one problem to measure`);
    }
  }
  if (choice.op === undefined) {
    throw new ArgumentError(`bench: --shape must come with --op, one of ${Object.keys(OPS).join(', ')}`);
  }
  const op = checkOp(choice.op);
  const form = OPS[op];
  const shape = parseShape(op, form, shapeText);
  const { dtype = 'float32', causal = false } = choice;
  if (dtype !== 'float32' && dtype !== 'float16') {
    throw new ArgumentError(`bench: --dtype must be float32 or float16, got '${dtype}'`);
  }
  if (causal && !form.takesCausal)
    throw new ArgumentError(`bench: --causal must come with attention or softmax, got ${op}`);
  const window = parseWindow(op, form, choice.window);
  const keyLength = parseKeys(op, form, choice.keys);
  return {
    op,
    shape,
    dtype,
    causal,
    ...(window !== undefined && { window }),
    ...(keyLength !== undefined && { keyLength }),
    ...(form.isModule && { heads: headsOf(shape.at(-1)!) }),
    ...(form.parts !== undefined && { parts: form.parts }),
  };
}

function checkOp(given: string): OpName {
  const names = Object.keys(OPS) as OpName[];
  const op = names.find((name) => name === given);
  if (op) return op;
  // people abbreviate to the beginning, which is too far from the whole name to count as a typo
  const near = names.find((name) => name.toLowerCase().startsWith(given.toLowerCase() || '?')) ?? nearest(given, names);
  const hint = near ? ` (did you mean ${near}?)` : '';
  throw new ArgumentError(`bench: --op must be one of ${names.join(', ')}, got '${given}'${hint}`);
}

function parseShape(op: OpName, { axes, example }: OpForm, text: string): number[] {
  const lengths = text.split(/[x×]/).map((length) => (/^\d+$/.test(length) ? Number(length) : 0));
  if (lengths.length === axes.length && lengths.every((length) => length > 0)) return lengths;
  throw new ArgumentError(`bench: --shape of ${op} must be ${axes.join('x')}, such as ${example}, got '${text}'`);
}

function parseWindow(op: OpName, { window }: OpForm, text: string | undefined): number | undefined {
  if (text === undefined && window !== 'must') return undefined;
  if (window === undefined) {
    throw new ArgumentError(`bench: --window must come with an op of attention or LocalAttention, got ${op}`);
  }
  if (text !== undefined && /^\d+$/.test(text)) return Number(text);
  throw new ArgumentError(
    `bench: --window of ${op} must be the keys to either side, such as 64, got ${text ?? 'none'}`,
  );
}

function parseKeys(op: OpName, { takesKeys }: OpForm, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!takesKeys) throw new ArgumentError(`bench: --keys must come with attention to keys of their own, got ${op}`);
  if (/^[1-9]\d*$/.test(text)) return Number(text);
  throw new ArgumentError(`bench: --keys must be a whole number of 1 or more, got '${text}'`);
}

/** Heads of the usual dim, 64, if that divides the width; otherwise one head. */
function headsOf(width: number): number {
  return width % 64 === 0 ? width / 64 : 1;
}
