import { reflect, type ShaderLayout } from './reflect.ts';
import { specialise, type Constants, type Shader } from './shader.ts';
import { SHADER_STAGE_COMPUTE } from './usage.ts';

export interface Pipeline {
  readonly id: number;
  readonly name: string;
  readonly layout: ShaderLayout;
  readonly gpu: GPUComputePipeline;
  readonly bindGroupLayout: GPUBindGroupLayout;
}

/**
 * Pipelines by specialised source. Layouts are explicit: with `layout: 'auto'` an unused binding would be dropped, and
 * the dispatch then silently skipped.
 */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #guard: <T>(work: () => T, shader: string) => T;
  readonly #bySource = new Map<string, Pipeline>();
  readonly #byConstants = new Map<Shader, Map<string, Pipeline>>();

  /** `guard` runs WebGPU calls and later reports what was wrong with them. */
  constructor(device: GPUDevice, guard: <T>(work: () => T, shader: string) => T) {
    this.#device = device;
    this.#guard = guard;
  }

  /** Pipelines compiled so far. */
  get size(): number {
    return this.#bySource.size;
  }

  get(shader: Shader, constants: Constants): Pipeline {
    let variants = this.#byConstants.get(shader);
    if (!variants) this.#byConstants.set(shader, (variants = new Map()));
    const key = JSON.stringify(constants);
    let pipeline = variants.get(key);
    if (!pipeline) variants.set(key, (pipeline = this.#fromSource(shader.name, specialise(shader, constants))));
    return pipeline;
  }

  #fromSource(name: string, source: string): Pipeline {
    const known = this.#bySource.get(source);
    if (known) return known;
    const device = this.#device;
    const layout = reflect(name, source);
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
    const made = this.#guard(() => {
      const bindGroupLayout = device.createBindGroupLayout({ label: name, entries });
      const gpu = device.createComputePipeline({
        label: name,
        layout: device.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] }),
        compute: { module: device.createShaderModule({ label: name, code: source }), entryPoint: layout.entryPoint },
      });
      return { gpu, bindGroupLayout };
    }, name);
    const pipeline = { id: this.#bySource.size, name, layout, ...made };
    this.#bySource.set(source, pipeline);
    return pipeline;
  }
}
