// parts: element
//
// Writes dV on devices with nine storage buffers or more: into its own buffer, so that neither gradient has to be copied out
// of a larger buffer. Needs IS_F16 from the shader that uses it.

@group(0) @binding(9) var<storage, read_write> value_output: array<u32>;  // dV [B, Hkv, Nk, Dv]

// Like store_quad and stored_quad (shaders/parts/store.wgsl), for another buffer.
fn store_value_quad(element: u32, values: vec4<f32>, count: u32) {
  if IS_F16 {
    let kept = select(vec4<f32>(0.0), values, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count));
    value_output[element >> 1u] = encode_pair(kept.xy);
    if count > 2u { value_output[(element >> 1u) + 1u] = encode_pair(kept.zw); }
    return;
  }
  let words = bitcast<vec4<u32>>(values);
  for (var i = 0u; i < count; i++) { value_output[element + i] = words[i]; }
}

fn stored_value_quad(element: u32, count: u32) -> vec4<f32> {
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < min(count, 4u); i++) {
    quad[i] = decode_element(value_output[word_index(element + i, IS_F16)], element + i, IS_F16);
  }
  return quad;
}
