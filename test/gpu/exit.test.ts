import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsdown';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { triesEveryKernel } from '../device.ts';

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
  writeFileSync(join(folder, 'program.mjs'), program);
  const child = spawn(process.execPath, ['program.mjs'], {
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

test('so does one that ends itself with waits pending', async () => {
  const program = `
    import { createDevice, softmax } from 'webgpu-attention';
    const device = await createDevice();
    const x = device.randn([64, 64]);
    for (let i = 0; i < 5; i++) for (const wait of [softmax(x).data(), device.sync()]) wait.catch(() => undefined);
    process.exit(0);
  `;
  expect(await run(program)).toEqual({ status: 0, printed: '' });
});

test.runIf(await triesEveryKernel())(
  'in a worker thread, a module is prepared and trained as in the main thread',
  async () => {
    const program = `
    import { createDevice, Linear, LayerNorm, SGD, softmax, sum, multiply } from 'webgpu-attention';
    const device = await createDevice();
    const layers = [new LayerNorm(device, { normalizedShape: 8 }), new Linear(device, { inFeatures: 8, outFeatures: 8 })];
    const optimiser = new SGD(layers.flatMap((layer) => layer.parameters()), { lr: 0.1 });
    const x = device.randn([4, 8]);
    const step = () => device.scope(() => {
      const y = softmax(layers.reduce((value, layer) => layer.forward(value), x));
      const loss = sum(multiply(y, y));
      loss.backward();
      optimiser.step();
      optimiser.zeroGrad();
      return loss;
    });
    let compiled = 0;
    await device.prepare(step, { onProgress: ({ done }) => (compiled = done) });
    const blocked = device.gpu.createComputePipeline;
    device.gpu.createComputePipeline = () => { throw new Error('a call compiled') };
    const losses = [];
    for (let i = 0; i < 2; i++) losses.push((await step().data())[0]);
    device.gpu.createComputePipeline = blocked;
    await device.close();
    const said = JSON.stringify([compiled > 5, ...losses]);
  `;
    writeFileSync(
      join(folder, 'worker.mjs'),
      `import { parentPort } from 'node:worker_threads'; ${program} parentPort.postMessage(said);`,
    );
    const alone = await run(`${program} console.log(said);`);
    const inWorker = await run(`
    import { SHARE_ENV, Worker } from 'node:worker_threads';
    const worker = new Worker('./worker.mjs', { env: SHARE_ENV });
    worker.on('message', (said) => console.log(said));
  `);
    expect(alone.status).toBe(0);
    expect(alone.printed).toMatch(/^\[true,[\d.]+,[\d.]+\]\n$/);
    expect(inWorker).toEqual(alone);
  },
);

describe('a worker thread with waits pending', () => {
  /**
   * Runs a worker three times, or until `owner` ends the process. In its owner's process, `owner` runs when the worker has
   * waits pending.
   */
  const runWorker = (worker: string, owner: string) => {
    const opened = `
      import { parentPort } from 'node:worker_threads';
      import { createDevice, softmax } from 'webgpu-attention';
      const device = await createDevice();
      const x = device.randn([64, 64]);
      await softmax(x).data();
    `;
    writeFileSync(join(folder, 'worker.mjs'), opened + worker);
    return run(`
      import { SHARE_ENV, Worker } from 'node:worker_threads';
      for (let i = 0; i < 3; i++) {
        const worker = new Worker('./worker.mjs', { env: SHARE_ENV });
        let failure;
        worker.once('error', (error) => (failure = error));
        const ended = new Promise((resolve) => worker.once('exit', resolve));
        const said = () => new Promise((resolve) => worker.once('message', resolve));
        console.log(await said());
        ${owner}
      }
    `);
  };
  const waiting = `
    const waits = [softmax(x).data(), device.sync(), x.data(), device.profile(() => softmax(x))];
    softmax(x);
    device.flush();
  `;
  /** What the protocol of docs/reference/device.md asks of a worker. */
  const closing = `
    ${waiting}
    parentPort.once('message', async () => {
      await device.close();
      const settled = await Promise.allSettled(waits);
      parentPort.postMessage(settled.map(({ status }) => status).join());
    });
    parentPort.postMessage('waiting');
  `;
  const answers = 'waiting\nfulfilled,fulfilled,fulfilled,fulfilled\n';

  test('survives terminate() if it closes its device first', async () => {
    const owner = `
      worker.postMessage('close');
      console.log(await said());
      await worker.terminate();
    `;
    expect(await runWorker(closing, owner)).toEqual({ status: 0, printed: answers.repeat(3) });
  });

  test("survives the process's exit if it closes its device first", async () => {
    // the first worker's answer ends the process
    const owner = `
      worker.postMessage('close');
      console.log(await said());
      process.exit(0);
    `;
    expect(await runWorker(closing, owner)).toEqual({ status: 0, printed: answers });
  });

  test.each([
    ['exits', 'process.exit(0);'],
    ['disposes its device and exits', 'device.dispose(); process.exit(0);'],
  ])('survives if it %s by itself', async (_, end) => {
    const worker = `
      ${waiting}
      for (const wait of waits) wait.catch(() => undefined);
      parentPort.postMessage('waiting');
      ${end}
    `;
    expect(await runWorker(worker, 'await ended;')).toEqual({ status: 0, printed: 'waiting\n'.repeat(3) });
  });

  test('survives an error that nobody catches', async () => {
    const worker = `
      ${waiting}
      parentPort.postMessage('waiting');
      throw new Error('on purpose');
    `;
    const owner = `
      await ended;
      console.log(failure.message);
    `;
    expect(await runWorker(worker, owner)).toEqual({ status: 0, printed: 'waiting\non purpose\n'.repeat(3) });
  });
});
