// parts: drivers, special
//
// The softmax of a row in one pass: a running maximum, and sums of exponentials that are rescaled whenever it grows (Milakov &
// Gimelshein, "Online normalizer calculation for softmax", 2018). A score of LOWEST has no weight. NaN stays NaN.
// Needs WORKGROUP from the shader that uses it.

struct OnlineSoftmax {
  highest: f32,  // m, LOWEST while there is no score
  sum: f32,      // Σ exp(score - m)
  product: f32,  // Σ exp(score - m) · value
  plain: f32,    // Σ of another number that is summed over lanes
}

var<workgroup> softmax_lanes: array<OnlineSoftmax, WORKGROUP>;

// The number to subtract from scores whose maximum is `highest`.
fn softmax_shift(highest: f32) -> f32 {
  return select(highest, 0.0, highest == LOWEST);
}

fn softmax_highest(so_far: OnlineSoftmax, scores: vec4<f32>) -> f32 {
  return max(so_far.highest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
}

fn softmax_advanced(so_far: OnlineSoftmax, highest: f32, sum: f32, product: f32) -> OnlineSoftmax {
  let rescale = exp(so_far.highest - softmax_shift(highest));
  return OnlineSoftmax(highest, so_far.sum * rescale + sum, so_far.product * rescale + product, so_far.plain);
}

// Adds four scores.
fn add_scores(so_far: OnlineSoftmax, scores: vec4<f32>) -> OnlineSoftmax {
  let highest = softmax_highest(so_far, scores);
  let p = swiftshader_exp_quad(scores - vec4<f32>(softmax_shift(highest)));
  let sum = so_far.sum * exp(so_far.highest - softmax_shift(highest)) + dot(p, vec4<f32>(1.0));
  return OnlineSoftmax(highest, sum, so_far.product, so_far.plain);
}

// Adds four scores, and the values that their exponentials weight.
fn add_weighted_scores(so_far: OnlineSoftmax, scores: vec4<f32>, values: vec4<f32>) -> OnlineSoftmax {
  let highest = softmax_highest(so_far, scores);
  let p = swiftshader_exp_quad(scores - vec4<f32>(softmax_shift(highest)));
  return softmax_advanced(so_far, highest, dot(p, vec4<f32>(1.0)), dot(p, values));
}

// Combines the states of `lanes` neighbouring invocations (a power of two) in a fixed order. All of them get the result.
// Every invocation of the workgroup must call it, once.
fn softmax_over_lanes(own: OnlineSoftmax, index: u32, lanes: u32) -> OnlineSoftmax {
  var all = own;
  let lane = index % lanes;
  softmax_lanes[index] = all;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      let other = softmax_lanes[index + half];
      let highest = max(all.highest, other.highest);
      let scale = exp(other.highest - softmax_shift(highest));
      all = softmax_advanced(all, highest, other.sum * scale, other.product * scale);
      all.plain += other.plain;
      softmax_lanes[index] = all;
    }
  }
  workgroupBarrier();
  return softmax_lanes[index - lane];
}
