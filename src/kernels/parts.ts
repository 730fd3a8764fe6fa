import attentionTile from '../../shaders/parts/attention-tile.wgsl';
import element from '../../shaders/parts/element.wgsl';
import launch from '../../shaders/parts/launch.wgsl';
import store from '../../shaders/parts/store.wgsl';
import visibility from '../../shaders/parts/visibility.wgsl';

/** WGSL that several kernels share, by the name used on a shader's first line. */
export const PARTS: Readonly<Record<string, string>> = {
  'attention-tile': attentionTile,
  element,
  launch,
  store,
  visibility,
};
