// parts: attention/inputs, codes
//
// Reads keys that a cache keeps as codes with scales. It stands in the place of the part attention/keys
// (src/kernels/codes.ts). Rows and strides of k are 32-bit words.

const K_BITS: u32 = 8u;  // of a code: 8 or 4

fn k_word(word: u32) -> u32 {
  return k[word >> 2u][word & 3u];
}

fn k_quad(row: u32, column: u32) -> vec4<f32> {
  let scale = bitcast<f32>(k_word(row + scale_word(column, K_BITS)));
  let codes = decode_codes(k_word(row + code_word(column, K_BITS)), column, K_BITS);
  // what follows the row is another
  return select(scale * codes, vec4<f32>(0.0), column >= params.inputs.head_dim);
}
