/**
 * Where the pages of the site lie, and where the links of a document lead there. Documents link to each other by their places in
 * the repository, so that the links work on a code host too.
 */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../../', import.meta.url);

const at = (path: string): string => fileURLToPath(new URL(path, ROOT));

/** Where this project lives, from package.json; undefined as long as that does not say. */
function repository(): string | undefined {
  const { repository: found } = JSON.parse(readFileSync(at('package.json'), 'utf8')) as {
    repository?: { url: string };
  };
  return found?.url.replace(/^git\+/, '').replace(/\.git$/, '');
}

export const REPOSITORY = repository();

/** The documents that the site shows, from the root of the repository. The reference of the API is made by typedoc. */
export function documents(): string[] {
  const markdownIn = (folder: string): string[] =>
    readdirSync(at(folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `${folder}/${name}`);
  const examples = readdirSync(at('examples'))
    .map((name) => `examples/${name}/README.md`)
    .filter((path) => existsSync(at(path)));
  return [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'CHANGELOG.md',
    ...markdownIn('docs'),
    ...markdownIn('docs/reference'),
    ...examples,
  ].sort();
}

/** The place of a document on the site: README.md becomes index.md, and what lies in docs/ loses that folder. */
export function pageOf(path: string): string {
  return path.replace(/^docs\//, '').replace(/(^|\/)README\.md$/, '$1index.md');
}

/** The document or file that `href` in `document` means, and its part after `#`; undefined for an address elsewhere. */
export function targetOf(document: string, href: string): { path: string; hash: string } | undefined {
  if (/^([a-z]+:|\/)/i.test(href)) return undefined;
  const [path, hash = ''] = href.split('#');
  return { path: path === '' ? document : posix.join(posix.dirname(document), path), hash };
}

/**
 * The link of the site for `href` in `document`. What is no page of the site leads to the repository.
 *
 * @throws Error if the link leads to nothing
 */
export function siteLink(document: string, href: string): string {
  const target = targetOf(document, href);
  if (!target) return href;
  const { path } = target;
  const hash = target.hash && `#${target.hash}`;
  if (!existsSync(at(path))) throw new Error(`${document}: the link ${href} leads to nothing`);
  const page = statSync(at(path)).isDirectory() ? `${path}/README.md` : path;
  if (documents().includes(page) || page.startsWith('docs/api/')) return `/${pageOf(page)}${hash}`;
  const kind = statSync(at(path)).isDirectory() ? 'tree' : 'blob';
  return REPOSITORY ? `${REPOSITORY}/${kind}/main/${path}${hash}` : '/';
}

/** The anchor of a heading, as code hosts make it. */
export function slug(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');
}
