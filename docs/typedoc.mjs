/** The reference of the API, as pages for the site: `npm run docs` writes them to docs/api. */
const ENTRIES = { index: 'webgpu-attention', models: 'webgpu-attention/models' };

export default {
  entryPoints: Object.keys(ENTRIES).map((name) => `../src/${name}.ts`),
  tsconfig: '../tsconfig.json',
  plugin: ['typedoc-plugin-markdown'],
  out: 'api',
  readme: 'none',
  router: 'member',
  disableSources: true,
  excludeInternal: true,
  excludePrivate: true,
  // `npm run types` has checked them
  skipErrorChecking: true,
  validation: { notExported: false },
  logLevel: 'Warn',
  entryFileName: 'index',
  pageTitleTemplates: { module: ({ name }) => ENTRIES[name] },
  hidePageHeader: true,
  hideBreadcrumbs: true,
  useCodeBlocks: true,
  parametersFormat: 'table',
  interfacePropertiesFormat: 'table',
  classPropertiesFormat: 'table',
  enumMembersFormat: 'table',
  typeDeclarationFormat: 'table',
};
