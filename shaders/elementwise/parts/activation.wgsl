// parts: special
// Activations and their derivatives. Vectors of NaN keep it, infinities have the limits.

// From here down, σ and Φ are 0. Stands for -∞ in factors, where 0 · ∞ would be NaN.
const FAR_LEFT: f32 = -200.0;

// The exponential's argument is never positive, so that it does not overflow.
fn sigmoid(value: vec4<f32>) -> vec4<f32> {
  let z = exp(-min(abs(value), vec4<f32>(-FAR_LEFT)));
  return select(z, vec4<f32>(1.0), value >= vec4<f32>(0.0)) / (1.0 + z);
}

// The complementary error function of z ≥ 0 with a relative error below 1.2e-7, however small it is: the Chebyshev fit
// of Press et al., "Numerical recipes", section 6.2 (erfcc). The erf of it has an error below 2e-7 in f32.
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

fn silu(value: vec4<f32>) -> vec4<f32> {
  return keep_nan(value, max(value, vec4<f32>(FAR_LEFT)) * sigmoid(value));
}

fn gelu(value: vec4<f32>) -> vec4<f32> {
  return keep_nan(value, max(value, vec4<f32>(FAR_LEFT)) * normal_cdf(value));
}

fn gelu_tanh(value: vec4<f32>) -> vec4<f32> {
  let near = clamp(value, vec4<f32>(-50.0), vec4<f32>(50.0));  // whose cube is finite; farther out σ is 0 or 1
  let doubled = 1.5957691 * near * (1.0 + 0.044715 * near * near);
  return keep_nan(value, max(value, vec4<f32>(FAR_LEFT)) * sigmoid(doubled));
}

// σ(x) (1 + x σ(-x))
fn silu_derivative(value: vec4<f32>) -> vec4<f32> {
  let near = clamp(value, vec4<f32>(FAR_LEFT), vec4<f32>(-FAR_LEFT));
  return keep_nan(value, sigmoid(near) * (1.0 + near * sigmoid(-near)));
}

// Φ(x) + x φ(x), φ = Φ' the normal density
fn gelu_derivative(value: vec4<f32>) -> vec4<f32> {
  let near = clamp(value, vec4<f32>(-20.0), vec4<f32>(20.0));  // farther out φ is 0
  return keep_nan(value, normal_cdf(near) + 0.39894228 * near * exp(-0.5 * near * near));
}

// σ(2u) (1 + 2 x u' σ(-2u)), u = √(2/π) (x + 0.044715 x³)
fn gelu_tanh_derivative(value: vec4<f32>) -> vec4<f32> {
  let near = clamp(value, vec4<f32>(-50.0), vec4<f32>(50.0));
  let square = 0.044715 * near * near;
  let doubled = 1.5957691 * near * (1.0 + square);
  let slope = 1.5957691 * near * (1.0 + 3.0 * square);
  return keep_nan(value, sigmoid(doubled) * (1.0 + slope * sigmoid(-doubled)));
}

// Drivers may make NaN a number in exp, min and max.
fn keep_nan(value: vec4<f32>, result: vec4<f32>) -> vec4<f32> {
  return select(result, value, nan_lanes(value));
}
