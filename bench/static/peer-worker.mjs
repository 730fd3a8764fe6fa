/**
 * Runs a library of bench/peers once on a problem, in a process that sees nothing but the shim, and sends the parent what its
 * kernels cost. `node peer-worker.mjs CHIP LIBRARY`
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CHIPS, measureKernel, readCapture } from '../../dist/bench-static.js';
import { installWebGpu } from '../peers/gpu.mjs';
import { LIBRARIES } from '../peers/libraries.mjs';

const HEADS = 8;
const LENGTH = 1024;
const DIM = 64;
const SIZE = 1024;

const PROBLEMS = [
  { problem: { op: 'matmul', name: `matmul ${SIZE}³`, size: SIZE }, multiplyAdds: SIZE ** 3 },
  {
    problem: {
      op: 'attention',
      name: `flash D ${DIM}`,
      heads: HEADS,
      queries: LENGTH,
      keys: LENGTH,
      dim: DIM,
      isCausal: false,
    },
    multiplyAdds: HEADS * LENGTH * LENGTH * 2 * DIM,
  },
];

const [family, name] = process.argv.slice(2);
const folder = process.env.GPU_STATIC_DIR;
const { module, options } = LIBRARIES.find((library) => library.name === name);
const { environment } = await installWebGpu();
process.send({ mesa: environment.device.description });
const { open } = await import(`../peers/libraries/${module}.mjs`);
const library = await open(options);
for (const { problem, multiplyAdds } of PROBLEMS) {
  try {
    const before = new Set(captures());
    process.env.GPU_STATIC_LABEL = problem.op;
    const prepared = await library.prepare(problem);
    await prepared.finish([await prepared.start()]);
    delete process.env.GPU_STATIC_LABEL;
    const made = captures().filter((capture) => !before.has(capture));
    for (const [i, path] of made.entries()) report(`${name}: ${problem.name}, kernel ${i + 1}`, path, multiplyAdds);
  } catch (error) {
    process.send({ kernel: `${name}: ${problem.name}`, error: error.message });
  }
}
process.send({ done: true }, () => process.exit());

function captures() {
  const files = readdirSync(folder).filter((file) => file.endsWith('.dispatch'));
  return files.map((file) => join(folder, file.slice(0, -'.dispatch'.length))).sort();
}

/** A library's helpers, which do not do the problem's multiply-adds, are left out. */
function report(kernel, path, multiplyAdds) {
  const capture = readCapture(path);
  try {
    const all = measureKernel(capture, CHIPS[family], {});
    // attention of two products has a kernel for each
    const parts = [1, 2].filter((count) => all.multiplyAdds >= (0.99 * multiplyAdds) / count);
    if (parts.length > 0) {
      process.send({
        kernel,
        cost: measureKernel(capture, CHIPS[family], { multiplyAdds: multiplyAdds / parts[0], most: 2 }),
      });
    }
  } catch (error) {
    process.send({ kernel, error: error.message });
  }
}
