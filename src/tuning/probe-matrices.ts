import { MATRIX_SHADERS } from '../kernels/matrix-shaders.ts';
import { ShaderError, ValidationError } from '../gpu/errors.ts';
import { matmul } from '../ops/matmul.ts';
import type { Device } from '../tensor/device.ts';
import type { MatrixDialect, MatrixShaders } from '../tensor/traits.ts';

const DIALECTS: readonly MatrixDialect[] = ['vectors', 'scalars'];

/**
 * The kernels in the dialect in which the device's compiler computes matrix products (tensor cores) correctly. Undefined where
 * it does in none. The extension is experimental and its versions differ, so it is tried rather than trusted.
 */
export async function probeMatrices(device: Device): Promise<MatrixShaders | undefined> {
  for (const dialect of DIALECTS) if (await multipliesRight(device, dialect)) return MATRIX_SHADERS[dialect];
  return undefined;
}

const [ROWS, DEPTH, COLUMNS] = [20, 40, 24];
const leftAt = (row: number, k: number) => ((row + 2 * k) % 5) - 2;
const rightAt = (k: number, column: number) => ((3 * k + column) % 7) - 3;

/** Whether a product of small integers, either operand transposed or not, is exact in the dialect. */
export async function multipliesRight(device: Device, dialect: MatrixDialect): Promise<boolean> {
  const right = matrix(ROWS, COLUMNS, (row, column) => {
    let sum = 0;
    for (let k = 0; k < DEPTH; k++) sum += leftAt(row, k) * rightAt(k, column);
    return sum;
  });
  for (const isTransposed of [false, true]) {
    const product = withDialect(device, dialect, () => multiply(device, isTransposed));
    try {
      const values = await product.data();
      if (!values.every((value, i) => value === right[i])) return false;
    } catch (error) {
      if (error instanceof ShaderError || error instanceof ValidationError) return false;
      throw error;
    } finally {
      product.dispose();
    }
  }
  return true;
}

/** Ops only record, so nothing else runs before everything is restored. */
function withDialect<T>(device: Device, dialect: MatrixDialect, work: () => T): T {
  const { traits, kernels } = device;
  device.traits = { ...traits, subgroupMatrix: MATRIX_SHADERS[dialect] };
  device.kernels = { pinned: new Map([['matmul', 'matrix-32x32']]), tuned: new Map() };
  try {
    return work();
  } finally {
    device.traits = traits;
    device.kernels = kernels;
  }
}

function multiply(device: Device, isTransposed: boolean) {
  return device.scope(() => {
    const options = { dtype: 'float16' } as const;
    const a = isTransposed
      ? device.tensor(
          matrix(DEPTH, ROWS, (k, row) => leftAt(row, k)),
          [DEPTH, ROWS],
          options,
        )
      : device.tensor(matrix(ROWS, DEPTH, leftAt), [ROWS, DEPTH], options);
    const b = isTransposed
      ? device.tensor(
          matrix(COLUMNS, DEPTH, (column, k) => rightAt(k, column)),
          [COLUMNS, DEPTH],
          options,
        )
      : device.tensor(matrix(DEPTH, COLUMNS, rightAt), [DEPTH, COLUMNS], options);
    return matmul(a, b, { transposeA: isTransposed, transposeB: isTransposed });
  });
}

function matrix(rows: number, columns: number, value: (row: number, column: number) => number): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns));
}
