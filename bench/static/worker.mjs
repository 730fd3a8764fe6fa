/**
 * Compiles the problems' kernels in a process that sees nothing but the shim, measures them, and sends the parent what it found.
 * `node worker.mjs CHIP FILTER [unclamped]`
 */
import { join } from 'node:path';
import { CHIPS, MATRIX_SHADERS, measureKernel, readCapture } from '../../dist/bench-static.js';
import { PROBLEMS } from './problems.mjs';
import { withoutClamps } from './unclamped.mjs';

const [family, filter, clamps] = process.argv.slice(2);
const folder = process.env.GPU_STATIC_DIR;

if (clamps === 'unclamped') withoutClamps();
const library = await import('../../dist/index.js');
const { globals } = await import('webgpu');
const labels = labelPipelines(globals.GPUDevice.prototype);

/** What is measured now, for the shim's file names and the parent's progress line. */
let current = '';
for (const problem of PROBLEMS.filter(({ name }) => name.includes(filter))) {
  try {
    await run(problem);
  } catch (error) {
    const isAbsent = error instanceof library.AdapterNotFoundError;
    process.send(
      isAbsent
        ? { skip: `Mesa's AMD driver does not load: ${error.message}` }
        : { kernel: problem.name, error: error.message },
    );
  }
}
process.send({ done: true }, () => process.exit());

async function run({ name, dtype, shapes, kernels, experimental, run: work, shaders }) {
  delete process.env.GPU_STATIC_LABEL;
  current = '';
  const options = { experimental, remembersTuning: false, adapter: 'hardware' };
  const device = await library.createDevice(experimental ? options : { ...options, kernels });
  if (experimental) {
    // a null device computes nothing, so the library's trial of the tensor cores fails there
    device.traits = { ...device.traits, subgroupMatrix: MATRIX_SHADERS.scalars };
    device.kernels = { pinned: new Map(Object.entries(kernels)), tuned: new Map() };
  }
  process.send({ mesa: device.runtime.gpu.adapterInfo.description });
  const tensors = shapes.map((shape) => device.zeros(shape, { dtype }));
  await device.sync();
  current = name;
  labels.length = 0;
  work(library, ...tensors);
  await device.sync();
  for (const [shader, least] of Object.entries(shaders)) {
    const kernel = Object.keys(shaders).length > 1 ? `${name}: ${shader}` : name;
    const found = labels.find(({ label }) => label === shader);
    if (!found) process.send({ kernel, error: `it launches no ${shader}, but ${labels.map(({ label }) => label)}` });
    else process.send({ kernel, ...measured(found.path, least) });
  }
  device.dispose();
}

function measured(path, least) {
  try {
    return { cost: measureKernel(readCapture(path), CHIPS[family], least) };
  } catch (error) {
    return { error: error.message };
  }
}

/** Names the shim's files after the pipelines' labels, and lists them. */
function labelPipelines(prototype) {
  const { createComputePipeline } = prototype;
  const made = [];
  let total = 0;
  prototype.createComputePipeline = function labelled(descriptor) {
    if (current !== '') {
      const label = `${current} ${descriptor.label}`.replace(/[^\w.±-]+/g, '-');
      process.env.GPU_STATIC_LABEL = label;
      // the shim numbers its files
      made.push({ label: descriptor.label, path: join(folder, `${String(total++).padStart(3, '0')}-${label}`) });
    }
    return createComputePipeline.call(this, descriptor);
  };
  return made;
}
