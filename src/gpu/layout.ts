/**
 * What a kernel binds, read from its text: storage buffers, and where the fields of its uniform lie. It reads no more of WGSL
 * than our shaders use, as they are written and as they are shipped (build/minify.ts). A test compares it with wgsl_reflect
 * for every kernel.
 */
import { joinParts, type Shader } from './shader.ts';
import type { ScalarType, UniformField, UniformFields, UniformLayout } from './uniform.ts';

export interface StorageBinding {
  readonly name: string;
  readonly binding: number;
  readonly access: 'read-only-storage' | 'storage';
}

export interface ShaderLayout {
  /** All in group 0. */
  readonly storage: readonly StorageBinding[];
  readonly uniform?: UniformLayout;
}

const STORAGE = /@binding\((\d+)\) ?var<storage, ?(read|read_write)> ?(\w+)/g;
const UNIFORM = /@binding\((\d+)\) ?var<uniform> ?\w+: ?(\w+)/;
/** `name: vec4<u32>`, or `vec4u`, and for an array of those its length; else the type is a struct's name. */
const MEMBER = /(\w+)\s*:\s*(?:array<)?((?:vec([234])<?)?([uif])(?:32)?\b|\w+)>?(?:, ?(\d+)>)?/g;

/** No constant changes it. */
export function layoutOf(shader: Shader): ShaderLayout {
  const text = joinParts(shader).replace(/\/\/.*/g, '');
  const [, binding, struct] = UNIFORM.exec(text) ?? [];
  return {
    storage: Array.from(text.matchAll(STORAGE), ([, at, access, name]) => ({
      name,
      binding: Number(at),
      access: access === 'read' ? 'read-only-storage' : 'storage',
    })),
    uniform: struct ? { binding: Number(binding), ...layOut(text, struct, 0) } : undefined,
  };
}

/** By WGSL's rules for uniforms: a struct, an array's element and a vector of three or four begin at multiples of 16 bytes. */
function layOut(text: string, struct: string, base: number): { fields: UniformFields; size: number } {
  const fields: Record<string, UniformField | UniformFields> = {};
  const [, members] = new RegExp(`struct ${struct}\\s*{([^}]*)`).exec(text)!;
  let end = 0;
  for (const [, name, type, width, scalar, length] of members.matchAll(MEMBER)) {
    const count = Number(width ?? 1);
    const alignment = scalar && !length && count < 3 ? 4 * count : 16;
    const begin = Math.ceil(end / alignment) * alignment;
    const inner = scalar ? undefined : layOut(text, type, base + begin);
    // an array's elements are of 16 bytes
    const scalars = count * Number(length ?? 1);
    fields[name] = inner?.fields ?? { offset: base + begin, type: `${scalar}32` as ScalarType, count: scalars };
    end = begin + (inner?.size ?? 4 * scalars);
  }
  return { fields, size: Math.ceil(end / 16) * 16 };
}
