import { ArgumentError, LoadError, quote, shorten } from '../gpu/errors.ts';
import { MAX_DEPTH, parseJson } from '../io/json.ts';
import { describe } from '../ops/internal/check.ts';

/** Reads a user's JSON object field by field. A field that does not fit is an error of one sentence. null counts as absent. */
export class Fields {
  /** The call that reads the object, for errors. */
  readonly call: string;
  /** The file that holds the object, for errors: `config.json`. */
  readonly place: string;
  readonly #object: Readonly<Record<string, unknown>>;

  constructor(call: string, place: string, object: Readonly<Record<string, unknown>>) {
    this.call = call;
    this.place = place;
    this.#object = object;
  }

  value(name: string): unknown {
    return Object.hasOwn(this.#object, name) ? (this.#object[name] ?? undefined) : undefined;
  }

  /** The text that an error shows for a field. */
  shown(name: string): string {
    const value = this.value(name);
    return typeof value === 'string' ? quote(value) : shorten(show(value));
  }

  /** A positive integer. */
  size(name: string, fallback?: number): number {
    const value = this.value(name) ?? fallback;
    if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number;
    return this.fail(name, 'be a positive integer');
  }

  /** A positive number. */
  positive(name: string, fallback?: number): number {
    const value = this.value(name) ?? fallback;
    if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value;
    return this.fail(name, 'be a positive number');
  }

  /** The number of a token, an unsigned integer of 32 bits. */
  token(name: string): number {
    const value = this.value(name);
    return isToken(value) ? value : this.fail(name, 'be the number of a token');
  }

  tokens(name: string): number[] {
    const values = this.list(name);
    return values.every(isToken) ? [...values] : this.fail(name, 'hold numbers of tokens');
  }

  flag(name: string, fallback = false): boolean {
    const value = this.value(name) ?? fallback;
    return typeof value === 'boolean' ? value : this.fail(name, 'be true or false');
  }

  text(name: string, fallback?: string): string {
    const value = this.value(name) ?? fallback;
    return typeof value === 'string' ? value : this.fail(name, 'be a string');
  }

  list(name: string): readonly unknown[] {
    const value = this.value(name) ?? [];
    return Array.isArray(value) ? value : this.fail(name, 'be a list');
  }

  /** An object inside the object. */
  child(name: string): Fields | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    return isObject(value)
      ? new Fields(this.call, `${this.place}'s ${shorten(name)}`, value)
      : this.fail(name, 'be an object');
  }

  /** A list of objects. */
  children(name: string): Fields[] {
    return this.list(name).map((item) =>
      isObject(item) ? new Fields(this.call, `${this.place}'s ${name}`, item) : this.fail(name, 'hold objects'),
    );
  }

  /** The names and values of an object inside the object. */
  entries(name: string): [string, unknown][] {
    const value = this.value(name) ?? {};
    return isObject(value) ? Object.entries(value) : this.fail(name, 'be an object');
  }

  /** Refuses a field that is present and has none of these values. */
  refuseUnless(name: string, known: readonly unknown[]): void {
    const value = this.value(name);
    if (value === undefined || known.includes(value)) return;
    const names = known.filter((item) => item !== null).map((item) => JSON.stringify(item));
    this.fail(name, names.length > 0 ? `be ${names.join(' or ')}` : 'be absent');
  }

  /** @throws LoadError, which says that the field must do what `expected` says */
  fail(name: string, expected: string): never {
    throw new LoadError(`${this.call}: ${shorten(name)} in ${this.place} must ${expected}, got ${this.shown(name)}`);
  }
}

/** @throws LoadError unless `text` is a JSON object, and ArgumentError unless it is a string */
export function parseFields(call: string, place: string, text: string): Fields {
  if (typeof text !== 'string') {
    throw new ArgumentError(`${call}: the text of ${place} must be a string, got ${describe(text)}`);
  }
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    const isText = cause instanceof SyntaxError;
    const expected = isText ? 'be JSON, got other text' : `nest at most ${MAX_DEPTH} levels, got more`;
    throw new LoadError(`${call}: ${place} must ${expected}`, { cause });
  }
  if (!isObject(value)) throw new LoadError(`${call}: ${place} must hold an object, got another value`);
  return new Fields(call, place, value);
}

/** Whether a value can be the number of a token, which others hold in 32 bits. */
export function isToken(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The beginning of a value's JSON, as far as an error shows it. The rest may be large, because it comes from a file. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return quote(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const isList = Array.isArray(value);
  let text = '';
  for (const name in value) {
    if (shorten(text) !== text) break;
    const item = show((value as Record<string, unknown>)[name]);
    text += `${text && ','}${isList ? item : `${quote(name)}:${item}`}`;
  }
  return isList ? `[${text}]` : `{${text}}`;
}
