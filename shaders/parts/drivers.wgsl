// A workaround that a single driver needs, under the driver's name, so that kernels read as kernels for GPUs. Those for
// SwiftShader and NaN are in parts/special.

// llvmpipe runs both sides of a branch, and skips only a loop without iterations. So rare work is in a loop
//
//     for (var i = llvmpipe_skip(is_rare, ROUNDS); i < ROUNDS; i++) { … }
//
// which costs nothing if the work is not needed, because i then starts past the end.
fn llvmpipe_skip(is_wanted: bool, rounds: u32) -> u32 {
  return select(rounds, 0u, is_wanted);
}
