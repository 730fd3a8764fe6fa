/** Chromium with WebGPU on SwiftShader, from the development dependency @sparticuz/chromium, and a server of the built page. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser } from 'playwright-core';
import { build, preview } from 'vite';
import { CHROMIUM_FLAGS, prepare } from '../matrix/runtimes.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const FLAGS = [...CHROMIUM_FLAGS, '--use-webgpu-adapter=swiftshader'];

/** @returns a browser, or one sentence on why there is none */
export async function openBrowser(): Promise<Browser | string> {
  const folder = join(root, 'node_modules/.cache/webgpu-attention/chromium');
  mkdirSync(folder, { recursive: true });
  const { missing, env } = prepare({ runtime: 'chromium' }, folder) as Prepared;
  if (!env) return missing!;
  const { VK_ICD_FILENAMES: _drivers, ...inherited } = process.env;
  const executablePath = env['WEBGPU_ATTENTION_TEST_BROWSER_PATH'];
  try {
    return await chromium.launch({ executablePath, args: FLAGS, env: { ...inherited, ...env } });
  } catch (error) {
    return `${executablePath} does not start: ${(error as Error).message.split('\n')[0]}`;
  }
}

interface Prepared {
  readonly missing?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Builds the page into a folder, and serves it. */
export async function servePlayground(outDir: string): Promise<{ url: string; close: () => Promise<void> }> {
  const config = { configFile: join(root, 'playground/vite.config.ts'), logLevel: 'silent' } as const;
  await build({ ...config, build: { outDir, emptyOutDir: true, reportCompressedSize: false } });
  const server = await preview({ ...config, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } });
  return { url: server.resolvedUrls!.local[0], close: () => server.close() };
}
