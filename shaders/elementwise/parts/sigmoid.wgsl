// parts: elementwise/sigmoid-function, elementwise/unary
// σ(x)

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return keep_nan(x, sigmoid(x));
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g * keep_nan(x, sigmoid(x) * sigmoid(-x));
}
