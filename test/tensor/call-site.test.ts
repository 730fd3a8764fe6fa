/** The line of the program in stacks as engines write them. */
import { expect, test } from 'vitest';
import { callSiteIn } from '../../src/tensor/call-site.ts';

const PNPM = 'file:///app/node_modules/.pnpm/webgpu-attention@0.1.0/node_modules/webgpu-attention/dist';

test.each([
  [
    'V8',
    ['at callSite (file:///lib/dist/index.js:9:9)', 'at softmax (file:///lib/dist/index.js:5:1)'],
    'at main (file:///app/main.js:3:9)',
    'main (file:///app/main.js:3:9)',
  ],
  [
    'V8, in a folder of pnpm',
    [`at callSite (${PNPM}/index.js:9:9)`, `at ${PNPM}/index.js:7:3`, `at async Linear.forward (${PNPM}/index.js:5:1)`],
    'at file:///app/main.js:3:9',
    'file:///app/main.js:3:9',
  ],
  [
    'V8, with brackets in the path',
    ['at callSite (/old (lib)/dist/index.js:9:9)', 'at /old (lib)/dist/index.js:7:3'],
    'at new Model [as Other] (/old (app)/main.js:3:9)',
    'new Model [as Other] (/old (app)/main.js:3:9)',
  ],
  [
    'others, with a version in the address',
    [
      'callSite@https://cdn.org/webgpu-attention@0.1.0/dist/index.js:9:9',
      'softmax/<@https://cdn.org/webgpu-attention@0.1.0/dist/index.js:7:3',
      '@https://cdn.org/webgpu-attention@0.1.0/dist/index.js:5:1',
    ],
    'main@https://app.org/main.js:3:9',
    'main@https://app.org/main.js:3:9',
  ],
])('%s', (_, own, callers, expected) => {
  const stack = ['Error', ...own, callers, 'at last (file:///elsewhere.js:1:1)'].join('\n    ');
  expect(callSiteIn(stack)).toBe(expected);
});
