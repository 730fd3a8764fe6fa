// parts: elementwise/logarithm, elementwise/unary
// The natural logarithm: NaN below 0, -∞ at 0.

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return logarithm(x);
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g / x;
}
