import { fileURLToPath, pathToFileURL } from 'node:url';
import { defineConfig } from 'vitest/config';
import { wgslPlugin } from './build/wgsl-plugin.ts';
import { conformanceVariable } from './test/conformance-folder.ts';

// One process a core, each with one device that all its test files share (test/device.ts): a device and its pipelines
// are what costs time on a software driver.
export default defineConfig({
  plugins: [wgslPlugin({ isMinified: process.env['WEBGPU_ATTENTION_TEST_SHADERS'] === 'shipped' })],
  resolve: { alias: { '#platform': fileURLToPath(new URL('./src/platform/node.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    // npm run test:matrix has them
    exclude: process.env['WEBGPU_ATTENTION_MATRIX'] === '1' ? [] : ['test/**/*.matrix.test.ts'],
    env: {
      // neither what was tuned on the developer's machine is tested, nor the colours that a CI service's environment turns on
      WEBGPU_ATTENTION_TUNING: 'off',
      NO_COLOR: '1',
      ...conformanceVariable((folder) => pathToFileURL(folder).href),
    },
    pool: 'forks',
    isolate: false,
    maxWorkers: 2,
    // far above what any test takes, so that a busy machine fails none
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
