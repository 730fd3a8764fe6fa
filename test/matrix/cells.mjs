/**
 * The devices that `npm run test:matrix` runs the suite on, or only `files` of it. `sample` names the files that CI runs of a
 * cell: kernels that depend on what the cell varies.
 */

const lavapipe = (bits) => ({ WEBGPU_ATTENTION_ADAPTER: 'lavapipe', LP_NATIVE_VECTOR_WIDTH: String(bits) });
const DEFAULT_LIMITS = { WEBGPU_ATTENTION_TEST_LIMITS: 'default' };

/** Kernels that depend on subgroups, on limits and on features. */
const KERNELS = ['test/ops/softmax.test.ts', 'test/ops/matmul.test.ts', 'test/ops/attention/flash-attention.test.ts'];

export const CELLS = [
  {
    name: 'embedded',
    env: { WEBGPU_ATTENTION_ADAPTER: 'embedded' },
    sample: ['options-kernels.matrix', 'options', 'options.property', 'backward.property', 'gradient', 'packed'].map(
      (name) => `test/ops/attention/attention-${name}.test.ts`,
    ),
  },
  {
    name: 'embedded, attention in registers as on a GPU',
    env: { WEBGPU_ATTENTION_ADAPTER: 'embedded', WEBGPU_ATTENTION_TEST_ATTENTION: 'register-32x64-4x8' },
    files: ['test/ops/attention', 'test/caches', 'test/modules/conformance.test.ts'],
    sample: ['ops/attention/flash-attention', 'ops/attention/block-mask-attention', 'caches/attend'].map(
      (name) => `test/${name}.test.ts`,
    ),
  },
  {
    // lavapipe takes its slowest kernels to compile where it may use no subgroups: minutes for what takes seconds here
    name: 'embedded, default limits and no features',
    env: { WEBGPU_ATTENTION_ADAPTER: 'embedded', ...DEFAULT_LIMITS },
    sample: KERNELS,
  },
  {
    name: 'lavapipe, shaders as shipped',
    env: { WEBGPU_ATTENTION_ADAPTER: 'lavapipe', WEBGPU_ATTENTION_TEST_SHADERS: 'shipped' },
    files: ['test/ops', 'test/caches', 'test/modules', 'test/optimisers'],
    sample: [
      'ops/attention/score-mod-attention',
      'ops/attention/extreme-scores',
      'ops/softmax',
      'ops/embedding',
      'caches/key-value-cache',
    ].map((name) => `test/${name}.test.ts`),
  },
  { name: 'lavapipe, subgroups of 4', env: lavapipe(128), sample: KERNELS },
  { name: 'lavapipe, subgroups of 8', env: lavapipe(256), sample: [] },
  {
    name: 'lavapipe, attention in registers as on a GPU',
    env: { ...lavapipe(256), WEBGPU_ATTENTION_TEST_ATTENTION: 'register-32x32-4x4' },
    files: ['test/ops/attention/flash-attention', 'test/ops/attention/attention-options', 'test/caches/attend'],
    sample: [],
  },
  { name: 'lavapipe, subgroups of 16', env: lavapipe(512), needs: 'avx512f', sample: KERNELS },
];
