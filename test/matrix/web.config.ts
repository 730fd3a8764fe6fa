/**
 * vitest's configuration where the GPU is `navigator.gpu`: in Deno, or in a page of the browser that WEBGPU_ATTENTION_TEST_BROWSER
 * names and run.mjs has prepared.
 */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { defineConfig } from 'vitest/config';
import { wgslPlugin } from '../../build/wgsl-plugin.ts';
import { conformanceVariable } from '../conformance-folder.ts';
import { browserCommand, type BrowserName } from './browser.ts';
import { EXCLUDED, SUITES } from './suites.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const browser = process.env['WEBGPU_ATTENTION_TEST_BROWSER'] as BrowserName | undefined;
const variables = Object.entries(process.env).filter(([name]) => name.startsWith('WEBGPU_ATTENTION_'));

export default defineConfig({
  root,
  plugins: [wgslPlugin()],
  resolve: { alias: { '#platform': `${root}src/platform/web.ts` } },
  // Vite would reload the page if it found one of them later.
  optimizeDeps: { include: ['@petamoriken/float16', 'fast-check'] },
  server: { fs: { strict: false } },
  test: {
    include: [...SUITES.map((folder: string) => `${folder}/**/*.test.ts`), 'test/matrix/support.test.ts'],
    exclude: Object.keys(EXCLUDED),
    env: {
      ...Object.fromEntries(variables),
      NO_COLOR: '1',
      ...conformanceVariable((folder) => (browser ? `/@fs${folder}` : pathToFileURL(folder).href)),
    },
    isolate: false,
    maxWorkers: 2,
    testTimeout: 600_000,
    hookTimeout: 600_000,
    ...(browser
      ? {
          fileParallelism: false, // one page, and so one device
          browser: {
            enabled: true,
            headless: true,
            ui: false,
            screenshotFailures: false,
            provider: browserCommand(),
            instances: [{ browser }],
          },
        }
      : { pool: 'forks' as const }),
  },
});
