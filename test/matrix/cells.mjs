/**
 * The devices and runtimes that `npm run test:matrix` runs the suite on, or only `files` of it. `sample` names the files that CI
 * runs of a cell: kernels that depend on what the cell varies. `runtime` is Node unless it is named, and `driver` is a software
 * driver that the runtime is to find (runtimes.mjs).
 */
import { SUITES } from './suites.mjs';

const lavapipe = (bits) => ({ WEBGPU_ATTENTION_ADAPTER: 'lavapipe', LP_NATIVE_VECTOR_WIDTH: String(bits) });
const DEFAULT_LIMITS = { WEBGPU_ATTENTION_TEST_LIMITS: 'default' };

/** Kernels that depend on subgroups, on limits and on features. */
const KERNELS = ['test/ops/softmax.test.ts', 'test/ops/matmul.test.ts', 'test/ops/attention/flash-attention.test.ts'];

/** An op, attention, its gradient, the tape, modules and a cache, chosen for their time: compiling is slow on the CPU. */
const SMALL = [
  'ops/softmax',
  'ops/attention/conformance',
  'ops/attention/merge-attention-gradient',
  'autograd/tape',
  'modules/modules',
  'caches/key-value-cache',
].map((name) => `test/${name}.test.ts`);

/** wgpu and its translation of WGSL compile slower than Dawn. */
const SMALLER = [
  'ops/linear',
  'ops/attention/merge-attention-gradient',
  'autograd/tape',
  'modules/modules',
  'caches/key-value-cache',
].map((name) => `test/${name}.test.ts`);

/** Firefox looks ten times a second whether a result is there, so that a test takes as many tenths as it has waits. */
const FEW_WAITS = [
  'ops/linear',
  'ops/attention/merge-attention-gradient',
  'autograd/tape',
  'modules/layer-norm',
  'modules/linear',
  'caches/key-value-cache',
].map((name) => `test/${name}.test.ts`);

const SUPPORT = 'test/matrix/support.test.ts';

export const CELLS = [
  {
    name: 'embedded',
    env: { WEBGPU_ATTENTION_ADAPTER: 'embedded' },
    sample: [
      ...['options-kernels.matrix', 'options.property', 'gradient', 'packed'].map(
        (name) => `test/ops/attention/attention-${name}.test.ts`,
      ),
      'test/playground/page.matrix.test.ts',
      SUPPORT,
    ],
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
  { name: 'lavapipe, subgroups of 8', env: lavapipe(256), sample: [SUPPORT] },
  {
    name: 'lavapipe, attention in registers as on a GPU',
    env: { ...lavapipe(256), WEBGPU_ATTENTION_TEST_ATTENTION: 'register-32x32-4x4' },
    files: ['test/ops/attention/flash-attention', 'test/ops/attention/attention-options', 'test/caches/attend'],
    sample: [],
  },
  { name: 'lavapipe, subgroups of 16', env: lavapipe(512), needs: 'avx512f', sample: KERNELS },
  // A page cannot choose its driver: without a GPU Chromium takes its own SwiftShader, and Firefox lavapipe.
  { name: 'chromium', runtime: 'chromium', ...everywhere(SMALL) },
  { name: 'firefox', runtime: 'firefox', mayBeMissing: true, ...everywhere(FEW_WAITS) },
  { name: 'deno, SwiftShader', runtime: 'deno', driver: 'swiftshader', ...everywhere(SMALLER) },
  { name: 'deno, lavapipe', runtime: 'deno', ...everywhere([]) },
  { name: 'bun', runtime: 'bun', env: { WEBGPU_ATTENTION_ADAPTER: 'embedded' }, ...everywhere(SMALL) },
];

/** The suites of every runtime. */
function everywhere(sample) {
  return { files: [...SUITES, SUPPORT], sample: [...sample, SUPPORT] };
}
