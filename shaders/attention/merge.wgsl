// parts: launch, special, store
//
// Combines attention over parts of the keys: with each part's normalised output and log-sum-exp,
//
//     L = log Σ_p exp(L_p)      O = Σ_p exp(L_p - L) · O_p
//
// part_output [P, B, H, Nq, Dv] and part_log_sum_exp [P, B, H, Nq], row-major f32 → output [B, H, Nq, Dv], f32 or f16, and
// log_sum_exp [B, H, Nq]. A part that saw no key has L_p = -∞ and gets no weight. A row that is empty in all parts is 0.
// One invocation writes four columns of a row. Bound by bandwidth: 4·P bytes read per element.
//
// Dao, Haziza, Massa & Sizov, "Flash-Decoding for long-context inference", 2023.

const OUT_F16: bool = false;     // storage of output

struct Params {
  parts: u32,              // P
  heads: u32,              // H
  query_length: u32,       // Nq
  rows: u32,               // B · H · Nq
  value_dim: u32,          // Dv
  quads: u32,              // ⌈Dv / 4⌉
  output_strides: vec4<u32>,  // elements: batch, head, row, column
  writes_log_sum_exp: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part_output: array<f32>;
@group(0) @binding(2) var<storage, read> part_log_sum_exp: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<u32>;
@group(0) @binding(4) var<storage, read_write> log_sum_exp: array<u32>;

const WORKGROUP: u32 = 64u;

fn part_lse(part: u32, row: u32) -> f32 {
  let bits = part_log_sum_exp[part * params.rows + row];
  return select(bitcast<f32>(bits), LOWEST, bits == MINUS_INFINITY_BITS);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let linear = linear_group(group, groups) * WORKGROUP + lane;
  let row = linear / params.quads;
  if row >= params.rows { return; }
  let column = 4u * (linear % params.quads);
  let count = min(params.value_dim - column, 4u);

  var highest = LOWEST;
  for (var p = 0u; p < params.parts; p++) { highest = max(highest, part_lse(p, row)); }
  let shift = select(highest, 0.0, highest == LOWEST);
  var sum = 0.0;
  var quad = vec4<f32>(0.0);
  for (var p = 0u; p < params.parts; p++) {
    let weight = swiftshader_exp(part_lse(p, row) - shift);
    sum += weight;
    let first = (p * params.rows + row) * params.value_dim + column;
    for (var i = 0u; i < count && weight != 0.0; i++) { quad[i] += weight * part_output[first + i]; }
  }
  let is_empty = sum == 0.0;
  let place = vec3<u32>(
    row / (params.query_length * params.heads), row / params.query_length % params.heads, row % params.query_length);
  let base = dot(params.output_strides.xyz, place);
  store_quad(base + column, select(quad / sum, vec4<f32>(0.0), is_empty), count, OUT_F16);
  if params.writes_log_sum_exp != 0u && column == 0u {
    let value = highest + swiftshader_log(sum);
    log_sum_exp[row] = select(bitcast<u32>(value), MINUS_INFINITY_BITS, is_empty);
  }
}
