/**
 * ONNX models of one operator, written as bytes (onnx.proto, wire format of protocol buffers).
 *
 * The operands are initialisers, so that a run uploads nothing.
 */

/**
 * @typedef {object} Operand
 * @property {string} name
 * @property {readonly number[]} shape
 * @property {Float32Array | BigInt64Array} values
 */

const FLOAT = 1;
const INT64 = 7;

/** Names of outputs: the result, and its first element alone. */
export const RESULT = 'result';
export const FIRST = 'first';

/**
 * A model that computes `RESULT` by one operator.
 *
 * @param {object} operator
 * @param {string} operator.type `MatMul`
 * @param {string} [operator.domain] `com.microsoft`; by default ONNX's own
 * @param {readonly (Operand | undefined)[]} operator.operands absent optional ones are undefined
 * @param {Readonly<Record<string, number>>} [operator.integers] attributes
 * @param {readonly number[]} operator.shape of the result
 * @param {boolean} cutsFirst whether a second operator cuts `FIRST` out of the result. Fetching only that waits for the whole
 *   result without copying it
 */
export function onnxModel({ type, domain, operands, integers, shape }, cutsFirst) {
  const inputs = operands.map((operand) => operand?.name ?? '');
  const graph = [
    bytes(1, node({ type, domain, inputs, output: RESULT, integers })),
    text(2, type),
    ...operands.filter((operand) => operand !== undefined).map((operand) => bytes(5, tensor(operand))),
    bytes(12, valueInfo(RESULT, shape)),
    ...(cutsFirst ? cutFirst(shape) : []),
  ];
  return Buffer.concat([
    integer(1, 8), // version of the format
    bytes(7, graph),
    bytes(8, [text(1, ''), integer(2, 17)]),
    bytes(8, [text(1, 'com.microsoft'), integer(2, 1)]),
  ]);
}

function cutFirst(shape) {
  const starts = new BigInt64Array(shape.length);
  const bounds = [
    { name: 'starts', shape: [shape.length], values: starts },
    { name: 'ends', shape: [shape.length], values: starts.map(() => 1n) },
  ];
  return [
    bytes(1, node({ type: 'Slice', inputs: [RESULT, 'starts', 'ends'], output: FIRST })),
    ...bounds.map((operand) => bytes(5, tensor(operand))),
    bytes(
      12,
      valueInfo(
        FIRST,
        Array.from(starts, () => 1),
      ),
    ),
  ];
}

function node({ type, domain = '', inputs, output, integers = {} }) {
  return [
    ...inputs.map((input) => text(1, input)),
    text(2, output),
    text(4, type),
    ...Object.entries(integers).map(([name, value]) => bytes(5, [text(1, name), integer(3, value), integer(20, 2)])),
    text(7, domain),
  ];
}

function tensor(/** @type {Operand} */ { name, shape, values }) {
  const type = values instanceof Float32Array ? FLOAT : INT64;
  const raw = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  return [...shape.map((length) => integer(1, length)), integer(2, type), text(8, name), bytes(9, [raw])];
}

function valueInfo(name, shape) {
  const dimensions = shape.map((length) => bytes(1, [integer(1, length)]));
  return [text(1, name), bytes(2, [bytes(1, [integer(1, FLOAT), bytes(2, dimensions)])])];
}

function integer(field, value) {
  return Buffer.from([...varint(field << 3), ...varint(value)]);
}

function text(field, value) {
  return bytes(field, [Buffer.from(value)]);
}

function bytes(field, parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(length)]), ...parts]);
}

function varint(value) {
  const groups = [];
  for (; value > 127; value = Math.floor(value / 128)) groups.push((value % 128) | 128);
  return [...groups, value];
}
