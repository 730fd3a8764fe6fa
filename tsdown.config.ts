import { defineConfig } from 'tsdown';
import { wgslPlugin } from './wgsl-plugin.ts';

// `#platform` stays an import in the output, so that package.json's conditions choose Node or the browser at run time.
export default defineConfig({
  entry: {
    index: 'src/index.ts',
    'platform-node': 'src/platform/node.ts',
    'platform-web': 'src/platform/web.ts',
    cli: 'src/cli/main.ts',
    'bench-peers': 'bench/peers/shared.ts',
    'bench-static': 'bench/static/shared.ts',
  },
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  plugins: [wgslPlugin()],
  deps: { neverBundle: ['#platform', /^node:/] },
  dts: true,
  clean: true,
});
