// parts: store
//
// Writes dV on devices with the eight storage buffers that WebGPU promises: after dK, in `output`. On devices with more,
// src/kernels/attention-gradient.ts replaces this part by value-output-apart. Needs IS_F16 from the shader that
// uses it.

// Like store_quad and stored_quad.
fn store_value_quad(element: u32, values: vec4<f32>, count: u32) {
  store_quad(element, values, count, IS_F16);
}

fn stored_value_quad(element: u32, count: u32) -> vec4<f32> {
  return stored_quad(element, count, IS_F16);
}
