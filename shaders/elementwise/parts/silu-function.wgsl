// parts: elementwise/sigmoid-function
// silu, x σ(x), which silu and swiglu share. NaN stays NaN; infinities give the limits.

fn silu(value: vec4<f32>) -> vec4<f32> {
  return keep_nan(value, max(value, vec4<f32>(FAR_LEFT)) * sigmoid(value));
}

// σ(x) (1 + x σ(-x))
fn silu_derivative(value: vec4<f32>) -> vec4<f32> {
  let near = clamp(value, vec4<f32>(FAR_LEFT), vec4<f32>(-FAR_LEFT));
  return keep_nan(value, sigmoid(near) * (1.0 + near * sigmoid(-near)));
}
