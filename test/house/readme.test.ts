import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as surface from '../../src/index.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const namesIn = (folder: string): string[] => readdirSync(new URL(`../../${folder}`, import.meta.url)).sort();
const readme = read('README.md');
const reference = namesIn('docs/reference').map((name) => `docs/reference/${name}`);
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...namesIn('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
  ...reference,
];

test('the README shows the quick start as it is, on one page', () => {
  expect(readme).toContain(`\`\`\`js\n${read('examples/quick-start.mjs')}\`\`\`\n`);
  expect(readme.split('\n').length).toBeLessThanOrEqual(151);
});

test('the reference, which says what is supported, names everything that is exported', () => {
  const text = reference.map(read).join('\n');
  expect(Object.keys(surface).filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([]);
});

test('documents import only what is exported', () => {
  const imported = pages.flatMap((page) =>
    [...read(page).matchAll(/import \{([^}]*)\} from 'webgpu-attention'/g)].flatMap(([, names]) => names.split(',')),
  );
  expect(imported.length).toBeGreaterThan(0);
  expect(imported.map((name) => name.trim()).filter((name) => name !== '' && !(name in surface))).toEqual([]);
});

test('links between documents lead to files', () => {
  const broken = pages.flatMap((page) => {
    const links = [...read(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, link]) => link);
    return links.filter((link) => !existsSync(new URL(link, new URL(`../../${page}`, import.meta.url))));
  });
  expect(broken).toEqual([]);
});
