/**
 * What vitest's JSON report counts; a file that does not load fails without failing any test, and so does an error outside
 * of any. By itself it prints the numbers of passed, failed and skipped tests:
 *
 *     node test/matrix/count-tests.mjs REPORT EXIT_STATUS
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export function countTests(path, status) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  try {
    const report = JSON.parse(readFileSync(path, 'utf8'));
    const unloaded = report.testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.length === 0,
    );
    counts.passed = report.numPassedTests;
    counts.failed = report.numFailedTests + unloaded.length;
    counts.skipped = report.numPendingTests + report.numTodoTests;
  } catch {
    // no report
  }
  if (counts.failed === 0 && (status !== 0 || counts.passed === 0)) counts.failed = 1;
  return counts;
}

/** What test/matrix/support.test.ts told of the device; undefined if it did not run. */
export function findSupport(path) {
  try {
    const { testResults } = JSON.parse(readFileSync(path, 'utf8'));
    return testResults.flatMap((file) => file.assertionResults).find(({ meta }) => meta?.support)?.meta.support;
  } catch {
    return undefined;
  }
}

if (resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { passed, failed, skipped } = countTests(process.argv[2], Number(process.argv[3]));
  console.log(passed, failed, skipped);
}
