/** The suites that run in every runtime (cells.mjs), and what they leave out outside of Node. */

export const SUITES = ['ops', 'modules', 'caches', 'autograd', 'optimisers', 'tensor'].map((room) => `test/${room}`);

/** Files that test what belongs to Node, with the reason. */
export const EXCLUDED = {
  'test/tensor/collection.test.ts': 'asks V8 for a garbage collection, through node:v8',
};
