import scalars from '../../shaders/matrix/parts/subgroup-matrix-scalars.wgsl';
import { replacePart, type Shader } from '../gpu/shader.ts';
import type { MatrixDialect } from '../tensor/traits.ts';

/** A shader that uses matrix/subgroup-matrix, in the words of either dialect. */
export function dialects(shader: Shader): Readonly<Record<MatrixDialect, Shader>> {
  return { vectors: shader, scalars: replacePart(shader, 'matrix/parts/subgroup-matrix', scalars) };
}

/** Where subgroups of a workgroup stand, and how many lanes each has. */
export interface SubgroupGrid {
  /** Subgroups across the rows of the output. */
  readonly rowGroups: number;
  /** And across its columns. */
  readonly columnGroups: number;
  readonly lanes: number;
}

export function gridConstants({ rowGroups, columnGroups, lanes }: SubgroupGrid) {
  return {
    ROW_GROUPS: rowGroups,
    COLUMN_GROUPS: columnGroups,
    SUBGROUP: lanes,
    WORKGROUP: rowGroups * columnGroups * lanes,
  };
}
