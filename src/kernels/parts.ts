import activation from '../../shaders/parts/activation.wgsl';
import attentionGradient from '../../shaders/parts/attention-gradient.wgsl';
import attentionGradientSubgroup from '../../shaders/parts/attention-gradient-subgroup.wgsl';
import attentionGradientTile from '../../shaders/parts/attention-gradient-tile.wgsl';
import attentionOperands from '../../shaders/parts/attention-operands.wgsl';
import attentionResult from '../../shaders/parts/attention-result.wgsl';
import attentionSpecial from '../../shaders/parts/attention-special.wgsl';
import attentionTile from '../../shaders/parts/attention-tile.wgsl';
import dropout from '../../shaders/parts/dropout.wgsl';
import element from '../../shaders/parts/element.wgsl';
import halfOctet from '../../shaders/parts/half-octet.wgsl';
import launch from '../../shaders/parts/launch.wgsl';
import matmulOperands from '../../shaders/parts/matmul-operands.wgsl';
import optimiser from '../../shaders/parts/optimiser.wgsl';
import random from '../../shaders/parts/random.wgsl';
import rows from '../../shaders/parts/rows.wgsl';
import score from '../../shaders/parts/score.wgsl';
import softmaxRow from '../../shaders/parts/softmax-row.wgsl';
import special from '../../shaders/parts/special.wgsl';
import store from '../../shaders/parts/store.wgsl';
import subgroupMatrix from '../../shaders/parts/subgroup-matrix.wgsl';
import visibility from '../../shaders/parts/visibility.wgsl';

/** WGSL that several kernels share, by the name used on a shader's first line. */
export const PARTS: Readonly<Record<string, string>> = {
  activation,
  'attention-gradient': attentionGradient,
  'attention-gradient-subgroup': attentionGradientSubgroup,
  'attention-gradient-tile': attentionGradientTile,
  'attention-operands': attentionOperands,
  'attention-result': attentionResult,
  'attention-special': attentionSpecial,
  'attention-tile': attentionTile,
  dropout,
  element,
  'half-octet': halfOctet,
  launch,
  'matmul-operands': matmulOperands,
  optimiser,
  random,
  rows,
  score,
  'softmax-row': softmaxRow,
  special,
  store,
  'subgroup-matrix': subgroupMatrix,
  visibility,
};
