/** Chromium with WebGPU on SwiftShader, from the development dependency @sparticuz/chromium, and a server of the built page. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser } from 'playwright-core';
import { build, preview } from 'vite';

const root = fileURLToPath(new URL('../../', import.meta.url));
const FLAGS =
  '--headless=new --no-sandbox --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader --no-first-run ' +
  '--disable-background-networking --disable-component-update --disable-sync --disable-quic';

/** @returns a browser, or one sentence on why there is none */
export async function openBrowser(): Promise<Browser | string> {
  if (`${process.platform}-${process.arch}` !== 'linux-x64') return '@sparticuz/chromium is for Linux x64 only';
  const folder = join(root, 'node_modules/.cache/webgpu-attention/chromium');
  mkdirSync(folder, { recursive: true });
  // the package is made for AWS Lambda, and brings its libraries only where it believes to be there
  const program = `import chromium from '@sparticuz/chromium'; console.log(await chromium.executablePath());`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: folder, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x' },
  });
  if (status !== 0) return `@sparticuz/chromium cannot be unpacked: ${stderr.trim().split('\n').at(-1)}`;
  const { VK_ICD_FILENAMES: _drivers, ...inherited } = process.env;
  const env = { ...inherited, LD_LIBRARY_PATH: join(folder, 'al2023/lib'), FONTCONFIG_PATH: join(folder, 'fonts') };
  try {
    return await chromium.launch({ executablePath: stdout.trim(), args: FLAGS.split(' '), env });
  } catch (error) {
    return `${stdout.trim()} does not start: ${(error as Error).message.split('\n')[0]}`;
  }
}

/** Builds the page into a folder, and serves it. */
export async function servePlayground(outDir: string): Promise<{ url: string; close: () => Promise<void> }> {
  const config = { configFile: join(root, 'playground/vite.config.ts'), logLevel: 'silent' } as const;
  await build({ ...config, build: { outDir, emptyOutDir: true, reportCompressedSize: false } });
  const server = await preview({ ...config, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } });
  return { url: server.resolvedUrls!.local[0], close: () => server.close() };
}
