import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface Locked {
  readonly version: string;
  readonly dev?: boolean;
  readonly peer?: boolean;
}

/** What npm installs with this package: of package-lock.json, all that is not for development. */
function installed(): [place: string, locked: Locked][] {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>;
  };
  return Object.entries(packages)
    .filter(([place, { dev, peer }]) => place !== '' && !dev && !peer)
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** A package's section: its name, its version, its licence, and the licence's text, which some do not ship. */
function section([place, { version }]: [string, Locked]): string {
  const folder = join(root, place);
  const { name, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, string>;
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? readFileSync(join(folder, file), 'utf8').replaceAll('\r\n', '\n').trim() : undefined;
  const quoted = text?.replaceAll(/^/gm, '    ').replaceAll(/ +$/gm, '');
  return `## ${name} ${version}: ${license}\n\n${quoted ?? 'The package has no file with the text of its licence.'}\n`;
}

// `npm test -- test/house/licences.test.ts -u` writes the page.
test('the page of third-party licences has what is installed with this package', async () => {
  const packages = installed();
  expect(packages.length).toBeGreaterThan(0);
  const page = [
    '# Third-party licences\n',
    'What `npm install webgpu-attention` also installs, in the versions that this repository tests.\n',
    ...packages.map(section),
  ].join('\n');
  await expect(page).toMatchFileSnapshot('../../docs/third-party-licences.md');
});
