/**
 * Whether the suite finds faults: plants each of the list (faults.mjs) in a copy of the working tree, runs the tests that
 * should fail, and prints which did. It takes about an hour on two cores and is not part of `npm test`; run it after a
 * change to the suite that leaves tests out.
 *
 *     node test/faults/run.mjs [WORD…]    only the faults whose name or file has one of the words
 *
 * WEBGPU_ATTENTION_ADAPTER says on which driver. lavapipe is the faster one, but the tests of large tiles in registers are
 * skipped there in part, so plant those faults on `embedded` (the word `register`). Tests of the matrix are run as in the
 * matrix, all others as in `npm test`. The exit status is 1 if a fault was missed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FAULTS, plant } from './faults.mjs';

/** A planted fault can hang a kernel, which no test's timeout ends. */
const LIMIT_MS = 600_000;

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

function copyTree() {
  const to = mkdtempSync(join(tmpdir(), 'faults-'));
  const listed = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const files = execFileSync('git', listed, { cwd: root, encoding: 'utf8' }).split('\0');
  for (const file of files.filter((name) => name !== '' && !name.startsWith('node_modules'))) {
    mkdirSync(dirname(join(to, file)), { recursive: true });
    cpSync(join(root, file), join(to, file));
  }
  symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'));
  return to;
}

/** The variable that lets vitest find tests of the matrix. */
function matrixOf(files) {
  return files.some((file) => file.endsWith('.matrix.test.ts')) ? { WEBGPU_ATTENTION_MATRIX: '1' } : {};
}

/** Runs test files until one test fails: its name, or undefined where all pass. */
function firstFailure(tree, files) {
  return new Promise((resolvePromise, reject) => {
    const report = join(tree, 'report.json');
    rmSync(report, { force: true });
    const child = spawn(
      process.execPath,
      ['node_modules/vitest/vitest.mjs', 'run', ...files, '--bail=1', '--reporter=json', `--outputFile=${report}`],
      { cwd: tree, stdio: 'ignore', detached: true, env: { ...process.env, ...matrixOf(files) } },
    );
    const timer = setTimeout(() => process.kill(-Number(child.pid), 'SIGKILL'), LIMIT_MS);
    child.on('error', reject);
    child.on('exit', (status, signal) => {
      clearTimeout(timer);
      if (signal) return resolvePromise('the tests hang');
      if (status === 0) return resolvePromise(undefined);
      const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
      const failed = testResults.flatMap(({ name, message, assertionResults }) => {
        const file = name.slice(name.indexOf('/test/') + 1);
        const tests = assertionResults.filter((test) => test.status === 'failed');
        if (tests.length === 0 && message) return [`${file} does not load: ${message.split('\n')[0]}`];
        return tests.map((test) => `${file} › ${test.fullName}`);
      });
      resolvePromise(failed[0] ?? `exit status ${status}`);
    });
  });
}

const words = process.argv.slice(2);
const chosen = FAULTS.filter(
  ({ name, file }) => words.length === 0 || words.some((word) => name.includes(word) || file.includes(word)),
);
const tree = copyTree();
const missed = [];
try {
  for (const fault of chosen) {
    const path = join(tree, fault.file);
    const whole = readFileSync(path, 'utf8');
    writeFileSync(path, plant(fault, whole));
    const began = Date.now();
    const failure = await firstFailure(tree, fault.tests);
    writeFileSync(path, whole);
    if (!failure) missed.push(fault.name);
    const seconds = Math.round((Date.now() - began) / 1000);
    console.log(
      `${failure ? 'caught' : 'MISSED'}  ${fault.name} (${fault.file}), ${seconds} s${failure ? `: ${failure}` : ''}`,
    );
  }
} finally {
  rmSync(tree, { recursive: true, force: true });
}
console.log(`${chosen.length - missed.length} of ${chosen.length} caught`);
process.exitCode = missed.length > 0 ? 1 : 0;
