/** Which kernels ops take on a device, and why; rows that say the same are merged. */
import type { Device } from '../index.ts';
import { VALUE_DIM_BUCKETS } from '../kernels/attention.ts';
import { chooseAttention } from '../kernels/attention.ts';
import { chooseAttentionGradient } from '../kernels/attention-gradient.ts';
import { chooseMatmul, FEW_TILES } from '../kernels/matmul.ts';
import { FLOAT_DTYPES, tuningProblems } from '../tuning/problems.ts';
import { table } from '../display/text.ts';

export function attentionKernels({ traits, kernels }: Device): string {
  const rows = (['flashAttention', 'localAttention'] as const).flatMap((op) =>
    FLOAT_DTYPES.flatMap((dtype) =>
      VALUE_DIM_BUCKETS.map((dim, i, dims) => {
        const size = { kernelsOf: op, dtype, headDim: dim, valueDim: dim };
        const { variant, reason } = chooseAttention(size, traits, kernels);
        const range = `${(dims[i - 1] ?? 0) + 1} to ${dim}`;
        return [op, dtype, range, variant.name, `${variant.blockQ} queries × ${variant.blockK} keys`, reason];
      }),
    ),
  );
  const gradients = FLOAT_DTYPES.flatMap((dtype) =>
    VALUE_DIM_BUCKETS.map((dim, i, dims) => {
      const size = { kernelsOf: 'flashAttention', dtype, headDim: dim, valueDim: dim } as const;
      const [query, key] = (['query', 'key'] as const).map((side) =>
        chooseAttentionGradient(size, side, traits, kernels),
      );
      const names = [...new Set([query.variant.name, key.variant.name])].join(', ');
      const range = `${(dims[i - 1] ?? 0) + 1} to ${dim}`;
      const step = `${query.variant.ownRows} queries, ${key.variant.ownRows} keys`;
      const reasons = [...new Set([query.reason, key.reason])].join(', ');
      return ['attentionGradient', dtype, range, names, step, reasons];
    }),
  );
  const [op, dtype, range] = [0, 1, 2];
  const merged = joinRows(joinRows(joinRows([...rows, ...gradients], range, joinRanges), dtype), op);
  return table(['op', 'dtype', 'head dims', 'kernel', 'a workgroup’s step', 'because'], merged);
}

const PRODUCTS = [
  { name: 'at most 32 rows or columns', rows: 16, columns: 1024 },
  { name: `fewer than ${FEW_TILES} blocks of 64 × 64`, rows: 512, columns: 512 },
  { name: `${FEW_TILES} blocks or more`, rows: 2048, columns: 2048 },
];

export function matmulKernels({ traits, kernels }: Device): string {
  const all = PRODUCTS.flatMap(({ name, rows, columns }) =>
    FLOAT_DTYPES.map((dtype) => {
      const { variant, reason } = chooseMatmul({ batchShape: [], rows, columns, aDType: dtype }, traits, kernels);
      return [name, dtype, variant.name, `${variant.rows} × ${variant.columns}`, reason];
    }),
  );
  const [product, dtype] = [0, 1];
  const merged = joinRows(joinRows(all, dtype), product, (names) => names.join('\n'));
  return table(['products of', 'dtype', 'kernel', 'a workgroup’s block', 'because'], merged);
}

/** A class of sizes in words: `head dims up to 64`, `few queries, head dims up to 64`, or matmul's own word. */
export function describeClass(sizeClass: string | number): string {
  const [, few, dim] = /^(few-)?(\d+)$/.exec(String(sizeClass)) ?? [];
  if (dim === undefined) return String(sizeClass);
  return `${few ? 'few queries, ' : ''}head dims up to ${dim}`;
}

/** Every kernel that `--kernel` can pin, for each class of problems that share a choice. */
export function pinnableKernels({ traits, kernels: { tuned } }: Device): string {
  const rows = tuningProblems(traits, { headDims: VALUE_DIM_BUCKETS }).map(({ op, dtype, sizeClass, key, kernels }) => {
    const byDefault = tuned.get(key)?.kernel ?? kernels[0];
    const size = describeClass(sizeClass);
    return [op, size, dtype, kernels.map((name) => (name === byDefault ? `${name} (default)` : name)).join('\n')];
  });
  const [op, size, dtype] = [0, 1, 2];
  return table(['op', 'size', 'dtype', 'kernels'], joinRows(joinRows(joinRows(rows, dtype), size), op));
}

/** Merges rows that differ in one column only, and joins their cells of that column. */
export function joinRows(
  rows: readonly (readonly string[])[],
  column: number,
  join = (values: readonly string[]) => values.join('\n'),
): string[][] {
  const groups = new Map<string, (readonly string[])[]>();
  for (const row of rows) {
    const rest = JSON.stringify(row.with(column, ''));
    groups.set(rest, [...(groups.get(rest) ?? []), row]);
  }
  return [...groups.values()].map((group) => group[0].with(column, join(group.map((row) => row[column]))));
}

/** Joins `1 to 32`, `33 to 64` and `129 to 256` into `1 to 64, 129 to 256`. */
export function joinRanges(ranges: readonly string[]): string {
  return ranges
    .join(', ')
    .replace(/ to (\d+), (\d+)(?= to)/g, (gap, end, next) => (Number(next) === Number(end) + 1 ? '' : gap));
}
