/** What must exist for the commands that documents show. */
import { existsSync, readFileSync } from 'node:fs';
import type { Block } from './blocks.ts';

const at = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const { scripts, devDependencies } = JSON.parse(readFileSync(at('package.json'), 'utf8')) as Record<
  'scripts' | 'devDependencies',
  Record<string, string>
>;

export interface Known {
  /** The help text of each command of `webgpu-attention`. */
  readonly help: ReadonlyMap<string, string>;
  /** Files that readers write themselves. */
  readonly files: ReadonlySet<string>;
}

/** What is wrong with the commands of a block. */
export function shellErrors({ document, line, text }: Block, known: Known): string[] {
  return text.split('\n').flatMap((words, index) =>
    words
      .replace(/(^|\s)#.*$/, '')
      .split('&&')
      .map((command) => wordsOf(command))
      .filter((command) => command.length > 0)
      .flatMap((command) => {
        const wrong = commandError(command, known);
        return wrong === undefined ? [] : [`${document}:${line + index}: ${command.join(' ')}: ${wrong}`];
      }),
  );
}

function wordsOf(command: string): string[] {
  const words = [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, a, b, c]) => a ?? b ?? c);
  return words.slice(words.findIndex((word) => !/^[A-Z_]+=/.test(word)));
}

function commandError([program, ...rest]: string[], known: Known): string | undefined {
  switch (program) {
    case 'npm':
      return npmError(rest);
    case 'npx':
      if (rest[0] === 'webgpu-attention') return cliError(rest.slice(1), known);
      return rest[0] in devDependencies || rest[0] === 'serve' ? undefined : `there is no package ${rest[0]}`;
    case 'node':
    case 'bash':
    case 'python':
      return fileError(rest[0], known);
    case 'bun':
    case 'deno': {
      if (rest[0] === 'add') return rest[1]?.endsWith('webgpu-attention') ? undefined : 'adds another package';
      const file = rest.slice(rest[0] === 'run' ? 1 : 0).find((word) => !word.startsWith('-'));
      return file === undefined ? 'names no file' : fileError(file, known);
    }
    case 'pip':
      return rest[0] === 'install' ? undefined : 'is not an installation';
    default:
      return 'is an unknown program';
  }
}

function npmError([verb, ...rest]: string[]): string | undefined {
  if (['ci', 'install', 'pack', 'i'].includes(verb)) return undefined;
  const [name, ...given] = verb === 'run' ? rest : [verb, ...rest];
  if (!(name in scripts)) return `package.json has no script ${name}`;
  const [, file] = /node (\S+\.mjs)/.exec(scripts[name]) ?? [];
  const source = file && readFileSync(at(file), 'utf8');
  const missing = given.filter((word) => /^--./.test(word) && source && !source.includes(word.slice(2)));
  return missing.length === 0 ? undefined : `${file} knows no ${missing.join(', ')}`;
}

function cliError(words: string[], { help }: Known): string | undefined {
  const name = words[0] === 'bench' && words[1] === 'compare' ? 'bench compare' : words[0];
  const text = help.get(name);
  if (text === undefined) return `there is no command ${name}`;
  const missing = words.filter((word) => word.startsWith('--') && !text.includes(`${word} `));
  return missing.length === 0 ? undefined : `its help knows no ${missing.join(', ')}`;
}

const fileError = (file: string, { files }: Known): string | undefined =>
  existsSync(at(file)) || files.has(file) ? undefined : `there is no file ${file}`;
