/** How tensors, modules and caches print: values by the rules of PyTorch's torch/_tensor_str.py, and lists of facts. */
import type { DType, TensorData } from './dtype.ts';
import { sizeOf, type Shape } from './shape.ts';

/** Tensors of more elements are printed in part: three elements at either end of a long axis, or one if there are many axes. */
const MOST = 1000;
const DIGITS = 4;
export const LINE_WIDTH = 80;
/** How many items of a list among the facts are shown. */
const MOST_ITEMS = 8;

/** A copy of the elements that a print shows, so that it need not hold all. */
export interface Shown {
  readonly dtype: DType;
  readonly shape: Shape;
  /** How many positions of each axis are shown: all, or as many at its beginning as at its end. */
  readonly lengths: Shape;
  /** Row-major, of shape `lengths`. */
  readonly values: TensorData;
}

/** Copies those of a tensor's elements, in row-major order, that a print of it shows: at most 1,296. */
export function takeShown(data: TensorData, shape: Shape, dtype: DType): Shown {
  const edge = sizeOf(shape) <= MOST ? Infinity : shape.length > 4 ? 1 : 3;
  const lengths = shape.map((length) => Math.min(length, 2 * edge));
  const values = data.slice(0, sizeOf(lengths));
  for (let i = 0; i < values.length; i++) {
    let [at, left, stride] = [0, i, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const position = left % lengths[axis];
      at += stride * (position < edge ? position : position + shape[axis] - lengths[axis]);
      left = Math.floor(left / lengths[axis]);
      stride *= shape[axis];
    }
    values[i] = data[at];
  }
  return { dtype, shape, lengths, values };
}

/** The elements in nested brackets, of which the first stands in column `indent`. */
export function formatShown({ dtype, shape, lengths, values }: Shown, indent: number): string {
  const texts = alignedTexts(values, dtype);
  const last = shape.length - 1;
  let next = 0;
  const block = (axis: number, column: number): string => {
    const isRow = axis === last;
    const parts = Array.from({ length: lengths[axis] }, () => (isRow ? texts[next++] : block(axis + 1, column + 1)));
    if (lengths[axis] < shape[axis]) parts.splice(parts.length / 2, 0, isRow ? ' ...' : '...');
    const perLine = isRow ? Math.max(1, Math.floor((LINE_WIDTH - column) / (texts[0].length + 2))) : 1;
    const lineBreak = `,${'\n'.repeat(isRow ? 1 : last - axis)}${' '.repeat(column + 1)}`;
    return `[${parts.map((part, i) => (i === 0 ? '' : i % perLine > 0 ? ', ' : lineBreak) + part).join('')}]`;
  };
  return block(0, indent);
}

/** Every value as text of one width: whole floats with a point behind them, others with four decimals or in scientific notation. */
function alignedTexts(values: TensorData, dtype: DType): string[] {
  const texts = Array.from(values, formatterOf(values, dtype));
  const width = texts.reduce((most, { length }) => Math.max(most, length), 0);
  return texts.map((text) => text.padStart(width));
}

function formatterOf(values: TensorData, dtype: DType): (value: number) => string {
  if (dtype === 'bool') return (value) => String(value !== 0);
  if (dtype === 'int32' || dtype === 'uint32') return String;
  let [least, most, areWhole] = [Infinity, 0, true];
  for (const value of values) {
    if (!Number.isFinite(value) || value === 0) continue;
    least = Math.min(least, Math.abs(value));
    most = Math.max(most, Math.abs(value));
    areWhole &&= Number.isInteger(value);
  }
  const isWide = most / least > 1000 || most > 1e8 || (!areWhole && least < 1e-4);
  return (value) => {
    if (!Number.isFinite(value)) return String(value);
    // two digits in the exponent, as C and Python write it
    if (isWide) return value.toExponential(DIGITS).replace(/e([+-])(\d)$/, 'e$10$2');
    return areWhole ? `${value.toFixed(0)}.` : value.toFixed(DIGITS);
  };
}

/** `KeyValueCache(length=3, disposed)`: a name with what is known, and with an end if there is one. */
export function formatFacts(name: string, facts: Readonly<Record<string, unknown>>, end?: string): string {
  return `${name}(${[listFacts(facts), end].filter(Boolean).join(', ')})`;
}

/** `inFeatures=4, bias=true`, without facts that are undefined. */
export function listFacts(facts: Readonly<Record<string, unknown>>): string {
  return Object.entries(facts)
    .filter(([, fact]) => fact !== undefined)
    .map(([name, fact]) => `${name}=${formatFact(fact)}`)
    .join(', ');
}

function formatFact(fact: unknown): string {
  if (typeof fact === 'string') return `'${fact}'`;
  if (Array.isArray(fact)) {
    const items = fact.slice(0, MOST_ITEMS).map(formatFact);
    return `[${items.join(', ')}${fact.length > MOST_ITEMS ? ', ...' : ''}]`;
  }
  const isRecord = typeof fact === 'object' && fact !== null && Object.getPrototypeOf(fact) === Object.prototype;
  if (!isRecord) return String(fact);
  const entries = Object.entries(fact).map(([name, inner]) => `${name}: ${formatFact(inner)}`);
  return `{ ${entries.join(', ')} }`;
}
