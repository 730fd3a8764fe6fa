/** Adds comments to a specialised shader, so that you can read its text without the plan. */
import { readFileSync } from 'node:fs';
import { insertFunctions, joinParts, specialise, type Shader } from '../gpu/shader.ts';
import type { Launch } from '../gpu/runtime.ts';

/**
 * The WGSL that a launch compiles, with two kinds of comments added at the ends of lines: `// specialised, by default 32u`
 * after a constant that the plan sets, and `// here: false` after an `if` whose condition the constants alone decide.
 */
export function annotatedSource({ shader, constants, insertions = [] }: Launch): string {
  const defaults = initialisers(joinParts(shader));
  const source = insertFunctions(shader.name, specialise(shader, constants), insertions);
  const values = booleans(initialisers(source));
  return source
    .split('\n')
    .map((line) => {
      const [, name, value] = CONSTANT.exec(line) ?? [];
      if (name !== undefined && Object.hasOwn(constants, name)) {
        const byDefault = defaults.get(name);
        return `${line} // specialised${value === byDefault ? '' : `, by default ${byDefault}`}`;
      }
      const condition = /^\s*(?:\} else )?if (.+?) \{/.exec(line)?.[1];
      const isTaken = condition === undefined ? undefined : evaluate(condition, values);
      return isTaken === undefined ? line : `${line} // here: ${isTaken}`;
    })
    .join('\n');
}

/** A shader as it was written: what is shipped has neither comments nor its names (build/minify.ts). The package holds both. */
export function asWritten(shader: Shader, packageRoot: URL): Shader {
  const { name, parts } = shader;
  const text = readFileSync(new URL(`shaders/${name}.wgsl`, packageRoot), 'utf8');
  return { ...shader, text, parts: parts.map((part) => asWritten(part, packageRoot)) };
}

const CONSTANT = /^const (\w+)(?:: *\w+)? = ([^;]+);/;

/** The initialisers of the constants at module scope, as they are written. */
function initialisers(source: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of source.split('\n')) {
    const [, name, value] = CONSTANT.exec(line) ?? [];
    if (name !== undefined) found.set(name, value);
  }
  return found;
}

function booleans(constants: ReadonlyMap<string, string>): Map<string, boolean> {
  const values = new Map([
    ['true', true],
    ['false', false],
  ]);
  for (const [name, text] of constants) {
    const value = evaluate(text, values);
    if (value !== undefined) values.set(name, value);
  }
  return values;
}

/** The value of `A && !B || C` as far as constants decide it; undefined for anything else. */
function evaluate(condition: string, values: ReadonlyMap<string, boolean>): boolean | undefined {
  if (/[()]/.test(condition)) return undefined;
  const terms = condition.split('||').map((term) => {
    const factors = term.split('&&').map((factor) => {
      const [, not, name] = /^\s*(!?)(\w+)\s*$/.exec(factor) ?? [];
      const value = values.get(name);
      return value === undefined ? undefined : value !== (not === '!');
    });
    return factors.includes(false) ? false : factors.includes(undefined) ? undefined : true;
  });
  return terms.includes(true) ? true : terms.includes(undefined) ? undefined : false;
}
