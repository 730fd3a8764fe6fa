/**
 * Faults that the suite must find. Each replaces one text, which must occur exactly once in its file, and names the test files
 * that are expected to fail.
 */
const OPS = 'test/ops/attention';
const forward = [
  `${OPS}/attention-options.test.ts`,
  `${OPS}/flash-attention.test.ts`,
  `${OPS}/attention-decode.test.ts`,
];
const backward = [`${OPS}/attention-gradient.test.ts`, `${OPS}/attention-dropout.test.ts`];
const caches = [
  'test/caches/attend.test.ts',
  'test/caches/key-value-cache.test.ts',
  'test/caches/paged-key-value-cache.test.ts',
];

/** On a CPU driver with subgroups of 8 and more, `embedded` has the cases that compile more kernels. */
const registers = [`${OPS}/register-attention.test.ts`];
const registerGradients = [`${OPS}/attention-gradient-kernels.matrix.test.ts`];

const score = 'shaders/attention/parts/score.wgsl';
const forwardPart = 'shaders/attention/parts/forward.wgsl';
const register = 'shaders/attention/register.wgsl';
const work = 'shaders/attention/parts/work.wgsl';

export const FAULTS = [
  {
    name: 'the band reaches one key further to the right',
    file: score,
    from: 'i32(key) > position + params.options.visibility.band_right',
    to: 'i32(key) > position + params.options.visibility.band_right + 1',
    tests: forward,
  },
  {
    name: 'the band begins one key too late on the left',
    file: score,
    from: 'i32(key) < position - params.options.visibility.band_left ||',
    to: 'i32(key) <= position - params.options.visibility.band_left ||',
    tests: [`${OPS}/local-attention.test.ts`, ...forward],
  },
  {
    name: 'a bool mask has the other polarity',
    file: score,
    from: 'return select(HIDDEN, score, byte_at(mask[at >> 2u], at) != 0u);',
    to: 'return select(HIDDEN, score, byte_at(mask[at >> 2u], at) == 0u);',
    tests: forward,
  },
  {
    name: 'the key mask is read for the first batch entry only',
    file: score,
    from: 'dot(vec2<u32>(sequence.index, key), params.options.visibility.key_mask_strides)',
    to: 'dot(vec2<u32>(0u, key), params.options.visibility.key_mask_strides)',
    tests: forward,
  },
  {
    name: 'key lengths let one key more be seen',
    file: score,
    from: 'table[given.key_lengths_at + index]), 0,',
    to: 'table[given.key_lengths_at + index]) + 1, 0,',
    tests: [...forward, `${OPS}/attention-packed.test.ts`],
  },
  {
    name: 'query offsets of batch entries are not read',
    file: score,
    from: 'sequence.query_offset = clamp(bitcast<i32>(table[given.query_offsets_at + index]), -FURTHEST, FURTHEST);',
    to: 'sequence.query_offset = given.query_offset;',
    tests: forward,
  },
  {
    name: 'the ends are not aligned where lengths vary',
    file: score,
    from: 'if given.aligns_ends != 0u {',
    to: 'if given.aligns_ends == 7u {',
    tests: [...forward, ...caches],
  },
  {
    name: 'a whole tile is taken for visible one key too soon',
    file: score,
    from: 'i32(last_key) <= i32(first_query) + sequence.query_offset + params.options.visibility.band_right',
    to: 'i32(last_key) <= i32(first_query) + 1 + sequence.query_offset + params.options.visibility.band_right',
    tests: forward,
  },
  {
    name: 'ALiBi adds',
    file: score,
    from: 'let modified = capped_score(score) - slope * distance;',
    to: 'let modified = capped_score(score) + slope * distance;',
    tests: forward,
  },
  {
    name: 'the derivative of softcap is 1',
    file: score,
    from: 'derivative = 1.0 - bounded * bounded;',
    to: 'derivative = 1.0;',
    tests: backward,
  },
  {
    name: 'dropout keys its draws by the query head within a group only',
    file: score,
    from: 'sequence.index * params.heads + head, DROPOUT_STREAM)',
    to: 'sequence.index + head, DROPOUT_STREAM)',
    tests: [`${OPS}/attention-dropout.test.ts`],
  },
  {
    name: 'every split of the keys has the sink',
    file: forwardPart,
    from: 'if tile.split != 0u { return HIDDEN; }',
    to: '',
    tests: forward,
  },
  {
    name: 'the ring begins one row late',
    file: forwardPart,
    from: 'params.keys.ring_start + key - params.keys.ring_kept;',
    to: 'params.keys.ring_start + 1u + key - params.keys.ring_kept;',
    tests: caches,
  },
  {
    name: 'the page table is read for the first batch entry only',
    file: forwardPart,
    from: 'tile.sequence.index * params.keys.pages_pitch',
    to: '0u * params.keys.pages_pitch',
    tests: caches,
  },
  {
    name: 'query heads read the key heads of another group',
    file: work,
    from: 'let kv_head = head / params.inputs.group_size;',
    to: 'let kv_head = head % (params.heads / params.inputs.group_size);',
    tests: forward,
  },
  {
    name: 'the last keys of a split are left out',
    file: work,
    from: 'return vec2<u32>(begin, min(begin + share, keys.y));',
    to: 'return vec2<u32>(begin, min(begin + share, keys.y - 1u));',
    tests: forward,
  },
  {
    name: 'merging weighs parts without the highest log-sum-exp',
    file: 'shaders/attention/merge.wgsl',
    from: 'let value = highest + swiftshader_log(sum);',
    to: 'let value = swiftshader_log(sum);',
    tests: [`${OPS}/merge-attention.test.ts`, ...forward],
  },
  {
    name: 'the running sum is not rescaled',
    file: 'shaders/attention/subgroup.wgsl',
    from: 'row_sum[r] *= rescale;',
    to: 'row_sum[r] *= 1.0;',
    tests: forward,
  },
  {
    name: 'D leaves out the gradient of the log-sum-exp',
    file: 'shaders/attention-gradient/row-statistics.wgsl',
    from: 'if params.has_d_log_sum_exp != 0u {',
    to: 'if params.has_d_log_sum_exp == 7u {',
    tests: backward,
  },
  {
    name: 'dV lies one row further down',
    file: 'shaders/attention-gradient/parts/key.wgsl',
    from: 'dot(params.keys.d_value_strides.xyz, vec3<u32>(batch_of(sequence), kv_head, sequence.first_key + key))',
    to: 'dot(params.keys.d_value_strides.xyz, vec3<u32>(batch_of(sequence), kv_head, sequence.first_key + key + 1u))',
    tests: backward,
  },
  {
    name: 'a masked key takes part in the softmax gradient',
    file: 'shaders/softmax/gradient.wgsl',
    from: 'd_x[i] = select(d_x[i] * derivative, 0.0, is_hidden[i]);',
    to: 'd_x[i] = d_x[i] * derivative + 1.0;',
    tests: [`${OPS}/scaled-dot-product-attention-gradient.test.ts`],
  },
  {
    name: 'gradients of a tensor that is used twice overwrite each other',
    file: 'src/autograd/tape.ts',
    from: 'if (!this.#gathered && whole) {',
    to: 'if (whole) {',
    tests: ['test/autograd/tape.test.ts'],
  },
  {
    name: 'a sliding cache forgets how far it has turned',
    file: 'src/caches/key-value-cache.ts',
    from: '(this.#position - this.#length) % length',
    to: '(this.#position - this.#length + 1) % length',
    tests: caches,
  },
  {
    name: 'a transposed operand of a product has the strides of the other axis',
    file: 'src/ops/internal/matmul-gradient.ts',
    from: 'const right = transposed.b ? b : b.transpose();',
    to: 'const right = transposed.b ? b.transpose() : b;',
    tests: ['test/ops/matmul-gradient.test.ts'],
  },
  {
    name: 'a barrier is missing before sums are read',
    file: 'shaders/parts/reduce.wgsl',
    from: '    workgroupBarrier();\n    if lane < half {\n      sum += tree[',
    to: '    if lane < half {\n      sum += tree[',
    tests: ['test/ops/softmax.test.ts', 'test/ops/normalise.test.ts', `${OPS}/merge-attention-gradient.test.ts`],
  },
  {
    name: 'rotary pairs turn the other way',
    file: 'shaders/parts/rotary.wgsl',
    from: 'select(-other, other, is_second)',
    to: 'select(other, -other, is_second)',
    tests: ['test/ops/rotary-embedding.test.ts'],
  },
  {
    name: 'O in registers is not rescaled',
    file: register,
    from: 'o[4u * g + e][c] *= rescale[e];',
    to: 'o[4u * g + e][c] *= 1.0;',
    tests: registers,
  },
  {
    name: 'the row sum in registers is not rescaled',
    file: register,
    from: 'row_sum[g] *= rescale;',
    to: 'row_sum[g] *= 1.0;',
    tests: registers,
  },
  {
    name: 'the band in registers reaches one key further to the right',
    file: register,
    from: 'key >= first && key <= last',
    to: 'key >= first && key <= last + 1',
    tests: registers,
  },
  {
    name: 'what lies past the last key meets weights of 0',
    file: register,
    from: 'staged[i] = select(staged[i], vec4<u32>(0u), key >= tile.keys.y);',
    to: 'staged[i] = select(staged[i], vec4<u32>(0u), key > tile.keys.y + V_KEYS);',
    tests: registers,
  },
  {
    name: 'the last chunk of head dims is not cut off where rows end',
    file: register,
    from: 'column >= params.inputs.head_dim); }',
    to: 'column > params.inputs.head_dim + 3u); }',
    tests: registers,
  },
  {
    name: 'the next chunk of K is that of the present step',
    file: register,
    from: 'staged[i] = k_vector(tile, lane, next, 0u, i);',
    to: 'staged[i] = k_vector(tile, lane, first_key, 0u, i);',
    tests: registers,
  },
  {
    name: 'the barrier before a chunk of K is stored is missing',
    file: register,
    from: '      if !FROM_CACHE || !HOLDS_Q { workgroupBarrier(); }\n      if !HOLDS_Q',
    to: '      if !HOLDS_Q',
    tests: registers,
  },
  {
    name: 'the barrier before a step is missing where K and V come from cache',
    file: register,
    from: 'if FROM_CACHE && HOLDS_Q { workgroupBarrier(); }',
    to: '',
    tests: registers,
  },
  {
    name: 'the repair in registers weighs a key with the weights of the next row',
    file: register,
    from: 'weight_of(tile, row, key, log_sum)',
    to: 'weight_of(tile, min(row + 1u, tile.end_row - 1u), key, log_sum)',
    tests: registers,
  },
  {
    name: 'dQ in registers leaves out the last key of a step',
    file: 'shaders/attention-gradient/query-register.wgsl',
    from: 'for (var key = 0u; key < STEP_KEYS; key++) {',
    to: 'for (var key = 0u; key < STEP_KEYS - 1u; key++) {',
    tests: registerGradients,
  },
  {
    name: 'what lies past the last key reaches dQ',
    file: 'shaders/attention-gradient/query-register.wgsl',
    from: 'staged[i] = select(staged[i], vec4<u32>(0u), key >= tile.keys.y);',
    to: '',
    tests: registerGradients,
  },
  {
    name: 'dK in registers reads the statistics of the row above',
    file: 'shaders/attention-gradient/key-register.wgsl',
    from: 'stats_tile[place] = row_stats(tile.sequence, step.head, query);',
    to: 'stats_tile[place] = row_stats(tile.sequence, step.head, max(query, 1u) - 1u);',
    tests: registerGradients,
  },
  {
    name: 'the band of dK in registers reaches one key further to the right',
    file: 'shaders/attention-gradient/key-register.wgsl',
    from: 'key >= first && key <= last',
    to: 'key >= first && key <= last + 1',
    tests: registerGradients,
  },
];

/** @throws Error unless the fault's text occurs in the file exactly once */
export function plant({ name, file, from, to }, whole) {
  const places = whole.split(from).length - 1;
  if (places !== 1) throw new Error(`${name}: expected its text once in ${file}, found it ${places} times`);
  return whole.replace(from, () => to);
}
