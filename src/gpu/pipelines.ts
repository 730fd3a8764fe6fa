import {
  explainInserted,
  insertFunctions,
  layoutOf,
  specialise,
  type Constants,
  type Insertion,
  type Shader,
  type ShaderLayout,
} from './shader.ts';
import { SHADER_STAGE_COMPUTE } from './usage.ts';

export interface Pipeline {
  readonly id: number;
  readonly name: string;
  readonly layout: ShaderLayout;
  readonly gpu: GPUComputePipeline;
  readonly bindGroupLayout: GPUBindGroupLayout;
  /** Whether it failed to compile. The next use then tries again and reports the shader's error again. */
  isBroken: boolean;
  /** Whether it was ever submitted: some drivers compile only then. */
  hasRun: boolean;
}

/** The function that every kernel starts in. */
const ENTRY_POINT = 'main';

/** Runs WebGPU calls. Errors in them are reported to the next wait, and to `onFailure`. */
type Guard = <T>(work: () => T, explain: (message: string) => string, onFailure: () => void) => T;

/**
 * Pipelines by specialised source. Layouts are explicit, because `layout: 'auto'` would drop an unused binding, and the
 * dispatch would then be skipped silently.
 */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #guard: Guard;
  readonly #bySource = new Map<string, Pipeline>();
  readonly #byConstants = new Map<Shader, Map<string, Pipeline>>();
  #compiled = 0;

  constructor(device: GPUDevice, guard: Guard) {
    this.#device = device;
    this.#guard = guard;
  }

  /** Pipelines compiled so far. */
  get size(): number {
    return this.#compiled;
  }

  /** `op` is the op that errors in the insertions name. */
  get(shader: Shader, constants: Constants, insertions: readonly Insertion[] = [], op = shader.name): Pipeline {
    let variants = this.#byConstants.get(shader);
    if (!variants) this.#byConstants.set(shader, (variants = new Map()));
    const key = [JSON.stringify(constants), ...insertions.flatMap(({ name, text }) => [name, text])].join('\n');
    let pipeline = variants.get(key);
    if (!pipeline || pipeline.isBroken) {
      pipeline = this.#fromSource(shader, constants, insertions, op);
      variants.set(key, pipeline);
    }
    return pipeline;
  }

  #fromSource(shader: Shader, constants: Constants, insertions: readonly Insertion[], op: string): Pipeline {
    const { name } = shader;
    const code = insertFunctions(name, specialise(shader, constants), insertions);
    const known = this.#bySource.get(code);
    if (known && !known.isBroken) return known;
    const device = this.#device;
    // insertions declare no bindings, uniforms or entry points
    const layout = layoutOf(shader);
    const entries: GPUBindGroupLayoutEntry[] = layout.storage.map(({ binding, access }) => ({
      binding,
      visibility: SHADER_STAGE_COMPUTE,
      buffer: { type: access },
    }));
    if (layout.uniform) {
      entries.push({
        binding: layout.uniform.binding,
        visibility: SHADER_STAGE_COMPUTE,
        buffer: { type: 'uniform', hasDynamicOffset: true, minBindingSize: layout.uniform.size },
      });
    }
    const make = () => {
      const bindGroupLayout = device.createBindGroupLayout({ label: name, entries });
      const gpu = device.createComputePipeline({
        label: name,
        layout: device.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] }),
        compute: { module: device.createShaderModule({ label: name, code }), entryPoint: ENTRY_POINT },
      });
      return { gpu, bindGroupLayout };
    };
    const explain = (message: string) => {
      const inserted = explainInserted(code, insertions, message);
      return inserted ? `${op}: ${inserted}` : `${name}: ${message}`;
    };
    const made = this.#guard(make, explain, () => (pipeline.isBroken = true));
    const pipeline: Pipeline = { id: this.#compiled++, name, layout, ...made, isBroken: false, hasRun: false };
    this.#bySource.set(code, pipeline);
    return pipeline;
  }
}
