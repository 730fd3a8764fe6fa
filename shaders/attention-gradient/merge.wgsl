// parts: launch, reduce, special, store
//
// The gradient of attention merged from parts of the keys (see attention/merge). With the gradients g of the output O and h of
// the log-sum-exp L,
//
//     w_p = exp(L_p - L)      dO_p = w_p · g      dL_p = w_p · (g · O_p - g · O + h),  g · O = Σ_p w_p (g · O_p)
//
// part_output [P, rows, Dv], part_log_sum_exp [P, rows], gradient [rows, Dv] and log_sum_exp_gradient [rows], row-major
// f32 → output [P, rows, Dv], f32 or f16, and part_gradient [P, rows], f32: dO and dL. A part that saw no key has w_p = 0 and
// gradients 0. One workgroup owns 128 / LANES rows, LANES invocations each. Five operations and 12 bytes (f32) per element
// of the parts: bound by bandwidth.

const LANES: u32 = 16u;          // invocations per row: a power of two up to 128
const OUT_F16: bool = false;     // storage of output

struct Params {
  groups: u32,             // workgroups with work
  parts: u32,              // P
  rows: u32,
  value_dim: u32,          // Dv
  output_pitch: u32,       // elements between output rows
  has_gradient: u32,       // else it is 0
  has_log_sum_exp_gradient: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part_output: array<f32>;
@group(0) @binding(2) var<storage, read> part_log_sum_exp: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read> log_sum_exp_gradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<u32>;
@group(0) @binding(6) var<storage, read_write> part_gradient: array<f32>;

const WORKGROUP: u32 = 128u;

fn part_lse(part: u32, row: u32) -> f32 {
  let bits = part_log_sum_exp[part * params.rows + row];
  return select(bitcast<f32>(bits), LOWEST, bits == MINUS_INFINITY_BITS);
}

// exp(L_p - shift)
fn share(part: u32, row: u32, shift: f32) -> f32 {
  return swiftshader_exp(part_lse(part, row) - shift);
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
  let own = linear * (WORKGROUP / LANES) + index / LANES;
  let row = min(own, params.rows - 1u);  // rows past the end only reach the barriers, and write nothing

  var highest = LOWEST;
  for (var p = 0u; p < params.parts; p++) { highest = max(highest, part_lse(p, row)); }
  let shift = select(highest, 0.0, highest == LOWEST);
  var sum = 0.0;
  for (var p = 0u; p < params.parts; p++) { sum += share(p, row, shift); }
  let normaliser = select(1.0 / sum, 0.0, sum == 0.0);

  var total = 0.0;  // g · O
  for (var p = 0u; p < params.parts; p++) {
    let weight = share(p, row, shift) * normaliser;
    let first = (p * params.rows + row) * params.value_dim;
    let end = select(0u, params.value_dim, params.has_gradient != 0u && weight != 0.0);
    var product = 0.0;
    for (var column = lane; column < end; column += LANES) {
      product += gradient[row * params.value_dim + column] * part_output[first + column];
    }
    product = sum_over_lanes(product, index, lane, LANES);
    total += weight * product;
    if lane == 0u && own < params.rows { part_gradient[p * params.rows + row] = product; }
  }
  if own >= params.rows { return; }

  var addend = 0.0;
  if params.has_log_sum_exp_gradient != 0u { addend = log_sum_exp_gradient[row]; }
  for (var p = 0u; p < params.parts; p++) {
    let weight = share(p, row, shift) * normaliser;
    if lane == 0u {
      let at = p * params.rows + row;
      part_gradient[at] = select(weight * ((part_gradient[at] - total) + addend), 0.0, weight == 0.0);
    }
    for (var column = 4u * lane; column < params.value_dim; column += 4u * LANES) {
      let count = min(params.value_dim - column, 4u);
      var quad = vec4<f32>(0.0);
      for (var i = 0u; i < count && params.has_gradient != 0u; i++) {
        quad[i] = gradient[row * params.value_dim + column + i];
      }
      store_quad((p * params.rows + row) * params.output_pitch + column, weighted(weight, quad), count, OUT_F16);
    }
  }
}
