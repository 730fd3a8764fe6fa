// parts: attention/forward, attention/inputs, attention/keys, attention/score, attention/values, attention/work, special, store
// The contents of a masked key never leak. Kernels that multiply by weights of 0 leave NaN and infinities of v out, and add them
// at the end if their weight is not 0; or they notice a result that is not finite, and compute it again. The code is slow and
// small, because such values usually come from an error.

// The weight of a key of a row, relative to exp(shift).
fn weight_of(tile: Tile, row: u32, key: u32, shift: f32) -> f32 {
  let begin = q_row(tile, row);
  let k_begin = k_row(tile, key);
  let head = head_of(tile, row);
  let query = query_of(tile, row);
  var dots = 0.0;
  for (var d = 0u; d < params.inputs.head_dim; d += 4u) { dots += dot(q_quad(begin, d), k_quad(k_begin, d)); }
  let slope = slope_of(tile.sequence, head);
  let score = modified_score(tile.sequence, params.options.score.scale * dots, slope, head, query, key);
  let shifted = masked_score(tile.sequence, score, head, query, key) - shift;
  return dropout_factor(tile.sequence, head, query, key) * exp(shifted);
}

// Adds special values of v to the stored output of one row, whose weights are relative to exp(row_max).
fn add_special_values(tile: Tile, row: u32, row_max: f32) {
  let stored_row = output_row(tile, row);
  for (var key = tile.keys.x; key < tile.keys.y; key++) {
    let v_begin = v_row(tile, key);
    let weight = weight_of(tile, row, key, select(row_max, 0.0, row_max == HIDDEN));
    for (var d = 0u; d < params.inputs.value_dim; d += 4u) {
      let values = weighted(weight, special_part(v_quad(v_begin, d)));
      let stored = stored_quad(stored_row + d, params.inputs.value_dim - d, OUT_F16);
      store_quad(stored_row + d, stored + values, min(params.inputs.value_dim - d, 4u), OUT_F16);
    }
  }
}
