// parts: attention/inputs, element
//
// Reads keys of f32 or f16. The part attention/coded-keys may stand in its place.

const K_F16: bool = KV_F16;     // storage of k, unless k and v differ

fn k_element(element: u32) -> f32 {
  return decode_element(k[vector_of(element, K_F16)][component_of(element, K_F16)], element, K_F16);
}

fn k_quad(row: u32, column: u32) -> vec4<f32> {
  if ALIGNED {
    let quad = decode_quad(k[vector_of(row + column, K_F16)], row + column, K_F16);
    return select(quad, vec4<f32>(0.0), column >= params.inputs.head_dim);
  }
  if params.inputs.k.vectors != 0u && column + 4u <= params.inputs.head_dim {
    return decode_quad(k[vector_of(row + column, K_F16)], row + column, K_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.inputs.head_dim); i++) {
    quad[i - column] = k_element(row + i * params.inputs.k.strides.w);
  }
  return quad;
}
