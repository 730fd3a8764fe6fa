// parts: attention/inputs, element
//
// Reads values of f32 or f16. The part attention/coded-values may stand in its place.

const V_F16: bool = KV_F16;     // storage of v, unless k and v differ

fn v_element(element: u32) -> f32 {
  return decode_element(v[vector_of(element, V_F16)][component_of(element, V_F16)], element, V_F16);
}

fn v_quad(row: u32, column: u32) -> vec4<f32> {
  if ALIGNED {
    let quad = decode_quad(v[vector_of(row + column, V_F16)], row + column, V_F16);
    return select(quad, vec4<f32>(0.0), column >= params.inputs.value_dim);
  }
  if params.inputs.v.vectors != 0u && column + 4u <= params.inputs.value_dim {
    return decode_quad(v[vector_of(row + column, V_F16)], row + column, V_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.inputs.value_dim); i++) {
    quad[i - column] = v_element(row + i * params.inputs.v.strides.w);
  }
  return quad;
}
