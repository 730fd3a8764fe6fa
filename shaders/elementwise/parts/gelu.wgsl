// parts: elementwise/normal, elementwise/sigmoid, elementwise/unary
// x Φ(x): Hendrycks & Gimpel, "Gaussian error linear units", 2016. NaN stays NaN; infinities give the limits.

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return keep_nan(x, max(x, vec4<f32>(FAR_LEFT)) * normal_cdf(x));
}

// g (Φ(x) + x φ(x)), φ = Φ' the normal density
fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let near = clamp(x, vec4<f32>(-20.0), vec4<f32>(20.0));  // farther out φ is 0
  return g * keep_nan(x, normal_cdf(near) + 0.39894228 * near * exp(-0.5 * near * near));
}
