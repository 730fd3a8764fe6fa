/**
 * A real model for tests. It is not part of the project: `WEBGPU_ATTENTION_MODELS` names a folder that holds `stories260K.bin` and
 * `tok512.bin` (Karpathy's llama2.c, 260 thousand parameters), else it is `../shared/models` beside the checkout.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'vitest';

const FOLDER_VARIABLE = 'WEBGPU_ATTENTION_MODELS';

export interface Stories {
  modelPath: string;
  tokenizerPath: string;
  model: Uint8Array;
  tokenizer: Uint8Array;
}

/** The model folder, or undefined where there is none. */
function modelsFolder(): string | undefined {
  const named = process.env[FOLDER_VARIABLE];
  const folder = named ?? fileURLToPath(new URL('../../../shared/models', import.meta.url));
  if (existsSync(join(folder, 'stories260K.bin'))) return folder;
  if (named) throw new Error(`${FOLDER_VARIABLE} must name a folder that holds stories260K.bin, got ${named}`);
  return undefined;
}

/** Calls `define`, which registers tests, with the model; where it is absent, a skipped test says so. */
export function describeStories(name: string, define: (stories: Stories) => void): void {
  describe(`${name}, stories260K`, () => {
    const folder = modelsFolder();
    if (!folder) {
      const reason = `skipped: no model folder (${FOLDER_VARIABLE} names one)`;
      console.warn(`${name} with stories260K ${reason}`);
      test('all of it', (context) => context.skip(reason));
      return;
    }
    const [modelPath, tokenizerPath] = [join(folder, 'stories260K.bin'), join(folder, 'tok512.bin')];
    define({ modelPath, tokenizerPath, model: readFileSync(modelPath), tokenizer: readFileSync(tokenizerPath) });
  });
}
