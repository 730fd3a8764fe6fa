/** The README is its own snapshot: `npm run test:table`, which is this test with --update, writes its table of runtimes again. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type SupportResult, withSupport } from './support-table.ts';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

test("the README's table of runtimes is that of the recorded results", async () => {
  const results = JSON.parse(readFileSync(path('results.json'), 'utf8')) as SupportResult[];
  const readme = path('../../README.md');
  await expect(withSupport(readFileSync(readme, 'utf8'), results)).toMatchFileSnapshot(readme);
});
