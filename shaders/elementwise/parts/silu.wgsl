// parts: elementwise/silu-function, elementwise/unary
// x σ(x)

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return silu(x);
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g * silu_derivative(x);
}
