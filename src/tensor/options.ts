import { ArgumentError, shorten } from '../gpu/errors.ts';
import { adviceFor, polarityOf } from './foreign-options.ts';

/** Names of `WaitOptions`. */
export const WAIT_OPTIONS = ['signal', 'onProgress'];

/** Refuses what cannot end a wait, or cannot watch it. */
export function checkWait(call: string, { signal, onProgress }: { signal?: unknown; onProgress?: unknown }): void {
  const fail = (name: string, expected: string, got: unknown) => {
    throw new ArgumentError(`${call}: ${name} must be ${expected}, got ${kindOf(got)}`);
  };
  if (signal !== undefined && !isSignal(signal)) {
    fail('signal', "an AbortSignal, such as an AbortController's signal", signal);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') fail('onProgress', 'a function', onProgress);
}

/** By what it can do, because a signal may come from another window. */
function isSignal(value: unknown): boolean {
  const signal = value as Partial<AbortSignal> | null;
  return typeof signal?.throwIfAborted === 'function' && typeof signal.addEventListener === 'function';
}

/** What a value is, for errors. */
export function kindOf(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${typeof (value.find((item) => typeof item !== 'number') ?? 0)}s`;
  return (value as object | undefined)?.constructor?.name ?? String(value);
}

/**
 * Refuses an option that the call does not know. The error names the option that other libraries' name stands for, or the
 * nearest one, and with a mask's name what the mask means.
 */
export function checkOptions(call: string, options: object, known: readonly string[]): void {
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw new ArgumentError(`${call}: options must be an object, got ${shorten(String(options))}`);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name))
      throw new ArgumentError(`${call}: unknown option '${shorten(name)}'; ${hintFor(name, known)}`);
  }
}

function hintFor(name: string, known: readonly string[]): string {
  const advice = adviceFor(name, known);
  if (advice) return advice;
  const near = nearest(name, known);
  // whatever a mask was called elsewhere, a name alone would not say which of its values hide
  const meaning = polarityOf(near ? [near] : /mask/i.test(name) ? known : []);
  if (near) return meaning ? `did you mean${meaning}?` : `did you mean '${near}'?`;
  return `known options are ${known.join(', ')}${meaning && `; masks are${meaning}`}`;
}

/** The known word that is most like the given one, if at most half of the letters differ. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = 0.5;
  for (const candidate of known) {
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    const share = edits / Math.max(word.length, candidate.length);
    if (share <= least) [best, least] = [candidate, share];
  }
  return best;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}

const GeneratorPrototype = Object.getPrototypeOf(function* () {}).prototype as object;
const AsyncGeneratorPrototype = Object.getPrototypeOf(async function* () {}).prototype as object;

/** Refuses async functions and generators: what they do later would escape the call that they were passed to. */
export function refuseDeferred<T>(call: string, result: T): T {
  if (result instanceof Promise) {
    result.catch(() => undefined);
    throw new ArgumentError(
      `${call}: work must not be async, because what it does after its first await would escape, got a function that ` +
        `returned a promise`,
    );
  }
  for (const prototype of [GeneratorPrototype, AsyncGeneratorPrototype]) {
    if (Object.prototype.isPrototypeOf.call(prototype, result as object)) {
      throw new ArgumentError(`${call}: work must not be a generator, because its steps would run after the call`);
    }
  }
  return result;
}
