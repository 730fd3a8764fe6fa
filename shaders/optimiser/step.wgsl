// parts: launch
//
// Counts a step of an optimiser for each parameter that has a gradient, and computes the settings that the update of its
// elements needs, once for all of them:
//
//     t ← t + 1
//     settings = (lr / (1 − β₁ᵗ), 1 / √(1 − β₂ᵗ), 1 / scale, state)         Kingma & Ba, "Adam", 2014, section 3
//
// If a gradient is not finite, t stays, and state tells the update to leave everything as it is. Only the GPU knows this, so
// the steps are counted there.
//
// present [count], the parameters with a gradient; steps [parameters], found [], scale [1] → settings [parameters, 4].
// One invocation does one parameter.

struct Params {
  count: u32,            // parameters with a gradient
  found_at: u32,         // of `found`, where these gradients were checked
  is_checked: u32,
  is_scaled: u32,        // the gradients are `scale` times too large
  rate: f32,             // lr
  log_beta1: f32,
  log_beta2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> present: array<u32>;
@group(0) @binding(2) var<storage, read> found: array<u32>;              // not 0: not finite
@group(0) @binding(3) var<storage, read> scale: array<f32>;              // of the loss, and so of the gradients
@group(0) @binding(4) var<storage, read_write> steps: array<f32>;
@group(0) @binding(5) var<storage, read_write> settings: array<vec4<f32>>;

// Twins of the states in optimiser/parts/weights.
const SKIPPED: f32 = 0.0;
const FIRST: f32 = 1.0;
const LATER: f32 = 2.0;

// 1 − exp(x) for x ≤ 0 without the cancellation near 0, where it is about −x.
fn complement(x: f32) -> f32 {
  if x < -0.5 { return 1.0 - exp(x); }
  var series = 1.0;
  for (var n = 10.0; n > 1.5; n -= 1.0) { series = 1.0 + series * x / n; }
  return -x * series;
}

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups) * WORKGROUP + lane;
  if index >= params.count { return; }
  let parameter = present[index];
  if params.is_checked != 0u && found[params.found_at] != 0u {
    settings[parameter] = vec4<f32>(0.0, 0.0, 0.0, SKIPPED);
    return;
  }
  var factor = 1.0;
  if params.is_scaled != 0u { factor = 1.0 / scale[0]; }
  let step = steps[parameter] + 1.0;
  steps[parameter] = step;
  let rate = params.rate / complement(step * params.log_beta1);
  let spread = 1.0 / sqrt(complement(step * params.log_beta2));
  settings[parameter] = vec4<f32>(rate, spread, factor, select(LATER, FIRST, step == 1.0));
}
