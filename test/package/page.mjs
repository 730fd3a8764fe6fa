/** The package in a page without a bundler: one file, loaded by a script of type module, in headless Chromium. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { CHROMIUM_FLAGS, prepare } from '../matrix/runtimes.mjs';
import { readJson } from './installed.mjs';

/** Attention of two keys with equal scores, its gradient, and a name from the models; `result` is what the page found. */
const PAGE = `<!doctype html>
<script type="module">
  import { createDevice, flashAttention, Llama } from '/browser.js';
  const work = async () => {
    const device = await createDevice({ adapter: 'software' });
    const q = device.zeros([1, 1, 1, 2], { requiresGrad: true });
    const v = device.tensor([1, 2, 3, 6], [1, 1, 2, 2], { requiresGrad: true });
    const { output } = flashAttention(q, device.zeros([1, 1, 2, 2]), v);
    output.backward(device.tensor([1, 1], [1, 1, 1, 2]));
    const found = { output: [...(await output.data())], gradient: [...(await v.grad.data())], llama: typeof Llama };
    device.dispose();
    return found;
  };
  window.result = work().catch((error) => ({ error: String(error) }));
</script>
`;
const EXPECTED = { output: [2, 4], gradient: [0.5, 0.5, 0.5, 0.5], llama: 'function' };

/** Chromium offers WebGPU to pages of this host. No server is behind it. */
const ORIGIN = 'http://localhost';

/** @returns `{ passed, failed }`; both 0, said aloud, where there is no Chromium */
export async function testPage({ folder }, print) {
  const scratch = mkdtempSync(join(tmpdir(), 'webgpu-attention-page-'));
  try {
    const { missing, env } = prepare({ runtime: 'chromium' }, scratch);
    if (missing) {
      print(`SKIPPED a page without a bundler: ${missing}`);
      return { passed: 0, failed: 0 };
    }
    const script = join(folder, 'node_modules/webgpu-attention', exportedFile(folder));
    const got = await resultOf(script, env).catch((error) => ({ error: error.message }));
    const isRight = JSON.stringify(got) === JSON.stringify(EXPECTED);
    print(isRight ? 'ok      a page without a bundler' : `FAILED  a page without a bundler\n${JSON.stringify(got)}`);
    return { passed: Number(isRight), failed: Number(!isRight) };
  } finally {
    rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The file of `webgpu-attention/browser`, which must load nothing else: only it is served. */
function exportedFile(folder) {
  return readJson(join(folder, 'node_modules/webgpu-attention/package.json')).exports['./browser'].default;
}

async function resultOf(script, env) {
  const executablePath = env.WEBGPU_ATTENTION_TEST_BROWSER_PATH;
  const browser = await chromium.launch({ executablePath, args: CHROMIUM_FLAGS, env: { ...process.env, ...env } });
  try {
    const page = await browser.newPage();
    await page.route('**/*', (route) => route.fulfill({ status: 404 }));
    await page.route(`${ORIGIN}/`, (route) => route.fulfill({ contentType: 'text/html', body: PAGE }));
    await page.route(`${ORIGIN}/browser.js`, (route) =>
      route.fulfill({ contentType: 'text/javascript', path: script }),
    );
    await page.goto(`${ORIGIN}/`, { waitUntil: 'load' }); // a module's script has run by then
    return await page.evaluate('window.result');
  } finally {
    await browser.close();
  }
}
