import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig, type DefaultTheme } from 'vitepress';
import { documents, pageOf, REPOSITORY, siteLink, slug } from './links.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const API = fileURLToPath(new URL('../api/', import.meta.url));

const page = (text: string, document: string): DefaultTheme.SidebarItem => ({
  text,
  link: `/${pageOf(document).replace(/(index)?\.md$/, '')}`,
});

/** The pages that typedoc wrote, by entry and kind. */
function apiSidebar(): DefaultTheme.SidebarItem[] {
  const entries = { index: 'webgpu-attention', models: 'webgpu-attention/models' };
  const kinds = ['functions', 'classes', 'interfaces', 'type-aliases'];
  return Object.entries(entries).map(([entry, text]) => ({
    text,
    link: `/api/${entry}/`,
    items: kinds
      .filter((kind) => existsSync(`${API}${entry}/${kind}`))
      .map((kind) => ({
        text: kind.replace('-', ' '),
        collapsed: true,
        items: readdirSync(`${API}${entry}/${kind}`)
          .map((file) => file.replace(/\.md$/, ''))
          .sort()
          .map((name) => ({ text: name, link: `/api/${entry}/${kind}/${name}` })),
      })),
  }));
}

const guides: DefaultTheme.SidebarItem[] = [
  {
    text: 'Begin',
    items: [
      page('Overview', 'README.md'),
      page('Getting started', 'docs/getting-started.md'),
      page('Coming from PyTorch', 'docs/coming-from-pytorch.md'),
    ],
  },
  {
    text: 'Guides',
    items: [
      page('Recipes', 'docs/recipes.md'),
      page('Inference', 'docs/inference.md'),
      page('Training', 'docs/training.md'),
      page('Score modifiers', 'docs/score-modifiers.md'),
    ],
  },
  {
    text: 'How it works',
    items: [
      page('Kernels', 'docs/kernels.md'),
      page('Architecture', 'docs/architecture.md'),
      page('Performance', 'docs/performance.md'),
      page('Benchmarks', 'docs/benchmarks.md'),
      page('Conformance', 'docs/conformance.md'),
      page('Reliability', 'docs/reliability.md'),
    ],
  },
  {
    text: 'Examples',
    items: [
      page('Six modules', 'examples/six-modules/README.md'),
      page('A language model', 'examples/llama/README.md'),
      page('A character model', 'examples/train-char-lm/README.md'),
      page('Long sequences', 'examples/train-local/README.md'),
    ],
  },
  {
    text: 'Project',
    items: [
      page('Contributing', 'CONTRIBUTING.md'),
      page('Security', 'SECURITY.md'),
      page('Changelog', 'CHANGELOG.md'),
      page('Licences of others', 'docs/third-party-licences.md'),
    ],
  },
];

const reference: DefaultTheme.SidebarItem[] = [
  {
    text: 'Reference',
    items: [
      page('Overview', 'docs/reference/README.md'),
      page('Attention', 'docs/reference/attention.md'),
      page('Ops', 'docs/reference/ops.md'),
      page('Modules', 'docs/reference/modules.md'),
      page('Caches', 'docs/reference/caches.md'),
      page('Models', 'docs/reference/models.md'),
      page('Training', 'docs/reference/training.md'),
      page('Pictures', 'docs/reference/pictures.md'),
      page('Device, tensors, files', 'docs/reference/device.md'),
      page('Choosing kernels', 'docs/reference/choosing-kernels.md'),
      page('Command line', 'docs/reference/command-line.md'),
      page('Environment variables', 'docs/reference/environment-variables.md'),
    ],
  },
];

export default defineConfig({
  title: 'webgpu-attention',
  description:
    'Attention for WebGPU: PyTorch’s attention modules and fused FlashAttention in TypeScript on hand-written WGSL',
  lang: 'en',
  srcDir: ROOT,
  srcExclude: readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !['docs', 'examples'].includes(entry.name))
    .map(({ name }) => `${name}/**`),
  rewrites: {
    ...Object.fromEntries(documents().map((path) => [path, pageOf(path)])),
    'docs/:path(api/.*)': ':path',
  },
  cleanUrls: false,
  lastUpdated: false,
  markdown: {
    anchor: { slugify: slug },
    // before VitePress checks links and turns them into addresses
    config: (md) => {
      md.core.ruler.push('repository-links', ({ tokens, env }) => {
        const document = (env.realPath ?? env.path).slice(ROOT.length) as string;
        if (document.startsWith('docs/api/')) return;
        for (const link of tokens.flatMap(({ children }) => children ?? [])) {
          const href = link.type === 'link_open' && link.attrGet('href');
          if (href && !href.startsWith('#')) link.attrSet('href', siteLink(document, href));
        }
      });
    },
  },
  themeConfig: {
    outline: [2, 3],
    search: { provider: 'local' },
    socialLinks: REPOSITORY ? [{ icon: 'github', link: REPOSITORY }] : [],
    nav: [
      { text: 'Guide', link: '/getting-started', activeMatch: '^/(?!reference|api|benchmarks)' },
      { text: 'Reference', link: '/reference/' },
      { text: 'API', link: '/api/index/' },
      { text: 'Benchmarks', link: '/benchmarks' },
    ],
    sidebar: { '/reference/': reference, '/api/': apiSidebar(), '/': guides },
  },
});
