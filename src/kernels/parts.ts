import attentionOperands from '../../shaders/parts/attention-operands.wgsl';
import attentionSpecial from '../../shaders/parts/attention-special.wgsl';
import attentionTile from '../../shaders/parts/attention-tile.wgsl';
import element from '../../shaders/parts/element.wgsl';
import halfOctet from '../../shaders/parts/half-octet.wgsl';
import launch from '../../shaders/parts/launch.wgsl';
import matmulOperands from '../../shaders/parts/matmul-operands.wgsl';
import random from '../../shaders/parts/random.wgsl';
import rows from '../../shaders/parts/rows.wgsl';
import score from '../../shaders/parts/score.wgsl';
import special from '../../shaders/parts/special.wgsl';
import store from '../../shaders/parts/store.wgsl';
import subgroupMatrix from '../../shaders/parts/subgroup-matrix.wgsl';
import visibility from '../../shaders/parts/visibility.wgsl';

/** WGSL that several kernels share, by the name used on a shader's first line. */
export const PARTS: Readonly<Record<string, string>> = {
  'attention-operands': attentionOperands,
  'attention-special': attentionSpecial,
  'attention-tile': attentionTile,
  element,
  'half-octet': halfOctet,
  launch,
  'matmul-operands': matmulOperands,
  random,
  rows,
  score,
  special,
  store,
  'subgroup-matrix': subgroupMatrix,
  visibility,
};
