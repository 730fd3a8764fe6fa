// parts: element
// Writes to `output: array<u32>`, whose rows begin at a word. It writes scalar words, not vec4<u32>, because a row whose length
// is not a multiple of four ends inside a vector that another invocation also writes.

// Writes the first `count` (1 to 4) of four neighbouring elements; `element` is even. The padding of an odd f16 row is
// overwritten with zero.
fn store_quad(element: u32, values: vec4<f32>, count: u32, is_f16: bool) {
  if is_f16 {
    let kept = select(vec4<f32>(0.0), values, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
    output[element >> 1u] = encode_pair(kept.xy);
    if count > 2u { output[(element >> 1u) + 1u] = encode_pair(kept.zw); }
    return;
  }
  let words = bitcast<vec4<u32>>(values);
  output[element] = words.x;
  if count > 1u { output[element + 1u] = words.y; }
  if count > 2u { output[element + 2u] = words.z; }
  if count > 3u { output[element + 3u] = words.w; }
}

// Writes a whole vector of 16 bytes. As it is given by its number, a compiler sees that its words are aligned, and makes one
// access of them.
fn store_vector(vector: u32, words: vec4<u32>) {
  output[4u * vector] = words.x;
  output[4u * vector + 1u] = words.y;
  output[4u * vector + 2u] = words.z;
  output[4u * vector + 3u] = words.w;
}

// Reads back the first `count` (or four) elements that this invocation wrote from `element` on; zero past them.
fn stored_quad(element: u32, count: u32, is_f16: bool) -> vec4<f32> {
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < min(count, 4u); i++) {
    quad[i] = decode_element(output[word_index(element + i, is_f16)], element + i, is_f16);
  }
  return quad;
}
