// parts: attention/modifiers, element, special
// Which keys a query may attend to. The band around the diagonal (causal masks and windows are bands), the key mask, the
// mask, a mask modifier and the length of a batch entry's own keys decide. Needs `params` (sequences: SequenceParams, visibility:
// VisibilityParams), `mask`, `key_mask` and `table` from the shader that uses it.
//
// Query i is at position i + query_offset and sees keys [position - band_left, position + band_right]:
//
//     causal, top-left      causal, bottom-right    window left = 1, right = 1
//        k 0 1 2 3 4           k 0 1 2 3 4             k 0 1 2 3 4
//     q 0  x . . . .        q 0  x x x . .          q 0  x x . . .
//     q 1  x x . . .        q 1  x x x x .          q 1  x x x . .
//     q 2  x x x . .        q 2  x x x x x          q 2  . x x x .

const NO_MASK: u32 = 0u;
const BOOL_MASK: u32 = 1u;  // one byte a key, not zero = may attend
const F32_MASK: u32 = 2u;   // added to the scaled score
const F16_MASK: u32 = 3u;

// Stands for the score of a key that may not be attended to.
const HIDDEN: f32 = LOWEST;
// Added scores are clamped here, so that -FLT_MAX as a mask stays above HIDDEN and never overflows.
const LOWEST_BIAS: f32 = -1.0e38;
const FURTHEST: i32 = 0x10000000;  // no position that a query is given is further from 0

// Says that something is not in `table`.
const ABSENT: u32 = 0xffffffffu;

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
  let given = params.sequences;
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
  return select(sequence.index, 0u, params.sequences.packed_at != ABSENT);
}

// First key, and one past the last, in the band of any of the queries [first, last].
fn key_range(sequence: Sequence, first_query: u32, last_query: u32) -> vec2<u32> {
  let begin = i32(first_query) + sequence.query_offset - params.visibility.band_left;
  let end = i32(last_query) + sequence.query_offset + params.visibility.band_right + 1;
  let length = i32(sequence.key_length);
  return vec2<u32>(u32(clamp(begin, 0, length)), u32(clamp(end, 0, length)));
}

// First query, and one past the last, whose band holds any of the keys [first, last].
fn query_range(sequence: Sequence, first_key: u32, last_key: u32) -> vec2<u32> {
  let begin = i32(first_key) - sequence.query_offset - params.visibility.band_right;
  let end = i32(last_key) - sequence.query_offset + params.visibility.band_left + 1;
  let length = i32(sequence.query_length);
  return vec2<u32>(u32(clamp(begin, 0, length)), u32(clamp(end, 0, length)));
}

// Whether every query of [first, last] sees every one of the keys, apart from a mask modifier.
fn all_visible(sequence: Sequence, first_query: u32, last_query: u32, first_key: u32, last_key: u32) -> bool {
  return params.visibility.mask_kind == NO_MASK && params.visibility.has_key_mask == 0u && last_key < sequence.key_length
    && i32(first_key) >= i32(last_query) + sequence.query_offset - params.visibility.band_left
    && i32(last_key) <= i32(first_query) + sequence.query_offset + params.visibility.band_right;
}

fn byte_at(word: u32, index: u32) -> u32 {
  return (word >> (8u * (index & 3u))) & 0xffu;
}

// The score of one query and key with the mask added, or HIDDEN.
fn masked_score(sequence: Sequence, score: f32, head: u32, query: u32, key: u32) -> f32 {
  let position = i32(query) + sequence.query_offset;
  if key >= sequence.key_length
    || i32(key) < position - params.visibility.band_left || i32(key) > position + params.visibility.band_right {
    return HIDDEN;
  }
  if params.visibility.has_key_mask != 0u {
    let at = params.visibility.key_mask_offset
      + dot(vec2<u32>(sequence.index, key), params.visibility.key_mask_strides);
    if byte_at(key_mask[at >> 2u], at) == 0u { return HIDDEN; }
  }
  if HAS_MASK_MOD {
    if !mask_mod(sequence.index, head, query, key) { return HIDDEN; }
  }
  if params.visibility.mask_kind == NO_MASK { return score; }
  let at = params.visibility.mask_offset + dot(vec4<u32>(sequence.index, head, query, key), params.visibility.mask_strides);
  if params.visibility.mask_kind == BOOL_MASK {
    return select(HIDDEN, score, byte_at(mask[at >> 2u], at) != 0u);
  }
  let is_f16 = params.visibility.mask_kind == F16_MASK;
  let bias = decode_element(mask[word_index(at, is_f16)], at, is_f16);
  if bitcast<u32>(bias) == MINUS_INFINITY_BITS { return HIDDEN; }
  return score + select(bias, LOWEST_BIAS, bias < LOWEST_BIAS);
}
