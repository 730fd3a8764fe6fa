// parts: special
//
// The softmax of a row in one pass: a running maximum, and sums of exponentials that are rescaled whenever it grows (Milakov &
// Gimelshein, "Online normalizer calculation for softmax", 2018). A score of LOWEST has no weight. NaN stays NaN.
// Needs WORKGROUP from the shader that uses it.

struct OnlineSoftmax {
  highest: f32,  // m, LOWEST while there is no score
  sum: f32,      // Σ exp(score - m)
  product: f32,  // Σ exp(score - m) · value
}

var<workgroup> lane_highest: array<f32, WORKGROUP>;
var<workgroup> lane_sums: array<f32, WORKGROUP>;

// The number to subtract from scores whose maximum is `highest`.
fn softmax_shift(highest: f32) -> f32 {
  return select(highest, 0.0, highest == LOWEST);
}

fn softmax_highest(so_far: OnlineSoftmax, scores: vec4<f32>) -> f32 {
  return max(so_far.highest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
}

// Adds four scores.
fn add_scores(so_far: OnlineSoftmax, scores: vec4<f32>) -> OnlineSoftmax {
  let highest = softmax_highest(so_far, scores);
  let shift = softmax_shift(highest);
  let p = swiftshader_exp_quad(scores - vec4<f32>(shift));
  return OnlineSoftmax(highest, so_far.sum * exp(so_far.highest - shift) + dot(p, vec4<f32>(1.0)), so_far.product);
}

// Adds four scores, and the values that their exponentials weight.
fn add_weighted_scores(so_far: OnlineSoftmax, scores: vec4<f32>, values: vec4<f32>) -> OnlineSoftmax {
  let highest = softmax_highest(so_far, scores);
  let shift = softmax_shift(highest);
  let p = swiftshader_exp_quad(scores - vec4<f32>(shift));
  let rescale = exp(so_far.highest - shift);
  return OnlineSoftmax(
    highest, so_far.sum * rescale + dot(p, vec4<f32>(1.0)), so_far.product * rescale + dot(p, values));
}

// Combines the states of `lanes` neighbouring invocations (a power of two) in a fixed order. All of them get the maximum and the
// sum. `product` stays this invocation's own share, relative to the common maximum: sum_over_lanes adds the shares.
// Every invocation of the workgroup must call it, once.
fn softmax_over_lanes(own: OnlineSoftmax, index: u32, lane: u32, lanes: u32) -> OnlineSoftmax {
  var highest = own.highest;
  var sum = own.sum;
  lane_highest[index] = highest;
  lane_sums[index] = sum;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      let other = lane_highest[index + half];
      let next = max(highest, other);
      let shift = softmax_shift(next);
      sum = sum * exp(highest - shift) + lane_sums[index + half] * exp(other - shift);
      highest = next;
      lane_highest[index] = highest;
      lane_sums[index] = sum;
    }
  }
  workgroupBarrier();
  highest = lane_highest[index - lane];
  return OnlineSoftmax(highest, lane_sums[index - lane], own.product * exp(own.highest - softmax_shift(highest)));
}
