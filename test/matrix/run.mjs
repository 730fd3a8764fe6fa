/**
 * Runs the suite, with the tests that `npm test` leaves out, on each device and in each runtime of the matrix (cells.mjs):
 *
 *     npm run test:matrix                          all of it, which takes hours on two cores
 *     npm run test:matrix -- --sample              the fixed sample that CI runs
 *     npm run test:matrix -- chromium deno         the cells of these names, or whose name holds one of the words
 *     npm run test:matrix -- --files test/kernels  only these files of each cell
 *     npm run test:matrix -- --record              also keeps the results, for the README's table of runtimes
 *
 * The last line is `N passed, N failed`; with --report FILE the same numbers go there as JSON, with a line for each cell. A cell that
 * cannot run here counts as skipped, and its line says why.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CELLS } from './cells.mjs';
import { countTests, findSupport } from './count-tests.mjs';
import { prepare } from './runtimes.mjs';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const RESULTS = join(root, 'test/matrix/results.json');
const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: 'boolean', default: false },
    files: { type: 'string', multiple: true, default: [] },
    record: { type: 'boolean', default: false },
    report: { type: 'string' },
  },
});

const scratch = mkdtempSync(join(tmpdir(), 'matrix-'));
const total = { passed: 0, failed: 0, skipped: 0 };
const lines = [];
for (const cell of CELLS) {
  const files = values.sample ? cell.sample : values.files.length > 0 ? values.files : (cell.files ?? []);
  if (values.sample && files.length === 0) continue;
  if (words.length > 0 && !words.some((word) => isMeant(word, cell.name))) continue;
  const { runtime = 'node' } = cell;
  const missing = cell.needs && !processorHas(cell.needs) ? `the processor has no ${cell.needs}` : undefined;
  const prepared = missing ? { missing } : prepare(cell, scratch);
  if (prepared.missing) {
    const mayBe = cell.mayBeMissing || missing;
    total[mayBe ? 'skipped' : 'failed']++;
    lines.push(`${mayBe ? 'skipped ' : 'FAILED  '} ${cell.name}: ${prepared.missing}`);
    continue;
  }
  console.log(`\n=== ${cell.name}${runtime === 'node' ? '' : ` ${prepared.version}`}`);
  const began = Date.now();
  const json = join(scratch, 'report.json');
  rmSync(json, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${json}`];
  const [program, ...command] = prepared.command;
  const { status } = spawnSync(program, [...command, 'run', ...prepared.options, ...files, ...reporters], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...prepared.env, ...cell.env, WEBGPU_ATTENTION_MATRIX: '1' },
  });
  const counts = countTests(json, status);
  for (const key of Object.keys(total)) total[key] += counts[key];
  const seconds = Math.round((Date.now() - began) / 1000);
  const verdict = counts.failed > 0 ? 'FAILED ' : 'ok     ';
  lines.push(
    `${verdict}  ${cell.name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped (${seconds} s)`,
  );
  const support = findSupport(json);
  if (values.record && support) {
    const { version } = prepared;
    record({
      cell: cell.name,
      runtime,
      version,
      date: today(),
      isSample: values.sample || values.files.length > 0,
      ...counts,
      ...support,
    });
  }
}
rmSync(scratch, { recursive: true, force: true });
console.log(`\n=== matrix\n${lines.join('\n')}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
if (values.report) writeFileSync(values.report, JSON.stringify({ ...total, lines }));
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;

/** A word that is the whole name of a cell means no other. */
function isMeant(word, name) {
  return CELLS.some((cell) => cell.name === word) ? name === word : name.includes(word);
}

/** Keeps the result of a cell in place of its last one. */
function record(result) {
  const results = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : [];
  const rest = results.filter(({ cell }) => cell !== result.cell);
  const place = (cell) => CELLS.findIndex(({ name }) => name === cell);
  const sorted = [...rest, result].sort((a, b) => place(a.cell) - place(b.cell));
  writeFileSync(RESULTS, `${JSON.stringify(sorted, undefined, 2)}\n`);
}

function today() {
  return new Date().toISOString().slice(0, 10);
}

function processorHas(feature) {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8').split(/\s+/).includes(feature);
  } catch {
    return false; // no Linux
  }
}
