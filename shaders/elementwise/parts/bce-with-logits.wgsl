// parts: elementwise/sigmoid-function
//
// Binary cross-entropy of a logit x and a target y, -y ln σ(x) - (1 - y) ln σ(-x), as max(x, 0) - x y + ln(1 + e^-|x|), in
// which nothing overflows.

// ln(1 + z) of z from 0 to 1, by the series of the inverse hyperbolic tangent, which keeps a small z.
fn log_one_plus(z: vec4<f32>) -> vec4<f32> {
  let s = z / (2.0 + z);
  let square = s * s;
  var sum = vec4<f32>(1.0 / 13.0);
  sum = sum * square + 1.0 / 11.0;
  sum = sum * square + 1.0 / 9.0;
  sum = sum * square + 1.0 / 7.0;
  sum = sum * square + 1.0 / 5.0;
  sum = sum * square + 1.0 / 3.0;
  return 2.0 * s * (1.0 + sum * square);
}

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let tail = log_one_plus(exp(-min(abs(x), vec4<f32>(-FAR_LEFT))));
  return keep_nan(x, max(x, vec4<f32>(0.0)) - x * y + tail);
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g * (keep_nan(x, sigmoid(x)) - y);
}

fn gradient_y(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return -g * x;
}
