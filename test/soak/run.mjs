/**
 * Runs the soak tests for as long as it takes to see a slow leak, and tells what they saw:
 *
 *     npm run soak                    10,000 training steps, then 10,000 requests through a paged cache
 *     npm run soak -- 2000            fewer
 *     npm run soak -- 10000 training  only the tests whose file has this word
 *
 * The resident size of the process is told and not judged: it depends on the machine and on what else runs.
 */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const [rounds = '10000', word = ''] = process.argv.slice(2);
if (!(Number.isInteger(Number(rounds)) && Number(rounds) >= 30)) {
  console.error(`soak: rounds must be a whole number of 30 or more, got '${rounds}'`);
  process.exit(1);
}
const { status } = spawnSync(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    `test/soak/${word}`,
    '--reporter=verbose',
    '--maxWorkers=1',
    '--testTimeout=86400000',
  ],
  {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, WEBGPU_ATTENTION_MATRIX: '1', WEBGPU_ATTENTION_SOAK: rounds },
  },
);
process.exitCode = status ?? 1;
