// parts: special
//
// Workarounds that a single driver needs, under the driver's name, so that kernels read as kernels for GPUs.

// SwiftShader turns the exponential and the logarithm of NaN into a number. Here NaN stays NaN.
fn swiftshader_exp(x: f32) -> f32 {
  return select(exp(x), x, is_nan(x));
}

fn swiftshader_exp_quad(x: vec4<f32>) -> vec4<f32> {
  return select(exp(x), x, nan_lanes(x));
}

fn swiftshader_log(x: f32) -> f32 {
  return select(log(x), x, is_nan(x));
}

// llvmpipe runs both sides of a branch, and skips only a loop without iterations. So rare work is in a loop
//
//     for (var i = llvmpipe_skip(is_rare, ROUNDS); i < ROUNDS; i++) { … }
//
// which costs nothing if the work is not needed, because i then starts past the end.
fn llvmpipe_skip(is_wanted: bool, rounds: u32) -> u32 {
  return select(rounds, 0u, is_wanted);
}
