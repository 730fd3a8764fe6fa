/**
 * Shader specialisation. A WGSL file with the parts that it names is valid as it is, with working defaults. A kernel's plan
 * replaces the initialisers of some of its constants, and the text of a user's function may replace a marked function. There
 * is no other text processing.
 */

/** A WGSL file: what importing it gives (build/wgsl-plugin.ts). */
export interface Shader {
  /** Its path below `shaders/`, without the extension. */
  readonly name: string;
  readonly text: string;
  /** The files that its first line names, `// parts: attention/score, store`. A part names parts of its own. */
  readonly parts: readonly Shader[];
}

/** A text that replaces a marked function of a shader. */
export interface Insertion {
  /** The function. */
  readonly name: string;
  /** WGSL that declares it, and what it needs. */
  readonly text: string;
  /** The message for an error that the compiler found at a line and column of the text, both from 1. */
  readonly explain: (error: string, line: number, column: number) => string;
}

export type Constants = Readonly<Record<string, number | boolean>>;

/** Directives, which WGSL requires before all declarations. In a part, each is on its own line. */
const DIRECTIVE = /^(?:enable|requires|diagnostic)\b.*;$/gm;

const joinedTexts = new WeakMap<Shader, string>();

/**
 * A shader's text followed by each of its parts, and their parts, once. WGSL allows declarations in any order, so the
 * shader's own text stays first and keeps its line numbers. Directives of parts go to the front of its first line.
 */
export function joinParts(shader: Shader): string {
  const known = joinedTexts.get(shader);
  if (known !== undefined) return known;
  const texts = partsOf(shader).map(({ name, text }) => `// ---- ${name}.wgsl\n${text}`);
  const directives = texts.flatMap((text) => text.match(DIRECTIVE) ?? []).map((directive) => `${directive} `);
  const declarations = texts.map((text) => text.replace(DIRECTIVE, ''));
  const joined = [directives.join('') + shader.text, ...declarations].join('\n');
  joinedTexts.set(shader, joined);
  return joined;
}

/** The parts of a shader, and their parts, once. */
export function partsOf(shader: Shader): Shader[] {
  const parts = new Map<string, Shader>();
  const collect = ({ parts: own }: Shader): void => {
    for (const part of own) {
      if (parts.has(part.name)) continue;
      parts.set(part.name, part);
      collect(part);
    }
  };
  collect(shader);
  return [...parts.values()];
}

/** The same shader with the part named `name` replaced by another with the same declarations. */
export function replacePart(shader: Shader, name: string, part: Shader): Shader {
  const parts = shader.parts.map((own) => (own.name === name ? part : replacePart(own, name, part)));
  return { ...shader, parts };
}

/**
 * Replaces the initialiser of `const NAME: type = …;` for each given constant.
 *
 * Throws unless exactly one declaration matches and the value fits its type (`u32`, `i32`, `f32` or `bool`).
 */
export function specialise(shader: Shader, constants: Constants): string {
  let source = joinParts(shader);
  for (const [name, value] of Object.entries(constants)) {
    const declaration = new RegExp(`^const ${name}: ?(u32|i32|f32|bool) ?= ?[^;]+;`, 'gm');
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

/**
 * Replaces functions that are on one line below the line `// replaceable`. The new texts go to the end of the source, so
 * that its line numbers stay.
 */
export function insertFunctions(shader: string, source: string, insertions: readonly Insertion[]): string {
  let joined = source;
  for (const { name, text } of insertions) {
    const marked = new RegExp(`^// replaceable(\\r?\\n)fn ${name}\\(.*\\}\\r?$`, 'gm');
    const { length } = joined.match(marked) ?? [];
    if (length !== 1) {
      throw new Error(`shader ${shader}: expected one replaceable function ${name}, found ${length ?? 0}`);
    }
    joined = `${joined.replace(marked, `// replaced below:$1// ${name}`)}\n${heading(name)}${text}`;
  }
  return joined;
}

function heading(name: string): string {
  return `// ---- inserted: ${name}\n`;
}

/** An insertion's version of the compiler's message, if that is about its text: `… :12:34 error: what` (Dawn), `:12:34`. */
export function explainInserted(source: string, insertions: readonly Insertion[], message: string): string | undefined {
  const found = /:(\d+):(\d+)(?: error: (.*))?/.exec(message);
  if (!found) return undefined;
  const [line, column] = [Number(found[1]), Number(found[2])];
  for (const { name, text, explain } of insertions) {
    const before = source.slice(0, source.indexOf(heading(name))).split('\n').length;
    const own = line - before;
    if (own >= 1 && own <= text.split('\n').length) {
      return explain(found[3] ?? message.split('\n', 1)[0], own, column);
    }
  }
  return undefined;
}
