/**
 * The devices that `npm run test:matrix` runs the suite on. `sample` names the files that CI runs of a cell: kernels that
 * depend on what the cell varies.
 */

const lavapipe = (bits) => ({ WEBGPU_ATTENTION_ADAPTER: 'lavapipe', LP_NATIVE_VECTOR_WIDTH: String(bits) });
const DEFAULT_LIMITS = { WEBGPU_ATTENTION_TEST_LIMITS: 'default' };

export const CELLS = [
  { name: 'embedded', env: { WEBGPU_ATTENTION_ADAPTER: 'embedded' }, sample: [] },
  {
    name: 'embedded, default limits and no features',
    env: { WEBGPU_ATTENTION_ADAPTER: 'embedded', ...DEFAULT_LIMITS },
    sample: ['test/ops/softmax.test.ts'],
  },
  {
    name: 'lavapipe, subgroups of 4',
    env: lavapipe(128),
    sample: ['test/ops/softmax.test.ts'],
  },
  { name: 'lavapipe, subgroups of 8', env: lavapipe(256), sample: [] },
  {
    name: 'lavapipe, subgroups of 16',
    env: lavapipe(512),
    needs: 'avx512f',
    sample: ['test/ops/softmax.test.ts'],
  },
  { name: 'lavapipe, default limits and no features', env: { ...lavapipe(256), ...DEFAULT_LIMITS }, sample: [] },
];
