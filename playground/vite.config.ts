/** `npm run playground` serves the page, `npm run playground:build` writes it to playground/dist, for any static host. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { wgslPlugin } from '../build/wgsl-plugin.ts';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: at('.'),
  base: './',
  plugins: [wgslPlugin({ isMinified: true })],
  resolve: {
    alias: [
      { find: '#platform', replacement: at('../src/platform/web.ts') },
      { find: /^webgpu-attention\/models$/, replacement: at('../src/models.ts') },
      { find: /^webgpu-attention$/, replacement: at('../src/index.ts') },
    ],
  },
  server: { fs: { allow: [at('..')] } },
  worker: { format: 'es', plugins: () => [wgslPlugin({ isMinified: true })] },
  build: { outDir: at('./dist'), emptyOutDir: true, target: 'es2022', chunkSizeWarningLimit: 1000 },
});
