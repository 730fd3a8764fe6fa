// parts: special
// The logistic function σ, and what functions that go to 0 at -∞ share.

// Below this, σ and Φ are 0. It stands for -∞ in factors, where 0 · ∞ would be NaN.
const FAR_LEFT: f32 = -200.0;

// The exponential's argument is never positive, so that it does not overflow.
fn sigmoid(value: vec4<f32>) -> vec4<f32> {
  let z = exp(-min(abs(value), vec4<f32>(-FAR_LEFT)));
  return select(z, vec4<f32>(1.0), value >= vec4<f32>(0.0)) / (1.0 + z);
}

// Drivers may turn NaN into a number in exp, min and max.
fn keep_nan(value: vec4<f32>, result: vec4<f32>) -> vec4<f32> {
  return select(result, value, nan_lanes(value));
}
