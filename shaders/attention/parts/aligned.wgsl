// parts: attention/inputs, element
//
// Reads k and v without a branch if their dims are multiples of four and each quad lies in one vector. llvmpipe would run both
// sides of the branch, which doubles the time of a whole decoding kernel.

const ALIGNED: bool = false;    // k and v are laid out like this; otherwise they are read as in other kernels

// Columns [column, column + 4) of the row that begins at element `row`; zero past the dim.
fn aligned_k_quad(row: u32, column: u32) -> vec4<f32> {
  if !ALIGNED { return k_quad(row, column); }
  let quad = decode_quad(k[vector_of(row + column, KV_F16)], row + column, KV_F16);
  return select(quad, vec4<f32>(0.0), column >= params.inputs.head_dim);
}

fn aligned_v_quad(row: u32, column: u32) -> vec4<f32> {
  if !ALIGNED { return v_quad(row, column); }
  let quad = decode_quad(v[vector_of(row + column, KV_F16)], row + column, KV_F16);
  return select(quad, vec4<f32>(0.0), column >= params.inputs.value_dim);
}
