// parts: attention/modifiers, element, random, special, table
//
// What happens to a score s = scale · q · k of query i and key j on its way to a weight. First it is modified:
//
//     softcap · tanh(s / softcap)                     Gemma 2, 2024
//     s - slope[b, h] · |i + query_offset - j|        ALiBi: Press, Smith & Lewis, 2022
//     score_mod(s, b, h, i, j)                        FlexAttention: Dong et al., 2024
//
// in this order. Then it is hidden, or a mask is added to it. The band around the diagonal (causal masks and windows are
// bands), the key mask, the mask, a mask modifier and the length of a batch entry's own keys decide which keys a query may
// attend to. Query i is at position i + query_offset and sees keys [position - band_left, position + band_right]:
//
//     causal, top-left      causal, bottom-right    window left = 1, right = 1
//        k 0 1 2 3 4           k 0 1 2 3 4             k 0 1 2 3 4
//     q 0  x . . . .        q 0  x x x . .          q 0  x x . . .
//     q 1  x x . . .        q 1  x x x x .          q 1  x x x . .
//     q 2  x x x . .        q 2  x x x x x          q 2  . x x x .
//
// After the softmax, dropout makes its weight 0 or divides it by 1 - p.
//
// Needs `params` (heads, options: OptionParams), `mask`, `key_mask` and `table` from the shader that uses it.

const MODIFIES_SCORES: bool = false;  // softcap, ALiBi or score_mod
const HAS_DROPOUT: bool = false;

const NO_MASK: u32 = 0u;
const BOOL_MASK: u32 = 1u;  // one byte a key, not zero = may attend
const F32_MASK: u32 = 2u;   // added to the scaled score
const F16_MASK: u32 = 3u;

// Stands for the score of a key that may not be attended to.
const HIDDEN: f32 = LOWEST;
const FURTHEST: i32 = 0x10000000;  // no position that a query is given is further from 0

// How a batch is divided into sequences, and where their queries stand.
struct SequenceParams {
  query_length: u32,      // Nq; in a packed batch that of the longest sequence
  key_length: u32,        // Nk
  query_offset: i32,      // position of the first query among the keys
  aligns_ends: u32,       // with query_offset 0, the last query is at the last key
  // where in `table`, or ABSENT
  query_offsets_at: u32,  // [B], in place of query_offset
  key_lengths_at: u32,    // [B]
  packed_at: u32,         // in a packed batch: count + 1 cumulative query lengths, then as many key lengths
  count: u32,             // sequences of a packed batch
}

struct VisibilityParams {
  band_left: i32,         // keys that a query sees to the left of its position
  band_right: i32,
  mask_kind: u32,
  mask_offset: u32,       // elements
  mask_strides: vec4<u32>,      // elements: batch, head, query, key; 0 where broadcast
  has_key_mask: u32,
  key_mask_offset: u32,
  key_mask_strides: vec2<u32>,  // elements: batch, key
}

struct ScoreParams {
  scale: f32,         // multiplies q · k
  softcap: f32,       // 0: none
  slopes_at: u32,     // in `table`, or ABSENT
  slopes_pitch: u32,  // elements between batch entries
}

// What a call's options are to all kernels that compute scores.
struct OptionParams {
  sequences: SequenceParams,
  visibility: VisibilityParams,
  score: ScoreParams,
  dropout: DropoutParams,
  captures: CaptureParams,
}

// ---- batch entries

// A batch entry. In a packed batch, one of the sequences that lie one after another in q, k and v.
struct Sequence {
  index: u32,          // batch entry
  first_query: u32,    // row of q, and of k and v, where it begins
  first_key: u32,
  query_length: u32,
  key_length: u32,
  query_offset: i32,   // position of its first query among its keys
}

