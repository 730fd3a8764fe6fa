/**
 * What `createDevice` loads on demand, as one module. Bundlers divide the code that a program loads at once by which of the
 * modules on demand share it, and divided code compresses worse: three modules instead of one cost every program 2 kB.
 */
export { checkPinned } from './pinned.ts';
export { probeMatrices } from './probe-matrices.ts';
export { tune } from './tune.ts';
