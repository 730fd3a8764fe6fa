import shader from '../../shaders/optimiser/grad-scaler.wgsl';
import type { Launch } from '../gpu/runtime.ts';

export interface GradScalerProblem {
  /** Entries of what was found. */
  readonly optimisers: number;
  readonly growth: number;
  readonly backoff: number;
  /** Steps. */
  readonly interval: number;
}

export function planGradScaler({ optimisers, growth, backoff, interval }: GradScalerProblem): Launch {
  return { shader, constants: {}, params: { optimisers, growth, backoff, interval }, workgroups: [1, 1, 1] };
}
