/**
 * Limits what a user's function asks of compilers and of the GPU. Compilers copy a called function into its caller and may
 * unroll loops, so 24 functions that each call the next twice are a text of 16 million calls. A kernel that hangs is never
 * interrupted. Each limit is far above what a function of one score needs.
 */
import type { Range } from './ranges.ts';
import { fail, type Token } from './tokens.ts';

/** Rounds of all loops in one call of the function. Those of nested loops multiply. */
export const MAX_ROUNDS = 65_536;
/** Tokens of the function, with those of each function that it calls, as often as the text calls it. */
export const MAX_TOKENS = 16_384;
/** Bytes of arrays and structs in the function and, as often as the text calls them, in those that it calls. */
export const MAX_ARRAY_BYTES = 1024;
/** A position of a query or key is below this, a number that leaves room to add to it. */
const POSITIONS = 2 ** 29;
/** As what a loop up to a position counts. */
const USUAL_POSITIONS = 4096;
/** Tokens of a function that reads a capture. */
const CAPTURE_TOKENS = 32;

/** A range, and the same if positions are usual ones. The first says that the value does not wrap, the second what it costs. */
export type Ranges = readonly [sure: Range | undefined, usual: Range | undefined];

export const UNKNOWN: Ranges = [undefined, undefined];
export const POSITION: Ranges = [
  { least: 0, most: POSITIONS - 1, type: 'u32' },
  { least: 0, most: USUAL_POSITIONS - 1, type: 'u32' },
];

/** Something in a function that costs. */
export interface Expense {
  /** Index of a token. */
  readonly at: number;
  readonly rounds?: number;
  readonly bytes?: number;
  /** The function that is called, so many times. */
  readonly callee?: string;
  readonly times?: number;
}

export interface FunctionBody {
  readonly tokens: number;
  readonly expenses: Expense[];
}

interface Cost {
  readonly rounds: number;
  readonly tokens: number;
  readonly bytes: number;
}

/** @throws ArgumentError if the function or one of those that it calls costs too much, or calls itself */
export function checkCost(
  caller: string,
  tokens: readonly Token[],
  functions: ReadonlyMap<string, FunctionBody>,
  given: readonly string[],
): void {
  const costs = new Map<string, Cost | undefined>(
    given.map((name) => [name, { rounds: 0, tokens: CAPTURE_TOKENS, bytes: 0 }]),
  );
  const costOf = (name: string, callAt: number): Cost => {
    const known = costs.get(name);
    if (known) return known;
    if (costs.has(name)) fail(caller, tokens[callAt], `'${name}' must not call itself`);
    costs.set(name, undefined);
    const body = functions.get(name)!;
    let cost: Cost = { rounds: 0, tokens: body.tokens, bytes: 0 };
    for (const { at, rounds = 0, bytes = 0, callee, times = 1 } of body.expenses) {
      const called = callee === undefined ? undefined : costOf(callee, at);
      cost = {
        rounds: cost.rounds + rounds + times * (called?.rounds ?? 0),
        tokens: cost.tokens + (called?.tokens ?? 0),
        bytes: cost.bytes + bytes + (called?.bytes ?? 0),
      };
      checkLimits(caller, tokens[at], cost);
    }
    costs.set(name, cost);
    return cost;
  };
  for (const name of functions.keys()) costOf(name, 0);
}

function checkLimits(caller: string, place: Token, { rounds, tokens, bytes }: Cost): void {
  if (rounds > MAX_ROUNDS) {
    fail(caller, place, `the loops of a call must take at most ${MAX_ROUNDS} rounds in all, got ${rounds}`);
  }
  if (tokens > MAX_TOKENS) {
    fail(
      caller,
      place,
      `a function must have at most ${MAX_TOKENS} words and symbols with those of all its calls, got ${tokens}`,
    );
  }
  if (bytes > MAX_ARRAY_BYTES) {
    fail(
      caller,
      place,
      `the arrays and structs of a function must take at most ${MAX_ARRAY_BYTES} bytes in all, got ${bytes}`,
    );
  }
}
