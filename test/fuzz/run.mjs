/**
 * Tries random cases of every op, forward and backward, with every kernel of the device pinned in turn. Each must be refused
 * with an ArgumentError or give what the float64 reference gives; a failure is shrunk and printed with the command that
 * tries it again:
 *
 *     npm run fuzz                            1000 cases
 *     npm run fuzz -- --cases 0               until it is stopped; --minutes N stops it
 *     npm run fuzz -- --seed 123              other cases
 *     npm run fuzz -- --op flashAttention --direction backward --family register
 *
 * `--family` is a kernel's name or what it begins with, `default` the device's own choice; `matrix` is the kernels for tensor
 * cores, in emulation where there are none. WEBGPU_ATTENTION_ADAPTER says on which driver. The last line is
 * `N cases, N failed`; with --report FILE the counts by op, direction and kernel go there as JSON.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000' },
    minutes: { type: 'string' },
    seed: { type: 'string', default: '1' },
    path: { type: 'string' },
    op: { type: 'string' },
    direction: { type: 'string' },
    family: { type: 'string' },
    report: { type: 'string' },
  },
});
const scratch = mkdtempSync(join(tmpdir(), 'fuzz-'));
const report = resolve(values.report ?? join(scratch, 'report.json'));
rmSync(report, { force: true });
process.env.WEBGPU_ATTENTION_FUZZ = JSON.stringify({
  ...values,
  cases: Number(values.cases),
  seed: Number(values.seed),
  minutes: values.minutes && Number(values.minutes),
  report,
});

const errors = [];
const print = {
  onUserConsoleLog: ({ content }) => void process.stdout.write(content),
  onTestCaseResult: (test) => void errors.push(...(test.result().errors ?? [])),
  onTestRunEnd: (_modules, unhandled) => void errors.push(...unhandled),
};
process.on('SIGINT', finish);
await startVitest('test', ['test/fuzz/fuzz.test.ts'], {
  root: resolve(fileURLToPath(import.meta.url), '../../..'),
  watch: false,
  reporters: [print],
});
finish();

function finish() {
  let counts = [];
  try {
    counts = JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    // stopped before the first was counted, or no op or kernel has such a name
  }
  rmSync(scratch, { recursive: true, force: true });
  for (const { op, direction, kernel, cases, refused, failed } of counts) {
    console.log(`${op}, ${direction}, ${kernel}: ${cases} cases, ${refused} refused, ${failed} failed`);
  }
  for (const { message, stack } of errors) console.log(stack ?? message);
  const total = (name) => counts.reduce((sum, row) => sum + row[name], 0);
  const failed = total('failed') + errors.length;
  console.log(`${total('cases')} cases, ${failed} failed`);
  process.exit(failed > 0 || total('cases') === 0 ? 1 : 0);
}
