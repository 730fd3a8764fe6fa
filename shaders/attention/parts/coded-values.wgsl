// parts: attention/inputs, codes
//
// Reads values that a cache keeps as codes with scales. It stands in the place of the part attention/values
// (src/kernels/codes.ts). Rows and strides of v are 32-bit words.

const V_BITS: u32 = 8u;  // of a code: 8 or 4

fn v_word(word: u32) -> u32 {
  return v[word >> 2u][word & 3u];
}

// Columns of the launch's pass.
fn v_quad(row: u32, column: u32) -> vec4<f32> {
  let at = params.output.first_column + column;
  let scale = bitcast<f32>(v_word(row + scale_word(at, V_BITS)));
  let codes = decode_codes(v_word(row + code_word(at, V_BITS)), at, V_BITS);
  // what follows the row is another
  return select(scale * codes, vec4<f32>(0.0), column >= params.inputs.value_dim);
}
