import scalars from '../../shaders/parts/subgroup-matrix-scalars.wgsl';
import { joinParts, type Shader } from '../gpu/shader.ts';
import type { MatrixDialect } from '../tensor/traits.ts';
import { PARTS } from './parts.ts';

/** A shader that uses parts/subgroup-matrix.wgsl, in the words of either dialect. */
export function joinDialects(name: string, source: string): Readonly<Record<MatrixDialect, Shader>> {
  return {
    vectors: joinParts(name, source, PARTS),
    scalars: joinParts(name, source, { ...PARTS, 'subgroup-matrix': scalars }),
  };
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
