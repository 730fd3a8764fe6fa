// Codes: numbers that a cache keeps as small integers with a scale, x ≈ scale · code. A row is a list of groups, each of which is
// an f32, its scale, and then its codes, packed in 32-bit words from the lowest bits on, in two's complement:
//
//     8 bits    one group, which is the whole row                     codes from -127 to 127, four to a word
//     4 bits    groups of 32 columns, of which the last may be shorter    codes from -7 to 7, eight to a word
//
// Each group begins at a word, and what is left of its last word is 0.

const CODE_GROUP: u32 = 32u;  // columns of a group of 4-bit codes

// The word of a row that holds the scale of a column.
fn scale_word(column: u32, bits: u32) -> u32 {
  if bits == 8u { return 0u; }
  return column / CODE_GROUP * (1u + CODE_GROUP / 8u);
}

// The word of a row that holds the code of a column.
fn code_word(column: u32, bits: u32) -> u32 {
  if bits == 8u { return 1u + column / 4u; }
  return scale_word(column, bits) + 1u + column % CODE_GROUP / 8u;
}

// The codes of columns [column, column + 4) from their word; column is a multiple of four.
fn decode_codes(word: u32, column: u32, bits: u32) -> vec4<f32> {
  if bits == 8u {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
  }
  let half = word >> (4u * (column & 4u));
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(half) << vec4<u32>(28u, 24u, 20u, 16u)) >> vec4<u32>(28u));
}
