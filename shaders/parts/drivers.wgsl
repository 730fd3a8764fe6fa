// parts: special
//
// What one driver needs and no other, under its name, so that kernels read as kernels for GPUs.

// SwiftShader makes the exponential and the logarithm of NaN a number: NaN is kept.
fn swiftshader_exp(x: f32) -> f32 {
  return select(exp(x), x, is_nan(x));
}

fn swiftshader_exp_quad(x: vec4<f32>) -> vec4<f32> {
  return select(exp(x), x, nan_lanes(x));
}

fn swiftshader_log(x: f32) -> f32 {
  return select(log(x), x, is_nan(x));
}

// llvmpipe walks through both sides of a branch and skips only a loop that has no rounds. Work that is rare stands in
//
//     for (var i = llvmpipe_skip(is_rare, ROUNDS); i < ROUNDS; i++) { … }
//
// and costs nothing where it is not wanted: the first round is the one past the last.
fn llvmpipe_skip(is_wanted: bool, rounds: u32) -> u32 {
  return select(rounds, 0u, is_wanted);
}
