/** Reads WGSL declarations with wgsl_reflect: the twin of src/gpu/layout.ts, and the workgroup size too. */
import {
  ResourceType,
  WgslReflect,
  type ArrayInfo,
  type MemberInfo,
  type StructInfo,
  type TemplateInfo,
  type TypeInfo,
  type VariableInfo,
} from 'wgsl_reflect/wgsl_reflect.module.js';
import type { StorageBinding } from '../src/gpu/layout.ts';
import type { ScalarType, UniformField, UniformFields, UniformLayout } from '../src/gpu/uniform.ts';

export interface Reflection {
  readonly entryPoint: string;
  readonly workgroupSize: readonly [number, number, number];
  readonly storage: readonly StorageBinding[];
  readonly uniform?: UniformLayout;
}

/** Reads the layout of a specialised source: one compute entry point, all bindings in group 0, at most one uniform. */
export function reflect(name: string, source: string): Reflection {
  const reflection = new WgslReflect(declarations(source));
  const entry = reflection.entry.compute[0];
  if (entry === undefined || reflection.entry.compute.length > 1) {
    throw new Error(`shader ${name}: expected one compute entry point, found ${reflection.entry.compute.length}`);
  }
  if (entry.workgroupSize === null) throw new Error(`shader ${name}: the workgroup size is not a constant`);
  const storage: StorageBinding[] = [];
  for (const variable of reflection.storage) {
    if (variable.resourceType !== ResourceType.Storage)
      throw new Error(`shader ${name}: ${variable.name} is not a buffer`);
    storage.push({
      name: variable.name,
      binding: variable.binding,
      access: variable.access === 'read_write' ? 'storage' : 'read-only-storage',
    });
  }
  if (reflection.uniforms.length > 1) throw new Error(`shader ${name}: more than one uniform`);
  return {
    entryPoint: entry.name,
    workgroupSize: entry.workgroupSize,
    storage,
    uniform: reflection.uniforms[0] && uniformLayout(name, reflection.uniforms[0]),
  };
}

/**
 * The part of the source that wgsl_reflect needs and can read: no function except the entry point, without its body, and no
 * alias of a type that it does not know.
 */
function declarations(source: string): string {
  const text = withoutComments(source).replace(/\balias\s+\w+\s*=\s*subgroup_matrix_[^;]*;/g, '');
  let kept = '';
  let depth = 0;
  let inFunction = false;
  let isEntry = false;
  for (const [token] of text.matchAll(/\bfn\b|[{}]|[^{}f]+|f/g)) {
    if (token === 'fn' && depth === 0) {
      inFunction = true;
      isEntry = /[\w)]\s*$/.test(kept); // an attribute precedes it
    }
    const wasInBody = inFunction && depth > 0;
    if (token === '{') depth++;
    if (token === '}') depth--;
    if (!inFunction || (isEntry && (!wasInBody || depth === 0))) kept += token;
    if (token === '}' && depth === 0) inFunction = false;
  }
  return kept;
}

/** Block comments nest, and hold line comments as text. */
function withoutComments(source: string): string {
  let kept = '';
  let depth = 0;
  let inLine = false;
  for (const [token] of source.matchAll(/\/\*|\*\/|\/\/|\n|[^/*\n]+|[/*]/g)) {
    if (token === '\n') inLine = false;
    if (inLine) continue;
    if (token === '/*') depth++;
    else if (token === '*/') depth--;
    else if (depth === 0 && token === '//') inLine = true;
    else if (depth === 0 || token === '\n') kept += token;
  }
  return kept;
}

function uniformLayout(name: string, variable: VariableInfo): UniformLayout {
  return { binding: variable.binding, size: variable.size, fields: fieldsOf(name, variable.members ?? [], 0) };
}

function fieldsOf(name: string, members: readonly MemberInfo[], base: number): UniformFields {
  const fields: Record<string, UniformField | UniformFields> = {};
  for (const member of members) {
    const offset = base + member.offset;
    if (member.type.isStruct) {
      fields[member.name] = fieldsOf(name, (member.type as StructInfo).members, offset);
      continue;
    }
    const array = member.type.name === 'array' ? (member.type as ArrayInfo) : undefined;
    const scalars = scalarsOf(array?.format ?? member.type);
    if (!scalars || (array && scalars.count !== 4)) {
      throw new Error(`shader ${name}: uniform field ${member.name} has the unsupported type ${member.type.name}`);
    }
    fields[member.name] = { offset, ...scalars, count: scalars.count * (array?.count ?? 1) };
  }
  return fields;
}

/** Type and number of the scalars in a scalar or a vector. */
function scalarsOf(info: TypeInfo): { type: ScalarType; count: number } | undefined {
  const vector = /^vec([234])$/.exec(info.name);
  const type = vector ? (info as TemplateInfo).format?.name : info.name;
  if (type !== 'u32' && type !== 'i32' && type !== 'f32') return undefined;
  return { type, count: vector ? Number(vector[1]) : 1 };
}
