/** The bytes of a kernel's uniform: where its fields lie, and how a launch's values are written there. */

export type ScalarType = 'u32' | 'i32' | 'f32';

export interface UniformField {
  /** Byte offset in the uniform. */
  readonly offset: number;
  readonly type: ScalarType;
  /** Number of scalars in the field: 1, the width of a vector, or all of an array of vec4, which has no gaps. */
  readonly count: number;
}

/** Fields of a struct by name; a struct within it has fields of its own. */
export interface UniformFields {
  readonly [name: string]: UniformField | UniformFields;
}

/** The values that a launch gives for the fields of a struct. */
export interface UniformValues {
  readonly [field: string]: number | readonly number[] | UniformValues;
}

/** The struct of a shader's one uniform. */
export interface UniformLayout {
  readonly binding: number;
  /** Bytes. */
  readonly size: number;
  readonly fields: UniformFields;
}

const RANGE: Readonly<Record<ScalarType, readonly [number, number]>> = {
  u32: [0, 2 ** 32 - 1],
  i32: [-(2 ** 31), 2 ** 31 - 1],
  f32: [-3.4028235677973366e38, 3.4028235677973366e38],
};

/** Writes `values` into a uniform's bytes. Every field of each struct must be given, and nothing else. */
export function packUniform(
  shader: string,
  fields: UniformFields,
  values: UniformValues,
  target: DataView,
  base: number,
): void {
  for (const [name, field] of Object.entries(fields)) {
    const value = values[name];
    if (value === undefined) throw new Error(`shader ${shader}: uniform field ${name} is not set`);
    if (isField(field)) packField(shader, name, field, value as number | readonly number[], target, base);
    else packUniform(shader, field, value as UniformValues, target, base);
  }
  for (const name of Object.keys(values)) {
    if (!Object.hasOwn(fields, name)) throw new Error(`shader ${shader}: there is no uniform field ${name}`);
  }
}

/** A struct may have a member called offset, but that is no number. */
function isField(field: UniformField | UniformFields): field is UniformField {
  return typeof field.offset === 'number';
}

function packField(
  shader: string,
  name: string,
  { offset, type, count }: UniformField,
  value: number | readonly number[],
  target: DataView,
  base: number,
): void {
  const scalars = typeof value === 'number' ? [value] : value;
  if (scalars.length !== count) {
    throw new Error(`shader ${shader}: uniform field ${name} takes ${count} numbers, got ${scalars.length}`);
  }
  const [least, most] = RANGE[type];
  for (let i = 0; i < count; i++) {
    const at = base + offset + 4 * i;
    const scalar = scalars[i];
    if (!(scalar >= least && scalar <= most)) {
      throw new Error(`shader ${shader}: uniform field ${name} is ${type} and cannot be ${scalar}`);
    }
    if (type === 'f32') target.setFloat32(at, scalar, true);
    else if (type === 'u32') target.setUint32(at, scalar, true);
    else target.setInt32(at, scalar, true);
  }
}
