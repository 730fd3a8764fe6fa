import { fileURLToPath } from 'node:url';
import { defineConfig, type UserConfig } from 'tsdown';
import { oneCore } from './build/one-core.ts';
import { shadersBefore, shadersFirst, wgslPlugin } from './build/wgsl-plugin.ts';

const WEB = fileURLToPath(new URL('src/platform/web.ts', import.meta.url));

const shared = {
  format: 'esm' as const,
  platform: 'neutral' as const,
  target: 'es2022',
  plugins: [wgslPlugin({ isMinified: true })],
} satisfies UserConfig;

export default defineConfig([
  {
    ...shared,
    entry: {
      index: 'src/index.ts',
      models: 'src/models.ts',
      'browser-types': 'src/browser.ts',
      'platform-node': 'src/platform/node.ts',
      'platform-web': 'src/platform/web.ts',
      cli: 'src/cli/main.ts',
      'bench-peers': 'bench/peers/shared.ts',
      'bench-static': 'bench/static/shared.ts',
    },
    // `#platform` stays an import in the output, so that package.json's conditions choose Node or the browser at run time.
    deps: { neverBundle: ['#platform', /^node:/] },
    // A file for each module, so that any bundler keeps only the kernels that a program uses.
    unbundle: true,
    dts: true,
    // for `using`: whoever compiles against us may have chosen an older `lib`
    banner: { dts: '/// <reference lib="esnext.disposable" />' },
    clean: true,
    plugins: [...shared.plugins, shadersFirst('index.js'), oneCore('src/create-device.js')],
  },
  {
    ...shared,
    entry: { browser: 'src/browser.ts' },
    plugins: [
      ...shared.plugins,
      { name: 'platform', resolveId: (id: string) => (id === '#platform' ? WEB : undefined) },
      shadersBefore(fileURLToPath(new URL('src/browser.ts', import.meta.url))),
    ],
    outputOptions: { codeSplitting: false },
    minify: true,
    dts: false,
    clean: false,
  },
]);
