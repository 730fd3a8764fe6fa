import shader from '../../shaders/cross-entropy/total.wgsl';
import type { Launch } from '../gpu/runtime.ts';
import { ignoredParams, type CrossEntropyProblem } from './cross-entropy.ts';

export function planCrossEntropyTotal(
  { rows, targetsOffset, ignored }: Pick<CrossEntropyProblem, 'rows' | 'targetsOffset' | 'ignored'>,
  isMean: boolean,
): Launch {
  return {
    shader,
    constants: {},
    params: { rows, is_mean: isMean ? 1 : 0, ...ignoredParams(ignored), targets_offset: targetsOffset },
    workgroups: [1, 1, 1],
  };
}
