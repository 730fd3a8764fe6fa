/**
 * Documents that hold figures. Each file is its own snapshot: `npm run bench:tables`, which is these tests with --update,
 * writes it again from the committed results.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { withTables } from '../../bench/report/document.ts';
import { timePicture } from '../../bench/report/picture.ts';
import { parseResult } from '../../bench/result-text.ts';
import type { BenchResult } from '../../bench/result.ts';
import { loadDrawing } from '../../src/display/drawing.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

function committedResults(): BenchResult[] {
  const folder = `${root}bench/results`;
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
  return files.sort().map((name) => parseResult(readFileSync(`${folder}/${name}`, 'utf8'), `bench/results/${name}`));
}

test('the tables of docs/benchmarks.md are those of the committed results', async () => {
  const page = `${root}docs/benchmarks.md`;
  await expect(withTables(readFileSync(page, 'utf8'), committedResults())).toMatchFileSnapshot(page);
});

test("the README's chart is that of lavapipe's committed result", async () => {
  const lavapipe = committedResults().find(({ device }) => device.driver === 'lavapipe')!;
  const picture = timePicture(lavapipe, (await loadDrawing())!);
  expect(picture).not.toContain('var(');
  await expect(picture).toMatchFileSnapshot(`${root}docs/time-against-length.svg`);
});
