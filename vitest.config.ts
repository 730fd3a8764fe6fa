import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vitest/config';

const wgslAsText: Plugin = {
  name: 'wgsl-as-text',
  transform(code, id) {
    if (id.endsWith('.wgsl')) return `export default ${JSON.stringify(code)}`;
  },
};

// One process a core, each with one device that all its test files share (test/device.ts): a device and its pipelines
// are what costs time on a software driver.
export default defineConfig({
  plugins: [wgslAsText],
  resolve: { alias: { '#platform': fileURLToPath(new URL('./src/platform/node.ts', import.meta.url)) } },
  test: {
    include: ['test/**/*.test.ts'],
    // neither what was tuned on the developer's machine is tested, nor the colours that a CI service's environment turns on
    env: { WEBGPU_ATTENTION_TUNING: 'off', NO_COLOR: '1' },
    pool: 'forks',
    isolate: false,
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
