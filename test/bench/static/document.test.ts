/** docs/performance.md is its own snapshot: `npm run bench:tables`, which is this test with --update, writes its table again. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { withStaticTables } from '../../../bench/static/document.ts';
import type { StaticRecord } from '../../../bench/static/record.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const record = JSON.parse(readFileSync(`${root}bench/static/navi31.json`, 'utf8')) as StaticRecord;

test('the table of docs/performance.md is that of the committed result', async () => {
  const page = `${root}docs/performance.md`;
  await expect(withStaticTables(readFileSync(page, 'utf8'), record)).toMatchFileSnapshot(page);
});

test('a document must have the markers', () => {
  expect(() => withStaticTables('none', record)).toThrow('must hold <!-- static:begin -->');
});
