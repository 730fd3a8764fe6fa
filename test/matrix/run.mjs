/**
 * Runs the suite, with the tests that `npm test` leaves out, on each device of the matrix (cells.mjs):
 *
 *     npm run test:matrix                          all of it, which takes an hour or more on two cores
 *     npm run test:matrix -- --sample              the fixed sample that CI runs
 *     npm run test:matrix -- 'subgroups of 16'     the cells whose name holds one of the words
 *     npm run test:matrix -- --files test/kernels  only these files of each cell
 *
 * The last line is `N passed, N failed`; with --report FILE the same numbers go there as JSON.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CELLS } from './cells.mjs';
import { countTests } from './count-tests.mjs';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: 'boolean', default: false },
    files: { type: 'string', multiple: true, default: [] },
    report: { type: 'string' },
  },
});

const scratch = mkdtempSync(join(tmpdir(), 'matrix-'));
const total = { passed: 0, failed: 0, skipped: 0 };
const lines = [];
for (const cell of CELLS) {
  const files = values.sample ? cell.sample : values.files.length > 0 ? values.files : (cell.files ?? []);
  if (values.sample && files.length === 0) continue;
  if (words.length > 0 && !words.some((word) => cell.name.includes(word))) continue;
  if (cell.needs && !processorHas(cell.needs)) {
    lines.push(`skipped  ${cell.name}: the processor has no ${cell.needs}`);
    continue;
  }
  console.log(`\n=== ${cell.name}`);
  const began = Date.now();
  const json = join(scratch, 'report.json');
  rmSync(json, { force: true });
  const { status } = spawnSync(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      ...files,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${json}`,
    ],
    {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...cell.env, WEBGPU_ATTENTION_MATRIX: '1' },
    },
  );
  const counts = countTests(json, status);
  for (const key of Object.keys(total)) total[key] += counts[key];
  const seconds = Math.round((Date.now() - began) / 1000);
  const verdict = counts.failed > 0 ? 'FAILED ' : 'ok     ';
  lines.push(
    `${verdict}  ${cell.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped (${seconds} s)`,
  );
}
rmSync(scratch, { recursive: true, force: true });
console.log(`\n=== matrix\n${lines.join('\n')}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
if (values.report) writeFileSync(values.report, JSON.stringify(total));
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;

function processorHas(feature) {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8').split(/\s+/).includes(feature);
  } catch {
    return false; // no Linux
  }
}
