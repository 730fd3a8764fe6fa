/**
 * The shaders of the kernels on tensor cores (kernels/matrix.ts), in each dialect of Dawn's compiler. A device that has tensor
 * cores brings them with its traits (tuning/probe-matrices.ts), so that no other loads them.
 */
import attention from '../../shaders/matrix/attention.wgsl';
import matmul from '../../shaders/matrix/matmul.wgsl';
import requiredSizeEntry from '../../shaders/matrix/parts/required-size-entry.wgsl';
import scalars from '../../shaders/matrix/parts/subgroup-matrix-scalars.wgsl';
import { replacePart, type Shader } from '../gpu/shader.ts';
import type { MatrixDialect, MatrixEntries, MatrixShaders } from '../tensor/traits.ts';

export const MATRIX_SHADERS: Readonly<Record<MatrixDialect, MatrixShaders>> = {
  vectors: { dialect: 'vectors', attention: entries(attention), matmul: entries(matmul) },
  scalars: { dialect: 'scalars', attention: entries(inScalars(attention)), matmul: entries(inScalars(matmul)) },
};

/** A shader that uses the part matrix/subgroup-matrix. */
function inScalars(shader: Shader): Shader {
  return replacePart(shader, 'matrix/parts/subgroup-matrix', scalars);
}

/** A shader that uses the part matrix/entry. */
function entries(shader: Shader): MatrixEntries {
  return { any: shader, required: replacePart(shader, 'matrix/parts/entry', requiredSizeEntry) };
}
