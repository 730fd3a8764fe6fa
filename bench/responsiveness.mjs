/**
 * How long a thread is blocked while a model is made, loaded, prepared and run for the first time. The model has the width of the
 * demo's modules.
 *
 *     npm run bench:responsiveness -- [--adapter lavapipe|embedded] [--unprepared]
 *
 * Give lavapipe an empty shader cache (MESA_SHADER_CACHE_DISABLE=true) to see what a first visit sees.
 */
import { openSync, readSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { add, createDevice, gelu, LayerNorm, Linear, Module, noGrad, SelfAttention } from 'webgpu-attention';

const schedule = openSchedule();
const text = Buffer.alloc(64);

const WIDTH = 512;
const LAYERS = 2;

class Block extends Module {
  constructor(device) {
    super('Block');
    const make = (name, module) => (this[name] = this.registerModule(name, module));
    make('norm1', new LayerNorm(device, { normalizedShape: WIDTH }));
    make('attention', new SelfAttention(device, { embedDim: WIDTH, numHeads: 8 }));
    make('norm2', new LayerNorm(device, { normalizedShape: WIDTH }));
    make('widen', new Linear(device, { inFeatures: WIDTH, outFeatures: 4 * WIDTH }));
    make('narrow', new Linear(device, { inFeatures: 4 * WIDTH, outFeatures: WIDTH }));
  }

  forward(x) {
    const attended = add(x, this.attention.forward(this.norm1.forward(x), { isCausal: true }).output);
    return add(attended, this.narrow.forward(gelu(this.widen.forward(this.norm2.forward(attended)))));
  }
}

class Model extends Module {
  constructor(device) {
    super('Model');
    this.blocks = Array.from({ length: LAYERS }, (_, i) => this.registerModule(`blocks.${i}`, new Block(device)));
  }

  forward(x) {
    return this.blocks.reduce((value, block) => block.forward(value), x);
  }
}

/**
 * The longest time between two turns of the event loop, in milliseconds: by the clock, and what the thread spent on a core. Only
 * the second means anything on a busy machine; only Linux tells it.
 */
class Watch {
  #wall = 0;
  #cpu = 0;
  #last = [performance.now(), cpuTime()];
  #turn;

  constructor() {
    this.#look();
  }

  stop() {
    this.#note();
    clearImmediate(this.#turn);
    return { wall: this.#wall, cpu: this.#cpu };
  }

  #look() {
    this.#note();
    this.#turn = setImmediate(() => this.#look());
  }

  #note() {
    const now = [performance.now(), cpuTime()];
    this.#wall = Math.max(this.#wall, now[0] - this.#last[0]);
    this.#cpu = Math.max(this.#cpu, now[1] - this.#last[1]);
    this.#last = now;
  }
}

function openSchedule() {
  try {
    return openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  } catch {
    return undefined;
  }
}

/** Milliseconds that the main thread has been on a core; NaN where the system does not tell. */
function cpuTime() {
  if (schedule === undefined) return NaN;
  const bytes = readSync(schedule, text, 0, text.length, 0);
  return Number(text.toString('latin1', 0, bytes).split(' ')[0]) / 1e6;
}

const { values } = parseArgs({ options: { adapter: { type: 'string' }, unprepared: { type: 'boolean' } } });
const device = await createDevice({ adapter: values.adapter });
console.log(`${device.name}`);

const weights = new Model(device);
const state = Object.fromEntries(
  Object.entries(weights.stateDict()).map(([name, { shape }]) => {
    const size = shape.reduce((product, length) => product * length, 1);
    return [
      name,
      device.tensor(
        Float32Array.from({ length: size }, (_, i) => Math.sin(i) / 30),
        shape,
      ),
    ];
  }),
);
const x = device.tensor(
  Float32Array.from({ length: 128 * WIDTH }, (_, i) => Math.cos(i)),
  [1, 128, WIDTH],
);
await device.sync();

let model;
await step('construct', () => (model = new Model(device)));
if (!values.unprepared) await step('prepare load', () => device.prepare(() => model.loadStateDict(state)));
await step('load', () => model.loadStateDict(state));
if (!values.unprepared) await step('prepare', () => device.prepare(() => noGrad(() => model.forward(x))));
await step('first forward', () => noGrad(() => model.forward(x)).data());
await step('second forward', () => noGrad(() => model.forward(x)).data());
await device.close();

async function step(name, work) {
  await turn();
  const watch = new Watch();
  const begin = performance.now();
  await work();
  await turn();
  const took = performance.now() - begin;
  const { wall, cpu } = watch.stop();
  const [longest, onCore, whole] = [wall, cpu, took].map((time) => time.toFixed(1).padStart(8));
  console.log(`${name.padEnd(15)} longest block ${longest} ms, on a core ${onCore} ms; took ${whole} ms`);
}

function turn() {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
