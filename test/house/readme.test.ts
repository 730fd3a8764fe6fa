import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as surface from '../../src/index.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const namesIn = (folder: string): string[] => readdirSync(new URL(`../../${folder}`, import.meta.url)).sort();
const readme = read('README.md');
const reference = namesIn('docs/reference').map((name) => `docs/reference/${name}`);

test('the README shows the quick start as it is, on one page', () => {
  expect(readme).toContain(`\`\`\`js\n${read('examples/quick-start.mjs')}\`\`\`\n`);
  expect(readme.split('\n').length).toBeLessThanOrEqual(151);
});

test('the reference, which says what is supported, names everything that is exported', () => {
  const text = reference.map(read).join('\n');
  expect(Object.keys(surface).filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([]);
});
