// parts: elementwise/silu-function
// silu(x) y: Shazeer, "GLU variants improve transformer", 2020

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return silu(x) * y;
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g * y * silu_derivative(x);
}

fn gradient_y(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g * silu(x);
}
