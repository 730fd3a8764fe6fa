import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { withTables } from '../../bench/report/readme.ts';
import { parseResult } from '../../bench/result-file.ts';
import type { BenchResult } from '../../bench/result.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

function committedResults(): BenchResult[] {
  const folder = `${root}bench/results`;
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
  return files.sort().map((name) => parseResult(readFileSync(`${folder}/${name}`, 'utf8'), `bench/results/${name}`));
}

// The file is its own snapshot: `npm run bench:tables`, which is this test with --update, writes the tables anew.
test("the README's tables are those of the committed results", async () => {
  const readme = `${root}README.md`;
  await expect(withTables(readFileSync(readme, 'utf8'), committedResults())).toMatchFileSnapshot(readme);
});
