// parts: elementwise/sigmoid-function, elementwise/unary
//
// x Φ(x): Hendrycks & Gimpel, "Gaussian error linear units", 2016. NaN stays NaN; infinities give the limits.

// The complementary error function of z ≥ 0 with a relative error below 1.2e-7, however small it is: the Chebyshev fit
// of Press et al., "Numerical recipes", section 6.2 (erfcc). The erf computed from it has an error below 2e-7 in f32.
fn erfc(z: vec4<f32>) -> vec4<f32> {
  let t = 1.0 / (1.0 + 0.5 * z);
  var p = vec4<f32>(0.17087277);
  p = p * t - 0.82215223;
  p = p * t + 1.48851587;
  p = p * t - 1.13520398;
  p = p * t + 0.27886807;
  p = p * t - 0.18628806;
  p = p * t + 0.09678418;
  p = p * t + 0.37409196;
  p = p * t + 1.00002368;
  p = p * t - 1.26551223;
  return t * exp(p - z * z);
}

// Φ(x), the normal distribution function.
fn normal_cdf(value: vec4<f32>) -> vec4<f32> {
  let tail = 0.5 * erfc(0.70710678 * min(abs(value), vec4<f32>(20.0)));
  return select(tail, 1.0 - tail, value >= vec4<f32>(0.0));
}

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return keep_nan(x, max(x, vec4<f32>(FAR_LEFT)) * normal_cdf(x));
}

// g (Φ(x) + x φ(x)), φ = Φ' the normal density
fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let near = clamp(x, vec4<f32>(-20.0), vec4<f32>(20.0));  // farther out φ is 0
  return g * keep_nan(x, normal_cdf(near) + 0.39894228 * near * exp(-0.5 * near * near));
}
