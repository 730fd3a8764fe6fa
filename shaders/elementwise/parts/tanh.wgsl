// parts: elementwise/sigmoid-function, elementwise/unary
// tanh x = (1 - e) / (1 + e) sign x, e = exp(-2 |x|); near 0 the terms of its series up to x⁹, where 1 - e would cancel.

fn decay(x: vec4<f32>) -> vec4<f32> {
  return exp(-2.0 * min(abs(x), vec4<f32>(-FAR_LEFT)));
}

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let e = decay(x);
  let square = x * x;
  let series = x * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0 - square * (62.0 / 2835.0)))));
  return keep_nan(x, select(sign(x) * (1.0 - e) / (1.0 + e), series, abs(x) < vec4<f32>(0.25)));
}

// g · 4 e / (1 + e)²
fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let e = decay(x);
  return g * keep_nan(x, 4.0 * e / ((1.0 + e) * (1.0 + e)));
}
