// Which keys a query may attend to: the band around the diagonal (causal masks and windows are bands), the key mask,
// and the mask. Names `params`, `mask` and `key_mask` of the shader that uses it.
//
// Query i stands at position i + query_offset and sees keys [position - band_left, position + band_right]:
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

// Stands for the score of a key that may not be attended to. Finite, because WGSL does not promise infinities, and low
// enough that exp(HIDDEN - any other score) is 0.
const HIDDEN: f32 = -2.0e38;
// Added scores are clamped here, so that -FLT_MAX as a mask stays above HIDDEN and never overflows.
const LOWEST_BIAS: f32 = -1.0e38;
const MINUS_INFINITY_BITS: u32 = 0xff800000u;

// First key, and one past the last, in the band of any of the queries [first, last].
fn key_range(first_query: u32, last_query: u32) -> vec2<u32> {
  let begin = i32(first_query) + params.query_offset - params.band_left;
  let end = i32(last_query) + params.query_offset + params.band_right + 1;
  let length = i32(params.key_length);
  return vec2<u32>(u32(clamp(begin, 0, length)), u32(clamp(end, 0, length)));
}

// Whether every query of [first, last] sees every one of the keys: then no predicate is needed.
fn all_visible(first_query: u32, last_query: u32, first_key: u32, last_key: u32) -> bool {
  return params.mask_kind == NO_MASK && params.has_key_mask == 0u && last_key < params.key_length
    && i32(first_key) >= i32(last_query) + params.query_offset - params.band_left
    && i32(last_key) <= i32(first_query) + params.query_offset + params.band_right;
}

fn byte_at(word: u32, index: u32) -> u32 {
  return (word >> (8u * (index & 3u))) & 0xffu;
}

// The scaled score of one query and key with the mask added, or HIDDEN.
fn masked_score(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {
  let position = i32(query) + params.query_offset;
  if key >= params.key_length || i32(key) < position - params.band_left || i32(key) > position + params.band_right {
    return HIDDEN;
  }
  if params.has_key_mask != 0u {
    let at = params.key_mask_offset + batch * params.key_mask_strides.x + key * params.key_mask_strides.y;
    if byte_at(key_mask[at >> 2u], at) == 0u { return HIDDEN; }
  }
  if params.mask_kind == NO_MASK { return score; }
  let at = params.mask_offset
    + dot(vec4<u32>(batch, head, query, key), params.mask_strides);
  if params.mask_kind == BOOL_MASK {
    return select(HIDDEN, score, byte_at(mask[at >> 2u], at) != 0u);
  }
  let is_f16 = params.mask_kind == F16_MASK;
  let bias = decode_element(mask[word_index(at, is_f16)], at, is_f16);
  if bitcast<u32>(bias) == MINUS_INFINITY_BITS { return HIDDEN; }
  return score + select(bias, LOWEST_BIAS, bias < LOWEST_BIAS);
}
