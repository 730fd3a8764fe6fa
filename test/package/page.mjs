/** The package in a page without a bundler: one file, loaded by a script of type module, in headless Chromium. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepare } from '../matrix/runtimes.mjs';

/** Attention of two keys with equal scores, its gradient, and a name from the models; the page posts what it found. */
const PAGE = `<!doctype html>
<script type="module">
  const post = (body) => fetch('/result', { method: 'POST', body: JSON.stringify(body) });
  try {
    const { createDevice, flashAttention, Llama } = await import('/browser.js');
    const device = await createDevice({ adapter: 'software' });
    const q = device.zeros([1, 1, 1, 2], { requiresGrad: true });
    const v = device.tensor([1, 2, 3, 6], [1, 1, 2, 2], { requiresGrad: true });
    const { output } = flashAttention(q, device.zeros([1, 1, 2, 2]), v);
    output.backward(device.tensor([1, 1], [1, 1, 1, 2]));
    await post({ output: [...(await output.data())], gradient: [...(await v.grad.data())], llama: typeof Llama });
    device.dispose();
  } catch (error) {
    await post({ error: String(error) });
  }
</script>
`;
const EXPECTED = { output: [2, 4], gradient: [0.5, 0.5, 0.5, 0.5], llama: 'function' };
const LIMIT_MS = 120_000;

/** @returns `{ passed, failed }`; both 0, said aloud, where there is no Chromium */
export async function testPage({ folder }, print) {
  const scratch = mkdtempSync(join(tmpdir(), 'webgpu-attention-page-'));
  try {
    const { missing, env } = prepare({ runtime: 'chromium' }, scratch);
    if (missing) {
      print(`SKIPPED the page without a bundler: ${missing}`);
      return { passed: 0, failed: 0 };
    }
    const file = join(folder, 'node_modules/webgpu-attention', exportedFile(folder));
    const got = await resultOf(PAGE, readFileSync(file), env, scratch);
    const isRight = JSON.stringify(got) === JSON.stringify(EXPECTED);
    print(`${isRight ? 'ok    ' : 'FAILED'} a page without a bundler${isRight ? '' : `: ${JSON.stringify(got)}`}`);
    return { passed: Number(isRight), failed: Number(!isRight) };
  } finally {
    rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The file of `webgpu-attention/browser`, which must load nothing else: only it is served. */
function exportedFile(folder) {
  const text = readFileSync(join(folder, 'node_modules/webgpu-attention/package.json'), 'utf8');
  return JSON.parse(text).exports['./browser'].default;
}

async function resultOf(page, script, env, scratch) {
  let settle;
  const result = new Promise((resolve) => {
    settle = resolve;
  });
  const server = createServer((request, response) => {
    if (request.url === '/result') {
      let body = '';
      request.on('data', (part) => (body += part)).on('end', () => settle(JSON.parse(body)));
      response.end();
    } else if (request.url === '/browser.js') {
      response.setHeader('content-type', 'text/javascript').end(script);
    } else {
      response.setHeader('content-type', 'text/html').end(page);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const flags = ['--headless=new', '--no-sandbox', '--enable-unsafe-webgpu', '--no-first-run'];
  const profile = `--user-data-dir=${join(scratch, 'profile')}`;
  const browser = spawn(
    env.WEBGPU_ATTENTION_TEST_BROWSER_PATH,
    [...flags, profile, `http://localhost:${server.address().port}/`],
    { stdio: 'ignore', env: { ...process.env, ...env } },
  );
  const timer = setTimeout(() => settle({ error: `no answer in ${LIMIT_MS / 1000} s` }), LIMIT_MS);
  browser.once('exit', () => settle({ error: 'the browser ended' }));
  try {
    return await result;
  } finally {
    clearTimeout(timer);
    browser.removeAllListeners('exit');
    browser.kill();
    server.closeAllConnections();
    server.close();
  }
}
