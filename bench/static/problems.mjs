/**
 * The problems that kernels are compiled for, and what each must do at least.
 *
 * @typedef {object} Problem
 * @property {string} name
 * @property {'float32' | 'float16'} dtype
 * @property {readonly (readonly number[])[]} shapes of the tensors that `run` takes
 * @property {Record<string, string>} [kernels] pinned ones
 * @property {boolean} [experimental] whether the device is opened for its tensor cores
 * @property {(library: object, ...tensors: object[]) => unknown} run
 * @property {Record<string, { multiplyAdds?: number, bytes?: number, isNotRun?: boolean }>} shaders what is measured, and its least work
 */

const HEADS = 8;
const LENGTH = 1024;
const WINDOW = 64;
const KEYS = 4096;
const DTYPES = ['float32', 'float16'];

const sizeOf = (dtype) => (dtype === 'float16' ? 2 : 4);
const short = (dtype) => (dtype === 'float16' ? 'f16' : 'f32');
const count = (shape) => shape.reduce((product, length) => product * length, 1);

function flash(tile, dim, dtype, isCausal = false, valueDim = dim) {
  // The workgroup in the middle is run. Of an odd number of tiles of one head, it has the average of causal attention's work.
  const blockQ = Number(/-(\d+)x/.exec(tile)[1]);
  const [heads, length] = isCausal ? [1, LENGTH + blockQ] : [HEADS, LENGTH];
  const [shape, valueShape] = [dim, valueDim].map((columns) => [1, heads, length, columns]);
  const shader = /^(register|cache)-/.test(tile) ? 'attention/register' : 'attention/flash-attention';
  const pairs = isCausal ? (length * (length + 1)) / 2 : length ** 2;
  return {
    name: `flash ${tile} D ${dim}${valueDim === dim ? '' : `, ${valueDim}`} ${isCausal ? 'causal ' : ''}${short(dtype)}`,
    dtype,
    shapes: [shape, shape, valueShape],
    kernels: { flashAttention: tile },
    run: ({ flashAttention }, q, k, v) => flashAttention(q, k, v, { isCausal }),
    shaders: { [shader]: { multiplyAdds: heads * pairs * (dim + valueDim) } },
  };
}

/** One query a head; four heads share their keys. */
function fewQueries(dim, dtype) {
  const [q, kv] = [
    [1, 4 * HEADS, 1, dim],
    [1, HEADS, KEYS, dim],
  ];
  return {
    name: `few queries D ${dim} ${short(dtype)}`,
    dtype,
    shapes: [q, kv, kv],
    kernels: { flashAttention: 'register-16x128-4x8' }, // which a GPU takes
    run: ({ flashAttention }, query, key, value) => flashAttention(query, key, value),
    shaders: { 'attention/register': { bytes: 2 * count(kv) * sizeOf(dtype) }, 'attention/merge': {} },
  };
}

/** The same against a cache of codes: a byte for each number, and a scale for each row of one head. */
function fewCodedQueries(dim) {
  const q = [1, 4 * HEADS, 1, dim];
  const kv = [1, HEADS, KEYS, dim];
  return {
    name: `few queries D ${dim} int8`,
    dtype: 'float32',
    shapes: [q, kv, kv],
    kernels: { flashAttention: 'register-16x128-4x8' }, // which a GPU takes
    run({ KeyValueCache }, query, key, value) {
      const sizes = { batch: 1, numKvHeads: HEADS, capacity: KEYS, headDim: dim };
      const cache = new KeyValueCache(query.device, { ...sizes, dtype: 'int8' });
      cache.append(key, value);
      cache.attend(query);
    },
    shaders: {
      'attention/register': { bytes: 2 * HEADS * KEYS * (dim + 4) },
      'cache/append': {},
      'attention/merge': {},
    },
  };
}

function local(dim, dtype) {
  const shape = [1, HEADS, LENGTH, dim];
  return {
    name: `local ±${WINDOW} D ${dim} ${short(dtype)}`,
    dtype,
    shapes: [shape, shape, shape],
    kernels: { localAttention: 'register-64x64-4x8' }, // which a GPU takes
    run: ({ localAttention }, q, k, v) => localAttention(q, k, v, { window: { left: WINDOW, right: WINDOW } }),
    shaders: { 'attention/register': {} },
  };
}

