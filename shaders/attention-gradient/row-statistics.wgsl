// parts: element, launch, operand, reduce, special
//
// The statistics of each row that the kernels of attention's gradient need: its log-sum-exp L (0 in place of -∞ for a row
// that saw no key), and
//
//     D = Σ_column dO · O - dL
//
// With it dS = P ∘ (dP - D), for the output's gradient dO and the log-sum-exp's gradient dL together (Dao, FlashAttention-2,
// 2023, algorithm 2; the term dL follows from ∂L / ∂S = P).
//
// o [B, H, N, Dv], d_output [B, H, N, Dv], log_sum_exp [B, H, N], d_log_sum_exp [B, H, N] → table: L [B, H, N] from stats_at
// on, then D. LANES neighbouring invocations share a row, four columns at a time. 2·Dv operations per row for 8·Dv bytes
// (f32): bound by bandwidth.

const IS_F16: bool = false;      // storage of o and d_output
const LANES: u32 = 8u;           // invocations per row: a power of two up to 64

struct Params {
  groups: u32,               // workgroups with work
  rows: u32,                 // B · H · N
  heads: u32,                // H
  length: u32,               // N
  value_dim: u32,            // Dv
  stats_at: u32,             // word of table
  has_d_output: u32,
  has_d_log_sum_exp: u32,
  o: Operand,
  d_output: Operand,
  d_log_sum_exp: RowNumbers,
}

// The layout of a number for each row.
struct RowNumbers {
  strides: vec3<u32>,  // elements: batch, head, row
  offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> o: array<vec4<u32>>;         // [B, H, N, Dv], f32 or f16
@group(0) @binding(2) var<storage, read> d_output: array<vec4<u32>>;  // [B, H, N, Dv], the same
@group(0) @binding(3) var<storage, read> log_sum_exp: array<u32>;     // [B, H, N], f32, row-major
@group(0) @binding(4) var<storage, read> d_log_sum_exp: array<f32>;   // [B, H, N]
@group(0) @binding(5) var<storage, read_write> table: array<u32>;

const WORKGROUP: u32 = 64u;

fn o_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(o[vector_of(at.first, IS_F16)], at.first, IS_F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(o[vector_of(element, IS_F16)][component_of(element, IS_F16)], element, IS_F16);
  }
  return quad;
}

fn d_output_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(d_output[vector_of(at.first, IS_F16)], at.first, IS_F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(d_output[vector_of(element, IS_F16)][component_of(element, IS_F16)], element, IS_F16);
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
  // rows past the end compute the last one again and write nothing, because barriers need every invocation
  let read_row = min(row, params.rows - 1u);
  let place = vec3<u32>(
    read_row / (params.length * params.heads), read_row / params.length % params.heads, read_row % params.length);

  var sum = 0.0;
  if params.has_d_output != 0u {
    let o_row = row_of_operand(params.o, place);
    let d_row = row_of_operand(params.d_output, place);
    for (var column = 4u * lane; column < params.value_dim; column += 4u * LANES) {
      let values = o_quad(operand_quad(params.o, o_row, column, params.value_dim));
      let gradients = d_output_quad(operand_quad(params.d_output, d_row, column, params.value_dim));
      // the output of a row without keys is 0, even if its gradient is NaN or infinite
      sum += dot(select(values * gradients, vec4<f32>(0.0), values == vec4<f32>(0.0)), vec4<f32>(1.0));
    }
  }
  sum = sum_over_lanes(sum, index, lane, LANES);
  if row >= params.rows || lane != 0u { return; }
  if params.has_d_log_sum_exp != 0u {
    sum -= d_log_sum_exp[params.d_log_sum_exp.offset + dot(params.d_log_sum_exp.strides, place)];
  }
  let bits = log_sum_exp[row];
  table[params.stats_at + row] = select(bits, 0u, bits == MINUS_INFINITY_BITS);
  table[params.stats_at + params.rows + row] = bitcast<u32>(sum);
}
