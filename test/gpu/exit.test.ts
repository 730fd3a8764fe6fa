import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsdown';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-'));
  writeFileSync(join(folder, 'package.json'), readFileSync(join(root, 'package.json')));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  await build({ cwd: root, outDir: join(folder, 'dist'), dts: false, logLevel: 'silent' });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program that uses the built package, and returns how the process ended and what it printed. */
async function run(program: string): Promise<{ status: number | null; printed: string }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 110_000,
    killSignal: 'SIGKILL',
  });
  let printed = '';
  child.stdout.on('data', (chunk) => (printed += String(chunk)));
  const status = await new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  return { status, printed };
}

test('a process that disposes its device exits by itself, with work and tensors left behind', async () => {
  const program = `
    import { createDevice, softmax } from 'webgpu-attention';
    const device = await createDevice();
    const x = device.randn([16, 16]);
    const weights = softmax(x);
    const sum = (await weights.data()).reduce((total, weight) => total + weight, 0);
    softmax(weights);
    device.flush();
    softmax(weights);
    device.dispose();
    console.log(sum.toFixed(3));
  `;
  expect(await run(program)).toEqual({ status: 0, printed: '16.000\n' });
});

test('so does one that opens devices one after the other', async () => {
  const program = `
    import { createDevice } from 'webgpu-attention';
    for (let i = 0; i < 3; i++) {
      const device = await createDevice();
      console.log((await device.tensor([i], [1]).data())[0]);
      device.dispose();
    }
  `;
  expect(await run(program)).toEqual({ status: 0, printed: '0\n1\n2\n' });
});