function gradient(dim, dtype, tile) {
  const shape = [1, HEADS, LENGTH, dim];
  const product = HEADS * LENGTH * LENGTH * dim;
  return {
    name: `gradient ${tile ? `${tile} ` : ''}D ${dim} ${short(dtype)}`,
    dtype,
    shapes: [shape, shape, shape, shape],
    ...(tile && { kernels: { attentionGradient: tile } }),
    run({ flashAttention }, q, k, v, dOutput) {
      for (const tensor of [q, k, v]) tensor.requiresGrad = true;
      flashAttention(q, k, v).output.backward(dOutput);
    },
    shaders: {
      'attention-gradient/row-statistics': {},
      'attention-gradient/query-register': { multiplyAdds: 3 * product },
      'attention-gradient/key-register': { multiplyAdds: 4 * product },
    },
  };
}

function matmul(tile, dtype, transposeB = false) {
  const size = 2048;
  return {
    name: `matmul ${tile} ${transposeB ? 'transposed b ' : ''}${short(dtype)}`,
    dtype,
    shapes: [
      [size, size],
      [size, size],
    ],
    kernels: { matmul: tile },
    run: (library, a, b) => library.matmul(a, b, { transposeB }),
    shaders: { 'matmul/tile': { multiplyAdds: size ** 3 } },
  };
}

/** On tensor cores: resources only, because the interpreter does not know their instructions. */
function tensorCores(problem, shader) {
  return { ...problem, experimental: true, shaders: { [shader]: { isNotRun: true } } };
}

/** Kernels that are bound by bytes: `moved` tensors of the first one's size must move. */
function bytes(name, shader, shapes, dtype, moved, run) {
  return {
    name: `${name} ${short(dtype)}`,
    dtype,
    shapes,
    run,
    shaders: { [shader]: { bytes: moved * count(shapes[0]) * sizeOf(dtype) } },
  };
}

const MATRIX = [8192, 1024];

/** The gradient of x: two tensors are read, and one is written. */
function rowGradient(op, shader, dtype, run) {
  return {
    name: `${op} gradient ${short(dtype)}`,
    dtype,
    shapes: [MATRIX, MATRIX],
    run(library, x, dOutput) {
      x.requiresGrad = true;
      run(library, x).backward(dOutput);
    },
    shaders: { [shader]: { bytes: 3 * count(MATRIX) * sizeOf(dtype) } },
  };
}
const FLAT = [4096, 4096];

function crossEntropy(dtype) {
  const shape = [512, 32000];
  const bytes = count(shape) * sizeOf(dtype);
  return {
    name: `crossEntropy ${short(dtype)}`,
    dtype,
    shapes: [shape],
    run({ crossEntropy: loss }, logits) {
      const targets = logits.device.zeros([shape[0]], { dtype: 'int32' });
      logits.requiresGrad = true;
      loss(logits, targets).backward();
    },
    shaders: { 'cross-entropy/cross-entropy': { bytes }, 'cross-entropy/gradient': { bytes: 2 * bytes } },
  };
}

/** Keys and values of a prompt, written to a cache of theirs. */
function append(dtype) {
  const shape = [1, HEADS, LENGTH, 64];
  return {
    name: `append ${short(dtype)}`,
    dtype,
    shapes: [shape, shape],
    run({ KeyValueCache }, k, v) {
      const [batch, numKvHeads, capacity, headDim] = shape;
      new KeyValueCache(k.device, { batch, numKvHeads, capacity, headDim, dtype }).append(k, v);
    },
    shaders: { 'cache/append': { bytes: 4 * count(shape) * sizeOf(dtype) } },
  };
}

function embedding(dtype) {
  const [table, tokens] = [[32000, 1024], 8192];
  return {
    name: `embedding ${short(dtype)}`,
    dtype,
    shapes: [table],
    run(library, weight) {
      library.embedding(weight.device.zeros([tokens], { dtype: 'int32' }), weight);
    },
    shaders: { 'embedding/embedding': { bytes: 2 * tokens * table[1] * sizeOf(dtype) } },
  };
}

