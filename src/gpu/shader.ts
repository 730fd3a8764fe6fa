/**
 * Shader specialisation: a WGSL file is valid as it stands, with working defaults; a kernel's plan replaces the
 * initialisers of some of its constants. There is no other text processing.
 */

/** A WGSL source with the parts that it names already joined on. */
export interface Shader {
  readonly name: string;
  readonly source: string;
}

export type Constants = Readonly<Record<string, number | boolean>>;

/** What WGSL wants before all declarations; each on a line of its own in a part. */
const DIRECTIVE = /^(?:enable|requires|diagnostic)\b.*;$/gm;

/**
 * Joins a shader with the parts named on its first line (`// parts: load, visibility`). WGSL does not care about the
 * order of declarations, so the shader's own text stays first and keeps its line numbers; directives of parts go to the
 * front of that first line.
 */
export function joinParts(name: string, source: string, parts: Readonly<Record<string, string>>): Shader {
  const header = /^\/\/ parts: (.+)\r?\n/.exec(source);
  const names = header ? header[1].split(',').map((part) => part.trim()) : [];
  const texts = names.map((part) => {
    const text = parts[part];
    if (text === undefined) throw new Error(`shader ${name}: there is no part named '${part}'`);
    return `// ---- parts/${part}.wgsl\n${text}`;
  });
  const directives = texts.flatMap((text) => text.match(DIRECTIVE) ?? []).map((directive) => `${directive} `);
  const declarations = texts.map((text) => text.replace(DIRECTIVE, ''));
  return { name, source: [directives.join('') + source, ...declarations].join('\n') };
}

/**
 * Replaces the initialiser of `const NAME: type = …;` for each given constant.
 *
 * Throws unless exactly one declaration matches and the value fits its type (`u32`, `i32`, `f32` or `bool`).
 */
export function specialise(shader: Shader, constants: Constants): string {
  let source = shader.source;
  for (const [name, value] of Object.entries(constants)) {
    const declaration = new RegExp(`^const ${name}: (u32|i32|f32|bool) = [^;]+;`, 'gm');
    const matches = [...source.matchAll(declaration)];
    if (matches.length !== 1) {
      throw new Error(`shader ${shader.name}: expected one declaration of const ${name}, found ${matches.length}`);
    }
    const type = matches[0][1];
    source = source.replace(declaration, `const ${name}: ${type} = ${literal(shader.name, name, type, value)};`);
  }
  return source;
}

function literal(shader: string, name: string, type: string, value: number | boolean): string {
  if (type === 'bool' && typeof value === 'boolean') return String(value);
  if (typeof value === 'number') {
    if (type === 'f32' && Number.isFinite(Math.fround(value))) return `f32(${value})`;
    if (type === 'i32' && value === (value | 0)) return `i32(${value})`;
    if (type === 'u32' && value === value >>> 0) return `${value}u`;
  }
  throw new Error(`shader ${shader}: const ${name} is ${type} and cannot be ${value}`);
}
