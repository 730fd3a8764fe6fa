import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as surface from '../../src/index.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const readme = read('README.md');

test('the README shows the quick start as it is', () => {
  expect(readme).toContain(`\`\`\`js\n${read('examples/quick-start.mjs')}\`\`\`\n`);
});

test('the README, which says what is supported, names all that is exported', () => {
  expect(Object.keys(surface).filter((name) => !new RegExp(`\\b${name}\\b`).test(readme))).toEqual([]);
});