/** @type {readonly Problem[]} */
export const PROBLEMS = [
  ...[
    ['64x64-8x8', [64]],
    ['32x128-8x8', [64, 128]],
    ['64x64-4x8', [64, 128]],
    ['32x64-8x4', [128]],
    ['32x64-4x8', [64, 128]],
    ['32x128-4x8', [256]],
    ['16x128-4x8', [64]],
    ['32x32-4x4', [64, 128]],
    ['16x64-4x4', [64]],
  ].flatMap(([tile, dims]) => DTYPES.flatMap((dtype) => dims.map((dim) => flash(`register-${tile}`, dim, dtype)))),
  ...['64x64-4x8', '32x64-4x8', '32x32-4x4'].flatMap((tile) =>
    DTYPES.map((dtype) => flash(`cache-${tile}`, 64, dtype)),
  ),
  ...['64x64-8x8', '64x64-4x8'].map((tile) => flash(`register-${tile}`, 64, 'float32', true)),
  ...DTYPES.map((dtype) => flash('register-32x128-4x8', 512, dtype, false, 256)), // rows of Q do not fit workgroup memory
  flash('tile-32x32', 64, 'float32'),
  local(64, 'float32'),
  fewQueries(64, 'float32'),
  fewQueries(64, 'float16'),
  fewQueries(128, 'float32'),
  fewCodedQueries(64),
  gradient(64, 'float32'),
  gradient(64, 'float16'),
  gradient(128, 'float32'),
  ...DTYPES.map((dtype) => gradient(64, dtype, 'register-64x64-4x8')),
  ...['tile-32x32', 'tile-64x32', 'tile-64x64', 'tile-128x64', 'tile-128x128'].flatMap((tile) =>
    DTYPES.map((dtype) => matmul(tile, dtype)),
  ),
  ...DTYPES.map((dtype) => matmul('tile-128x128', dtype, true)),
  tensorCores(flash('matrix-64x32', 64, 'float16'), 'matrix/attention'),
  tensorCores(flash('matrix-64x32', 128, 'float16'), 'matrix/attention'),
  tensorCores(matmul('matrix-128x128', 'float16'), 'matrix/matmul'),
  ...DTYPES.map((dtype) => bytes('softmax', 'softmax/softmax', [MATRIX], dtype, 2, ({ softmax }, x) => softmax(x))),
  ...DTYPES.map((dtype) =>
    bytes('layerNorm', 'normalise/normalise', [MATRIX], dtype, 2, ({ layerNorm }, x) => layerNorm(x, MATRIX[1])),
  ),
  bytes('rmsNorm', 'normalise/normalise', [MATRIX], 'float32', 2, ({ rmsNorm }, x) => rmsNorm(x, MATRIX[1])),
  ...DTYPES.map((dtype) =>
    rowGradient('layerNorm', 'normalise/gradient', dtype, ({ layerNorm }, x) => layerNorm(x, MATRIX[1])),
  ),
  rowGradient('rmsNorm', 'normalise/gradient', 'float32', ({ rmsNorm }, x) => rmsNorm(x, MATRIX[1])),
  ...DTYPES.map((dtype) => rowGradient('softmax', 'softmax/gradient', dtype, ({ softmax }, x) => softmax(x))),
  ...DTYPES.map((dtype) =>
    bytes('add', 'elementwise/elementwise', [FLAT, FLAT], dtype, 3, ({ add }, x, y) => add(x, y)),
  ),
  bytes('gelu', 'elementwise/elementwise', [FLAT], 'float32', 2, ({ gelu }, x) => gelu(x)),
  bytes('contiguous copy', 'elementwise/copy', [FLAT], 'float32', 2, ({ clone }, x) => clone(x)),
  bytes('transposing copy', 'elementwise/copy', [FLAT], 'float32', 2, ({ contiguous }, x) =>
    contiguous(x.transpose(0, 1)),
  ),
  ...DTYPES.map(append),
  ...DTYPES.map(embedding),
  ...DTYPES.map(crossEntropy),
];
