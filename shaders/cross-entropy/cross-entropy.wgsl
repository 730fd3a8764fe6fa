// parts: element, launch, special
//
// Cross-entropy of rows of logits and the class that each of them should name, without their softmax in memory:
//
//     loss[i] = lse_i - (1 - ε) x[i, t_i] - ε mean(x[i, :])      lse_i = m_i + log Σ_j exp(x[i, j] - m_i)
//
// with m_i the row's maximum and ε the label smoothing (Szegedy et al., 2016); 0 where t_i is to be ignored, and NaN where
// there is no class t_i. All is computed from differences of logits, so that large ones cost no digits.
//
// logits [rows, V] at any strides, targets [rows] → losses [rows]; statistics [rows, 2] with m_i and the logarithm, which
// is NaN where the loss is, for the gradient.
// One workgroup owns 128 / LANES rows, LANES invocations each. A lane walks its columns four at a time with a running
// maximum and sum (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018), and the lanes are combined
// in workgroup memory. One read for some six operations and 1¼ exponentials an element: bound by bandwidth.

const LANES: u32 = 16u;          // invocations a row: a power of two up to 128
const F16: bool = false;         // storage of logits

struct Params {
  groups: u32,            // workgroups with work
  rows: u32,
  classes: u32,           // V
  smoothing: f32,         // ε
  ignores: u32,           // there is a target that is ignored
  ignored: u32,
  logits_strides: vec2<u32>,  // elements: row, class
  logits_offset: u32,
  targets_offset: u32,
  vector_loads: u32,      // logits may be read four classes at a time
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<u32>>;     // [rows, V], f32 or f16
@group(0) @binding(2) var<storage, read> targets: array<u32>;          // [rows]; a negative number is a large one here
@group(0) @binding(3) var<storage, read_write> losses: array<u32>;     // [rows], f32
@group(0) @binding(4) var<storage, read_write> statistics: array<u32>; // [rows, 2], f32: m_i, log Σ_j exp(x[i, j] - m_i)

const WORKGROUP: u32 = 128u;

var<workgroup> partial_max: array<f32, WORKGROUP>;
var<workgroup> partial_sum: array<f32, WORKGROUP>;
var<workgroup> partial_excess: array<f32, WORKGROUP>;

fn logit(element: u32) -> f32 {
  return decode_at(logits[vector_of(element, F16)], element, F16);
}

// Classes [class, class + 4) of the row that begins at element `row`; `rest` past the last.
fn logits_quad(row: u32, class_index: u32, rest: f32) -> vec4<f32> {
  let first = row + class_index * params.logits_strides.y;
  if params.vector_loads != 0u && class_index + 4u <= params.classes {
    return decode_quad(logits[vector_of(first, F16)], first, F16);
  }
  var quad = vec4<f32>(rest);
  for (var i = 0u; i < min(params.classes - class_index, 4u); i++) {
    quad[i] = logit(first + i * params.logits_strides.y);
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
  let start = params.logits_offset + read_row * params.logits_strides.x;
  let target_class = targets[params.targets_offset + read_row];
  let is_ignored = params.ignores != 0u && target_class == params.ignored;
  let is_counted = !is_ignored && target_class < params.classes && row < params.rows;
  // rows without a loss are not read; their lanes are here for the barriers
  let classes = select(0u, params.classes, is_counted);
  let chosen = logit(start + select(0u, target_class, is_counted) * params.logits_strides.y);
  // what the mean is counted from: a logit of -∞ costs no other's digits
  let pivot = select(chosen, 0.0, has_special(vec4<f32>(chosen)));

  var highest = LOWEST;
  var sum = 0.0;
  var excess = 0.0;  // Σ (x - pivot)
  for (var i = 4u * lane; i < classes; i += 4u * LANES) {
    let count = vec4<u32>(min(params.classes - i, 4u));
    let is_class = vec4<u32>(0u, 1u, 2u, 3u) < count;
    let x = logits_quad(start, i, LOWEST);
    let next = max(highest, max(max(x.x, x.y), max(x.z, x.w)));
    let shift = select(next, 0.0, next == LOWEST);
    // NaN itself, not its exponential, which SwiftShader makes a number
    let p = select(exp(x - vec4<f32>(shift)), x, nan_lanes(x));
    sum = sum * exp(highest - shift) + dot(select(vec4<f32>(0.0), p, is_class), vec4<f32>(1.0));
    highest = next;
    if params.smoothing != 0.0 {
      excess += dot(select(vec4<f32>(0.0), x - pivot, is_class), vec4<f32>(1.0));
    }
  }
  partial_max[index] = highest;
  partial_sum[index] = sum;
  partial_excess[index] = excess;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      let other = partial_max[index + half];
      let next = max(highest, other);
      let shift = select(next, 0.0, next == LOWEST);
      sum = sum * exp(highest - shift) + partial_sum[index + half] * exp(other - shift);
      excess += partial_excess[index + half];
      highest = next;
      partial_max[index] = highest;
      partial_sum[index] = sum;
      partial_excess[index] = excess;
    }
  }
  if lane != 0u || row >= params.rows { return; }
  let smoothing = params.smoothing;
  let logarithm = log(sum);
  var loss = logarithm + (1.0 - smoothing) * (highest - chosen);
  if smoothing != 0.0 { loss += smoothing * ((highest - pivot) - excess / f32(params.classes)); }
  // a sum of 0: every logit is -∞, or there is no such class
  let is_bad = sum == 0.0 || is_nan(sum) || has_special(vec4<f32>(highest));
  losses[row] = select(select(bitcast<u32>(loss), NAN_BITS, is_bad), 0u, is_ignored);
  statistics[2u * row] = bitcast<u32>(highest);
  statistics[2u * row + 1u] = select(bitcast<u32>(logarithm), NAN_BITS, is_bad);
}
