/** What this runner, which is plain JavaScript, shares with the benchmark. It is built into dist/bench-peers.js. */
export { loadDrawing } from '../../src/display/drawing.ts';
export { table, formatError } from '../../src/display/text.ts';
export { ArgumentError, WebGPUAttentionError } from '../../src/gpu/errors.ts';
export { normal } from '../../src/tensor/random.ts';
export { differencesOf } from '../compare.ts';
export { describeEnvironment, deviceSlug } from '../environment.ts';
export { digits, driverName, NOTHING } from '../report/describe.ts';
export { renderHtml } from '../report/html.ts';
export { compareRow, isOurs } from '../report/peers.ts';
export { formatResult, parseResult } from '../result-text.ts';
export { summarise } from '../statistics.ts';
export { initialiseVariables } from './initialise-variables.ts';
