// parts: cross-entropy/targets, element, launch, online-softmax, operand, reduce, special
//
// Cross-entropy of rows of logits and the class that each of them should name, without their softmax in memory:
//
//     loss[i] = lse_i - (1 - ε) x[i, t_i] - ε mean(x[i, :])      lse_i = m_i + log Σ_j exp(x[i, j] - m_i)
//
// with m_i the row's maximum and ε the label smoothing (Szegedy et al., 2016). The loss is 0 if t_i is the ignored target, and
// NaN if there is no class t_i. Everything is computed from differences of logits, so that large logits lose no digits.
//
// logits [rows, V] at any strides, targets [rows] → losses [rows], and for the gradient statistics [rows, 2] with m_i and the
// logarithm, which is NaN where the loss is NaN.
// One workgroup owns 128 / LANES rows, LANES invocations each. A lane reads its columns four at a time with a running
// maximum and sum (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018), and the lanes are combined
// in workgroup memory. One read for some six operations and 1¼ exponentials per element: bound by bandwidth.

const LANES: u32 = 16u;          // invocations per row: a power of two up to 128
const F16: bool = false;         // storage of logits
const WHOLE: bool = false;       // rows are whole vectors of 16 bytes

struct Params {
  groups: u32,            // workgroups with work
  rows: u32,
  classes: u32,           // V
  smoothing: f32,         // ε
  @align(16) logits: MatrixOperand,  // row, class
  @align(16) targets: TargetParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<u32>>;     // [rows, V], f32 or f16
@group(0) @binding(2) var<storage, read> targets: array<u32>;          // [rows]; a negative number is a large one here
@group(0) @binding(3) var<storage, read_write> losses: array<u32>;     // [rows], f32
@group(0) @binding(4) var<storage, read_write> statistics: array<u32>; // [rows, 2], f32: m_i, log Σ_j exp(x[i, j] - m_i)

const WORKGROUP: u32 = 128u;
const WIDTH: u32 = select(4u, 8u, F16);  // classes of a vector

fn logit(element: u32) -> f32 {
  return decode_element(logits[vector_of(element, F16)][component_of(element, F16)], element, F16);
}

fn logits_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(logits[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(logits[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let linear = linear_group(group, groups);
  if linear >= params.groups { return; }
  let lane = index % LANES;
  let row = linear * (WORKGROUP / LANES) + index / LANES;
  let read_row = min(row, params.rows - 1u);
  let target_class = target_of(read_row);
  let has_no_loss = is_ignored(target_class);
  let is_counted = !has_no_loss && target_class < params.classes && row < params.rows;
  // rows without a loss are not read; their lanes only reach the barriers
  let classes = select(0u, params.classes, is_counted);
  let chosen = logit(
    params.logits.offset + dot(vec2<u32>(read_row, select(0u, target_class, is_counted)), params.logits.strides));
  // the mean is relative to this, so that a logit of -∞ does not cost the others digits
  let pivot = select(chosen, 0.0, is_special(chosen));

  var softmax = OnlineSoftmax(LOWEST, 0.0, 0.0);
  var excess = 0.0;  // Σ (x - pivot)
  for (var vector = lane; WHOLE && vector < classes / WIDTH; vector += LANES) {
    let words = logits[(params.logits.offset + read_row * params.logits.strides.x) / WIDTH + vector];
    for (var j = 0u; j < WIDTH; j += 4u) {
      let x = decode_quad(words, j, F16);
      softmax = add_scores(softmax, x);
      if params.smoothing != 0.0 { excess += dot(x - pivot, vec4<f32>(1.0)); }
    }
  }
  for (var i = 4u * lane; !WHOLE && i < classes; i += 4u * LANES) {
    let at = matrix_quad(params.logits, read_row, i, params.classes);
    let is_class = first_lanes(at.count);
    let x = select(vec4<f32>(LOWEST), logits_quad(at), is_class);
    softmax = add_scores(softmax, x);
    if params.smoothing != 0.0 {
      excess += dot(select(vec4<f32>(0.0), x - pivot, is_class), vec4<f32>(1.0));
    }
  }
  softmax = softmax_over_lanes(softmax, index, lane, LANES);
  if params.smoothing != 0.0 { excess = sum_over_lanes(excess, index, lane, LANES); }
  if lane != 0u || row >= params.rows { return; }
  let smoothing = params.smoothing;
  let highest = softmax.highest;
  let logarithm = log(softmax.sum);
  var loss = logarithm + (1.0 - smoothing) * (highest - chosen);
  if smoothing != 0.0 { loss += smoothing * ((highest - pivot) - excess / f32(params.classes)); }
  // a sum of 0: every logit is -∞, or there is no such class
  let is_bad = softmax.sum == 0.0 || is_nan(softmax.sum) || is_special(highest);
  losses[row] = select(select(bitcast<u32>(loss), NAN_BITS, is_bad), 0u, has_no_loss);
  statistics[2u * row] = bitcast<u32>(highest);
  statistics[2u * row + 1u] = select(bitcast<u32>(logarithm), NAN_BITS, is_bad);
}
