// Elements of storage that is bound as array<vec4<u32>>, so that one source reads f32 and f16, and a single element at any
// stride or four aligned ones at once. Pairs of f16 are stored in 32-bit words, which needs no `shader-f16`.

fn word_index(element: u32, is_f16: bool) -> u32 {
  if is_f16 { return element >> 1u; }
  return element;
}

fn decode_element(word: u32, element: u32, is_f16: bool) -> f32 {
  if is_f16 {
    let pair = unpack2x16float(word);
    return select(pair.x, pair.y, (element & 1u) == 1u);
  }
  return bitcast<f32>(word);
}

// The vec4<u32> that holds an element. For a multiple of four, it holds the next three elements too.
fn vector_of(element: u32, is_f16: bool) -> u32 {
  return word_index(element, is_f16) >> 2u;
}

// The word of that vector that holds it. `x[vector_of(e, F16)][component_of(e, F16)]` loads one word; a vector that is loaded
// first and indexed then costs four loads, and twice the time on llvmpipe.
fn component_of(element: u32, is_f16: bool) -> u32 {
  return word_index(element, is_f16) & 3u;
}

// Elements [element, element + 4) from their vector. element is a multiple of four.
fn decode_quad(words: vec4<u32>, element: u32, is_f16: bool) -> vec4<f32> {
  if is_f16 {
    return decode_f16_quad(select(words.xy, words.zw, (element & 4u) != 0u));
  }
  return bitcast<vec4<f32>>(words);
}

// Four f16.
fn decode_f16_quad(words: vec2<u32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

// pack2x16float with infinity for values that f16 cannot hold. WGSL leaves those to the driver, and SwiftShader turns them into
// NaN and rounds the neighbour wrongly.
fn encode_pair(values: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(values);
  let magnitude = bits & vec2<u32>(0x7fffffffu);
  let is_special = magnitude >= vec2<u32>(0x477ff000u);  // from 65520 on, which rounds to infinity; and NaN
  let special = ((bits >> vec2<u32>(16u)) & vec2<u32>(0x8000u))
    | select(vec2<u32>(0x7c00u), vec2<u32>(0x7e00u), magnitude > vec2<u32>(0x7f800000u));
  let kept = select(vec2<u32>(0u), special, is_special);
  return pack2x16float(select(values, vec2<f32>(0.0), is_special)) | kept.x | (kept.y << 16u);
}

// The vector of four f32, which are `low`, or of eight f16.
fn encode_vector(low: vec4<f32>, high: vec4<f32>, is_f16: bool) -> vec4<u32> {
  if is_f16 { return vec4<u32>(encode_pair(low.xy), encode_pair(low.zw), encode_pair(high.xy), encode_pair(high.zw)); }
  return bitcast<vec4<u32>>(low);
}
