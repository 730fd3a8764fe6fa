// What a masked key holds never leaks: kernels that multiply by weights of 0 leave NaN and infinities of v out, and
// add them at the end, here, where the weight is not 0. Slow, small code: whoever has such values has an error to
// look for.

// Adds special values of v to the stored output of one query, whose weights are relative to exp(row_max).
fn add_special_values(tile: Tile, keys: vec2<u32>, query: u32, row_max: f32) {
  let q_row = tile.q_base + query * params.q_strides.z;
  let output_row = dot(params.output_strides.xyz, vec3<u32>(tile.batch, tile.head, query));
  for (var key = keys.x; key < keys.y; key++) {
    let k_row = tile.k_base + key * params.k_strides.z;
    let v_row = tile.v_base + key * params.v_strides.z;
    var score = 0.0;
    for (var d = 0u; d < params.head_dim; d += 4u) { score += dot(q_quad(q_row, d), k_quad(k_row, d)); }
    let weight = exp(masked_score(params.scale * score, tile.batch, tile.head, query, key)
      - select(row_max, 0.0, row_max == HIDDEN));
    for (var d = 0u; d < params.value_dim; d += 4u) {
      let values = weighted(weight, special_part(v_quad(v_row, d)));
      let stored = stored_quad(output_row + d, params.value_dim - d, IS_F16);
      store_quad(output_row + d, stored + values, min(params.value_dim - d, 4u), IS_F16);
    }
  }
}
