/**
 * Limits what a user's function asks of compilers and of the GPU. Compilers copy a called function into its caller and may
 * unroll loops, so 24 functions that each call the next twice are a text of 16 million calls. A kernel that hangs is never
 * interrupted.
 */
import type { Ranges } from './integer-ranges.ts';
import { fail, type Token } from './tokens.ts';

/** What the arguments of a function are at most, and what one call of it may cost. */
export interface Limits {
  /** Every argument of type u32 is below this, a number that leaves room to add to it. */
  readonly argument: number;
  /** How many rounds a loop up to such an argument counts as. */
  readonly argumentRounds: number;
  /** Rounds of all loops in one call. Those of nested loops multiply. */
  readonly rounds: number;
  /** Tokens of the function, with those of each function that it calls, as often as the text calls it. */
  readonly tokens: number;
  /** How many tokens each function that the source is given counts as. */
  readonly givenTokens: number;
  /** Bytes of arrays and structs in the function and, as often as the text calls them, in those that it calls. */
  readonly bytes: number;
}

/** An argument of type u32. */
export function rangesOfArgument({ argument, argumentRounds }: Limits): Ranges {
  return [
    { least: 0, most: argument - 1, type: 'u32' },
    { least: 0, most: argumentRounds - 1, type: 'u32' },
  ];
}

/**
 * How many rounds a loop counts as that takes so many at most, for any arguments and for usual ones. `i / 4096u` is 0 for
 * usual arguments, so a loop up to a multiple of it also counts as its share of what it may take.
 */
export function countedRounds(
  [sure, usual]: readonly [sure: number, usual: number],
  { argument, argumentRounds }: Limits,
): number {
  return Math.max(usual, Math.floor((sure * argumentRounds) / argument));
}

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
  limits: Limits,
): void {
  const costs = new Map<string, Cost | undefined>(
    given.map((name) => [name, { rounds: 0, tokens: limits.givenTokens, bytes: 0 }]),
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
      checkLimits(caller, tokens[at], cost, limits);
    }
    costs.set(name, cost);
    return cost;
  };
  for (const name of functions.keys()) costOf(name, 0);
}

function checkLimits(caller: string, place: Token, { rounds, tokens, bytes }: Cost, limits: Limits): void {
  if (rounds > limits.rounds) {
    fail(caller, place, `the loops of a call must take at most ${limits.rounds} rounds in all, got ${rounds}`);
  }
  if (tokens > limits.tokens) {
    fail(
      caller,
      place,
      `a function must have at most ${limits.tokens} words and symbols with those of all its calls, got ${tokens}`,
    );
  }
  if (bytes > limits.bytes) {
    fail(
      caller,
      place,
      `the arrays and structs of a function must take at most ${limits.bytes} bytes in all, got ${bytes}`,
    );
  }
}
