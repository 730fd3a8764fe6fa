/** Everything in one file, for pages without a bundler. */
export * from './index.ts';
export * from './models.ts';
