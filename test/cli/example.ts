/** The file that the demo runs. */
import { readFileSync } from 'node:fs';
import { parseSafetensors } from '../../src/io/safetensors.ts';

export const packageRoot = new URL('../../', import.meta.url);

/** A copy of its bytes. */
export function exampleBytes(): Uint8Array {
  return new Uint8Array(readFileSync(new URL('examples/six-modules/six-modules.safetensors', packageRoot)));
}

/** A run as the file's metadata describes it. */
export interface ExampleRun {
  readonly name: string;
  readonly inputs: string[];
  readonly outputs: string[];
  readonly options?: Record<string, number>;
  readonly queryLabels?: string[][];
  readonly keyLabels?: string[][];
  readonly headLabels?: string[];
}

export function readExample() {
  const { metadata, tensors } = parseSafetensors(exampleBytes());
  return { runs: JSON.parse(metadata['runs']) as ExampleRun[], tensors };
}
