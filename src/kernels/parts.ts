import attentionOperands from '../../shaders/parts/attention-operands.wgsl';
import attentionTile from '../../shaders/parts/attention-tile.wgsl';
import element from '../../shaders/parts/element.wgsl';
import launch from '../../shaders/parts/launch.wgsl';
import matmulOperands from '../../shaders/parts/matmul-operands.wgsl';
import special from '../../shaders/parts/special.wgsl';
import store from '../../shaders/parts/store.wgsl';
import visibility from '../../shaders/parts/visibility.wgsl';

/** WGSL that several kernels share, by the name used on a shader's first line. */
export const PARTS: Readonly<Record<string, string>> = {
  'attention-operands': attentionOperands,
  'attention-tile': attentionTile,
  element,
  launch,
  'matmul-operands': matmulOperands,
  special,
  store,
  visibility,
};
