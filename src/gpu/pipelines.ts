import { ShaderError } from './errors.ts';
import { layoutOf, type ShaderLayout } from './layout.ts';
import { explainInserted, insertFunctions, specialise, type Constants, type Insertion, type Shader } from './shader.ts';
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

/** A pipeline that begins to compile. */
export interface CompileEvent {
  /** The shader, as `webgpu-attention shader` names it. */
  readonly kernel: string;
  /** The op that needs it. */
  readonly op: string;
  /** Whether `device.prepare` compiles it, which blocks nobody, rather than the call that needs it. */
  readonly isPrepared: boolean;
}

/** What a pipeline is made of. */
interface Recipe {
  readonly name: string;
  readonly code: string;
  readonly layout: ShaderLayout;
  readonly explain: (message: string) => string;
}

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
  /** Those that are being made without blocking, by source. */
  readonly #coming = new Map<string, Promise<Pipeline>>();
  readonly #onCompile: (event: CompileEvent) => void;
  #compiled = 0;

  constructor(device: GPUDevice, guard: Guard, onCompile: (event: CompileEvent) => void = () => undefined) {
    this.#device = device;
    this.#guard = guard;
    this.#onCompile = onCompile;
  }

  /** Pipelines compiled so far. */
  get size(): number {
    return this.#compiled;
  }

  /** `op` is the op that errors in the insertions name. */
  get(shader: Shader, constants: Constants, insertions: readonly Insertion[] = [], op = shader.name): Pipeline {
    const variants = this.#variantsOf(shader);
    const key = keyOf(constants, insertions);
    let pipeline = variants.get(key);
    if (!pipeline || pipeline.isBroken) {
      pipeline = this.#find(shader, constants, insertions, op, (recipe) => this.#make(recipe, op));
      variants.set(key, pipeline);
    }
    return pipeline;
  }

  /**
   * The same without blocking: undefined if the pipeline is there already.
   *
   * @throws ShaderError, as a rejection; nothing is then kept
   */
  prepare(
    shader: Shader,
    constants: Constants,
    insertions: readonly Insertion[] = [],
    op = shader.name,
  ): Promise<Pipeline> | undefined {
    const variants = this.#variantsOf(shader);
    const key = keyOf(constants, insertions);
    if (variants.get(key)?.isBroken === false) return undefined;
    const found = this.#find(
      shader,
      constants,
      insertions,
      op,
      (recipe) => this.#coming.get(recipe.code) ?? this.#bring(recipe, op),
    );
    if (found instanceof Promise) {
      return found.then((pipeline) => {
        variants.set(key, pipeline);
        return pipeline;
      });
    }
    variants.set(key, found);
    return undefined;
  }

  /** The first of the launches for each pipeline that is not there. */
  missing<T extends { shader: Shader; constants: Constants; insertions?: readonly Insertion[] }>(
    launches: readonly T[],
  ): T[] {
    const seen = new Map<Shader, Set<string>>();
    return launches.filter(({ shader, constants, insertions }) => {
      const key = keyOf(constants, insertions ?? []);
      const keys = seen.get(shader) ?? new Set();
      seen.set(shader, keys);
      if (keys.has(key)) return false;
      keys.add(key);
      return this.#byConstants.get(shader)?.get(key)?.isBroken !== false;
    });
  }

  #variantsOf(shader: Shader): Map<string, Pipeline> {
    let variants = this.#byConstants.get(shader);
    if (!variants) this.#byConstants.set(shader, (variants = new Map()));
    return variants;
  }

  /** A pipeline of the same source, or what `make` gives. */
  #find<T>(
    shader: Shader,
    constants: Constants,
    insertions: readonly Insertion[],
    op: string,
    make: (recipe: Recipe) => T,
  ): Pipeline | T {
    const { name } = shader;
    const code = insertFunctions(name, specialise(shader, constants), insertions);
    const known = this.#bySource.get(code);
    if (known && !known.isBroken) return known;
    // insertions declare no bindings, uniforms or entry points
    const layout = layoutOf(shader);
    const explain = (message: string) => {
      const inserted = explainInserted(code, insertions, message);
      return inserted ? `${op}: ${inserted}` : `${name}: ${message}`;
    };
    return make({ name, code, layout, explain });
  }

  #make(recipe: Recipe, op: string): Pipeline {
    this.#onCompile({ kernel: recipe.name, op, isPrepared: false });
    const make = () => {
      const { bindGroupLayout, descriptor } = this.#describe(recipe);
      return { gpu: this.#device.createComputePipeline(descriptor), bindGroupLayout };
    };
    const made = this.#guard(make, recipe.explain, () => (pipeline.isBroken = true));
    const pipeline = this.#keep(recipe, made);
    return pipeline;
  }

  #bring(recipe: Recipe, op: string): Promise<Pipeline> {
    this.#onCompile({ kernel: recipe.name, op, isPrepared: true });
    const coming = this.#makeAsync(recipe).finally(() => this.#coming.delete(recipe.code));
    this.#coming.set(recipe.code, coming);
    return coming;
  }

  async #makeAsync(recipe: Recipe): Promise<Pipeline> {
    const device = this.#device;
    device.pushErrorScope('internal');
    device.pushErrorScope('validation');
    const { bindGroupLayout, descriptor } = this.#describe(recipe);
    const scopes = [device.popErrorScope(), device.popErrorScope()];
    const making = device.createComputePipelineAsync(descriptor).then(
      (gpu) => ({ gpu, bindGroupLayout }),
      (error: Error) => error,
    );
    const [made, invalid, internal] = await Promise.all([making, ...scopes]);
    // a shader that does not compile makes an invalid pipeline too, whose message says less
    const failure = invalid ?? internal ?? ('gpu' in made ? undefined : made);
    if (failure || !('gpu' in made)) throw new ShaderError(recipe.explain(failure!.message.trim()));
    const known = this.#bySource.get(recipe.code); // a call may have needed it meanwhile
    if (known && !known.isBroken) return known;
    return this.#keep(recipe, made);
  }

  #keep({ name, code, layout }: Recipe, made: Pick<Pipeline, 'gpu' | 'bindGroupLayout'>): Pipeline {
    const pipeline: Pipeline = { id: this.#compiled++, name, layout, ...made, isBroken: false, hasRun: false };
    this.#bySource.set(code, pipeline);
    return pipeline;
  }

  #describe({ name, code, layout }: Recipe): {
    bindGroupLayout: GPUBindGroupLayout;
    descriptor: GPUComputePipelineDescriptor;
  } {
    const device = this.#device;
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
    const bindGroupLayout = device.createBindGroupLayout({ label: name, entries });
    const descriptor = {
      label: name,
      layout: device.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] }),
      compute: { module: device.createShaderModule({ label: name, code }), entryPoint: ENTRY_POINT },
    };
    return { bindGroupLayout, descriptor };
  }
}

function keyOf(constants: Constants, insertions: readonly Insertion[]): string {
  return [JSON.stringify(constants), ...insertions.flatMap(({ name, text }) => [name, text])].join('\n');
}