fn sequence_at(index: u32) -> Sequence {
  let given = params.options.sequences;
  var sequence = Sequence(index, 0u, 0u, given.query_length, given.key_length, given.query_offset);
  if given.packed_at != ABSENT {
    let queries = given.packed_at + index;
    let keys = queries + given.count + 1u;
    sequence.first_query = table[queries];
    sequence.query_length = table[queries + 1u] - table[queries];
    sequence.first_key = table[keys];
    sequence.key_length = table[keys + 1u] - table[keys];
  }
  if given.key_lengths_at != ABSENT {
    sequence.key_length = u32(clamp(bitcast<i32>(table[given.key_lengths_at + index]), 0, i32(sequence.key_length)));
  }
  if given.aligns_ends != 0u { sequence.query_offset += i32(sequence.key_length) - i32(sequence.query_length); }
  if given.query_offsets_at != ABSENT {
    sequence.query_offset = clamp(bitcast<i32>(table[given.query_offsets_at + index]), -FURTHEST, FURTHEST);
  }
  return sequence;
}

// The sequence's place along the batch axis of q, k, v and output, which packed sequences share.
fn batch_of(sequence: Sequence) -> u32 {
  return select(sequence.index, 0u, params.options.sequences.packed_at != ABSENT);
}

// First key, and one past the last, in the band of any of the queries [first, last].
fn key_range(sequence: Sequence, first_query: u32, last_query: u32) -> vec2<u32> {
  let begin = i32(first_query) + sequence.query_offset - params.options.visibility.band_left;
  let end = i32(last_query) + sequence.query_offset + params.options.visibility.band_right + 1;
  let length = i32(sequence.key_length);
  return vec2<u32>(u32(clamp(begin, 0, length)), u32(clamp(end, 0, length)));
}

// First query, and one past the last, whose band holds any of the keys [first, last].
fn query_range(sequence: Sequence, first_key: u32, last_key: u32) -> vec2<u32> {
  let begin = i32(first_key) - sequence.query_offset - params.options.visibility.band_right;
  let end = i32(last_key) - sequence.query_offset + params.options.visibility.band_left + 1;
  let length = i32(sequence.query_length);
  return vec2<u32>(u32(clamp(begin, 0, length)), u32(clamp(end, 0, length)));
}

// ---- modified scores

// A score that options have changed. Where they overflow, or reach HIDDEN, it is the largest or the lowest score that a key may
// have. What was not finite before stays as it is.
fn bounded_score(before: f32, changed: f32) -> f32 {
  if is_special(before) || is_nan(changed) { return changed; }
  return clamp(changed, ABOVE_LOWEST, LARGEST);
}

// tanh by the exponential of a number that is not positive, because a driver's own tanh may be NaN where e^2x is infinite.
// Near 0, where that cancels, it uses the series. NaN stays NaN.
fn bounded_tanh(x: f32) -> f32 {
  let t = exp(-2.0 * abs(x));
  let far = select(1.0, -1.0, x < 0.0) * (1.0 - t) / (1.0 + t);
  let square = x * x;
  let near = x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 - square * (17.0 / 315.0))));
  return select(select(far, near, abs(x) < 0.25), x, is_nan(x));
}

// ALiBi's slope of a head, or 0 if there is none.
fn slope_of(sequence: Sequence, head: u32) -> f32 {
  if params.options.score.slopes_at == ABSENT { return 0.0; }
  return bitcast<f32>(table[params.options.score.slopes_at + sequence.index * params.options.score.slopes_pitch + head]);
}

fn capped_score(score: f32) -> f32 {
  if params.options.score.softcap == 0.0 { return score; }
  return params.options.score.softcap * bounded_tanh(score / params.options.score.softcap);
}

fn modified_score(sequence: Sequence, score: f32, slope: f32, head: u32, query: u32, key: u32) -> f32 {
  if !MODIFIES_SCORES { return score; }
  let distance = abs(f32(i32(query) + sequence.query_offset - i32(key)));
  let modified = capped_score(score) - slope * distance;
  if HAS_SCORE_MOD {
    return bounded_score(score, score_mod(bounded_score(score, modified), sequence.index, head, query, key));
  }
  return bounded_score(score, modified);
}

