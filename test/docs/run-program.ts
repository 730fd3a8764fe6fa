/** Runs the code blocks of a document on the device that all tests share. */
import { runInThisContext } from 'node:vm';
import ts from 'typescript';
import type { Device } from '../../src/index.ts';
import type { Program } from './blocks.ts';

export type Modules = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/**
 * Runs a program and waits for the GPU after each block.
 *
 * @returns what it printed
 * @throws Error that names the block
 */
export async function runProgram(program: Program, modules: Modules, device: Device): Promise<string[]> {
  const printed: string[] = [];
  const print = (...values: unknown[]): void => void printed.push(values.map(String).join(' '));
  const { outputText } = ts.transpileModule(program.text, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const values = await Promise.all(
    program.imports.map(async ({ from, name }) => {
      const found = modules[from] ?? ((await import(/* @vite-ignore */ from)) as Record<string, unknown>);
      return name === '*' ? found : found[name];
    }),
  );
  let line = program.blocks[0].line;
  const begin = async (at: number): Promise<void> => {
    await device.sync();
    line = at;
  };
  try {
    const names = program.imports.map(({ as }) => as);
    const source = `(async (begin, console, ${names.join(', ')}) => {\n${outputText}\n})`;
    const run = runInThisContext(source, { filename: program.document }) as (...given: unknown[]) => Promise<void>;
    await run(begin, { log: print, table: print, error: print, warn: print }, ...values);
    await device.sync();
  } catch (error) {
    throw new Error(`${program.document}, the block on line ${line}: ${String(error)}`, { cause: error });
  }
  return printed;
}
