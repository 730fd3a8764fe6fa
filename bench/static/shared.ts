/** What the runner, which is plain JavaScript, takes from here. It is built into dist/bench-static.js. */
export { MATRIX_SHADERS } from '../../src/kernels/matrix-shaders.ts';
export { ArgumentError } from '../../src/gpu/errors.ts';
export { readCapture } from './capture.ts';
export { CHIPS } from './chips.ts';
export { measureKernel } from './measure.ts';
export { differences, formatRecord, recordOf } from './record.ts';
export { kernelTable } from './table.ts';