// The derivative of modified_score by its score.
fn score_derivative(sequence: Sequence, score: f32, slope: f32, head: u32, query: u32, key: u32) -> f32 {
  if !MODIFIES_SCORES { return 1.0; }
  let capped = capped_score(score);
  var derivative = 1.0;
  if params.options.score.softcap != 0.0 {
    let bounded = capped / params.options.score.softcap;
    derivative = 1.0 - bounded * bounded;
  }
  if HAS_SCORE_MOD {
    let distance = abs(f32(i32(query) + sequence.query_offset - i32(key)));
    derivative *= d_score_mod(bounded_score(score, capped - slope * distance), sequence.index, head, query, key);
  }
  return derivative;
}

// ---- hidden keys and masks

// Whether every query of [first, last] sees every one of the keys, apart from a mask modifier.
fn all_visible(sequence: Sequence, first_query: u32, last_query: u32, first_key: u32, last_key: u32) -> bool {
  return params.options.visibility.mask_kind == NO_MASK && params.options.visibility.has_key_mask == 0u
    && last_key < sequence.key_length
    && i32(first_key) >= i32(last_query) + sequence.query_offset - params.options.visibility.band_left
    && i32(last_key) <= i32(first_query) + sequence.query_offset + params.options.visibility.band_right;
}

fn byte_at(word: u32, index: u32) -> u32 {
  return (word >> (8u * (index & 3u))) & 0xffu;
}

// The score of one query and key with the mask added, or HIDDEN.
fn masked_score(sequence: Sequence, score: f32, head: u32, query: u32, key: u32) -> f32 {
  let position = i32(query) + sequence.query_offset;
  if key >= sequence.key_length
    || i32(key) < position - params.options.visibility.band_left || i32(key) > position + params.options.visibility.band_right {
    return HIDDEN;
  }
  if params.options.visibility.has_key_mask != 0u {
    let at = params.options.visibility.key_mask_offset
      + dot(vec2<u32>(sequence.index, key), params.options.visibility.key_mask_strides);
    if byte_at(key_mask[at >> 2u], at) == 0u { return HIDDEN; }
  }
  if HAS_MASK_MOD {
    if !mask_mod(sequence.index, head, query, key) { return HIDDEN; }
  }
  if params.options.visibility.mask_kind == NO_MASK { return score; }
  let at = params.options.visibility.mask_offset
    + dot(vec4<u32>(sequence.index, head, query, key), params.options.visibility.mask_strides);
  if params.options.visibility.mask_kind == BOOL_MASK {
    return select(HIDDEN, score, byte_at(mask[at >> 2u], at) != 0u);
  }
  let is_f16 = params.options.visibility.mask_kind == F16_MASK;
  let bias = decode_element(mask[word_index(at, is_f16)], at, is_f16);
  if bitcast<u32>(bias) == MINUS_INFINITY_BITS { return HIDDEN; }
  if is_special(bias) { return score + bias; }
  return bounded_score(score, score + bias);
}

// ---- dropout

// Only the seed and a weight's position decide whether it is kept, so every kernel, forward and backward, draws the same:
// word j mod 4 of Philox at ⌊j / 4⌋, i, b · H + h decides for query i and key j. Row sums and log-sum-exp are of all weights, before
// dropout, as in PyTorch.

const DROPOUT_STREAM: u32 = 0x61747464u;  // keeps its numbers apart from those of other parts

// The factors of the weights of keys [key, key + 4). key is a multiple of four.
fn dropout_quad(sequence: Sequence, head: u32, query: u32, key: u32) -> vec4<f32> {
  if !HAS_DROPOUT { return vec4<f32>(1.0); }
  let counter = vec4<u32>(key >> 2u, query, sequence.index * params.heads + head, DROPOUT_STREAM);
  return drawn_factors(philox(counter, params.options.dropout.seed), params.options.dropout);
}

// The factor of one key, for the work of four.
fn dropout_factor(sequence: Sequence, head: u32, query: u32, key: u32) -> f32 {
  if !HAS_DROPOUT { return 1.0; }
  return dropout_quad(sequence, head, query, key & ~3u)[key & 3u];
}
