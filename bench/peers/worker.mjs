/**
 * A process with one library, which does what the parent asks and times it.
 *
 * @typedef {object} Prepared one problem, its operands on the device
 * @property {() => unknown} start calls the library; may return a promise
 * @property {(outputs: unknown[]) => unknown} finish waits until these outputs are computed, copying none
 * @property {(output: unknown) => Promise<Float32Array> | Float32Array} read
 * @property {(output: unknown) => void} free
 * @property {() => unknown} release the operands
 *
 * @typedef {object} Library
 * @property {import('./problems.mjs').Layout} layout of the outputs
 * @property {(problem: import('./problems.mjs').Problem) => Promise<Prepared>} prepare
 *
 * @typedef {(options: { provider?: string, initialised?: boolean }) => Promise<Library>} Open
 */
import { checkedCalls, PROBLEMS, sample } from './problems.mjs';

/** @type {Library} */
let library;
/** @type {Prepared} */
let prepared;

const commands = {
  async open({ module, options, usesWebGpu }) {
    // A library may look for WebGPU when it is loaded.
    const gpu = usesWebGpu ? await (await import('./gpu.mjs')).installWebGpu() : undefined;
    const { open } = await import(`./libraries/${module}.mjs`);
    library = await open(options);
    return gpu;
  },

  /** Compiles and warms up; returns rows of the first results. */
  async prepare({ name }) {
    const problem = PROBLEMS.find((candidate) => candidate.name === name);
    prepared = await library.prepare(problem);
    const rows = [];
    for (let i = 0; i < checkedCalls(problem); i++) {
      const output = await prepared.start();
      await prepared.finish([output]);
      rows.push(...sample(problem, await prepared.read(output), library.layout));
      prepared.free(output);
    }
    return rows;
  },

  /** Milliseconds a call, from the first call to the end of the wait. */
  async time({ calls }) {
    const outputs = [];
    const began = performance.now();
    for (let i = 0; i < calls; i++) outputs.push(await prepared.start());
    await prepared.finish(outputs);
    const elapsed = performance.now() - began;
    for (const output of outputs) prepared.free(output);
    return elapsed / calls;
  },

  async release() {
    await prepared.release();
    prepared = undefined;
  },
};

async function answer({ command, argument }) {
  try {
    process.send({ value: await commands[command](argument) });
  } catch (error) {
    process.send({ error: error instanceof Error ? error.message : String(error) });
  }
}

process.on('message', (message) => void answer(message));
process.on('disconnect', () => process.exit()); // the parent is gone
