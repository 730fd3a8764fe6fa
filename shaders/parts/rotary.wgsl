// parts: operand
//
// Rotary position embedding (Su et al., "RoFormer", 2021): the first `dim` columns of a row are rotated in pairs by angles
// whose cosines and sines the shader's `cos_table` and `sin_table` hold:
//
//     pair j at position p:   a cos[p, j] - b sin[p, j],  b cos[p, j] + a sin[p, j]
//
// with a and b at columns j and j + dim/2 (GPT-NeoX, Hugging Face), or if interleaved at 2j and 2j + 1 (llama2.c).

struct RotaryParams {
  dim: u32,                 // columns that are rotated, even; 0: none
  is_interleaved: u32,
  @align(16) cos: MatrixOperand,  // [P, dim/2]
  @align(16) sin: MatrixOperand,
}

struct RotaryColumn {
  pair: u32,
  other: u32,               // the pair's other column
  is_second: bool,          // of the pair
}

fn rotary_column(column: u32) -> RotaryColumn {
  if params.rotary.is_interleaved != 0u { return RotaryColumn(column / 2u, column ^ 1u, (column & 1u) == 1u); }
  let half = params.rotary.dim / 2u;
  let is_second = column >= half;
  let pair = select(column, column - half, is_second);
  return RotaryColumn(pair, select(column + half, pair, is_second), is_second);
}

// The cosine and the sine of a pair's angle.
fn rotary_angle(position: u32, pair: u32) -> vec2<f32> {
  let place = vec2<u32>(position, pair);
  return vec2<f32>(
    cos_table[params.rotary.cos.offset + dot(place, params.rotary.cos.strides)],
    sin_table[params.rotary.sin.offset + dot(place, params.rotary.sin.strides)],
  );
}

// The element of a column, rotated; `other` is that of the pair's other column.
fn rotate(x: f32, other: f32, is_second: bool, angle: vec2<f32>) -> f32 {
  return x * angle.x + select(-other, other, is_second) * angle.y;
}
