// parts: elementwise/sigmoid-function, elementwise/unary
// gelu by its tanh, ½ x (1 + tanh u) = x σ(2u), u = √(2/π) (x + 0.044715 x³). NaN stays NaN; infinities give the limits.

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let near = clamp(x, vec4<f32>(-50.0), vec4<f32>(50.0));  // its cube is finite; farther out σ is 0 or 1
  let doubled = 1.5957691 * near * (1.0 + 0.044715 * near * near);
  return keep_nan(x, max(x, vec4<f32>(FAR_LEFT)) * sigmoid(doubled));
}

// g σ(2u) (1 + 2 x u' σ(-2u))
fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let near = clamp(x, vec4<f32>(-50.0), vec4<f32>(50.0));
  let square = 0.044715 * near * near;
  let doubled = 1.5957691 * near * (1.0 + square);
  let slope = 1.5957691 * near * (1.0 + 3.0 * square);
  return g * keep_nan(x, sigmoid(doubled) * (1.0 + slope * sigmoid(-doubled)));
}
