import shader from '../../shaders/matmul/subgroup.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import type { Traits } from '../tensor/traits.ts';
import { matmulConstants, matmulLaunch, type MatmulProblem, type MatmulVariant } from './matmul-operands.ts';

export interface MatmulSubgroupVariant extends MatmulVariant {
  readonly family: 'subgroup';
  /** Invocations of a subgroup. */
  readonly lanes: number;
}

/** Undefined where there are no subgroups of one size, and where so many rows a subgroup would want a GPU's registers. */
export function matmulSubgroupVariant(traits: Traits): MatmulSubgroupVariant | undefined {
  const { subgroupSize: lanes, isSoftware } = traits;
  if (lanes === 0 || (lanes > 8 && !isSoftware)) return undefined;
  return { name: 'subgroup', family: 'subgroup', rows: 4 * lanes, columns: 4 * Math.min(lanes, 8), lanes };
}

export function planMatmulSubgroup(problem: MatmulProblem, variant: MatmulSubgroupVariant, traits: Traits): Launch {
  return {
    shader,
    constants: { SUBGROUP: variant.lanes, ...matmulConstants(problem) },
    ...matmulLaunch(problem, variant, traits),
  };
}
