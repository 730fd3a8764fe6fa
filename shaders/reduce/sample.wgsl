// parts: element, launch, operand, random
//
// Draws a column of each row with probability softmax(logits / temperature), by the Gumbel-max trick (Gumbel,
// "Statistical theory of extreme values", 1954; Maddison et al., "A* sampling", 2014):
//
//     output[i] = argmax_j logits[i, j] + temperature · g[i, j],  g = -log(-log u),  u uniform in (0, 1)
//
// u of columns [4n, 4n + 4) in row i are the four words of Philox with counter (n, i, step) and key seed: the same on
// every device. Temperature 0 takes the largest logit. The first of equal columns wins. NaN loses to every number. u has
// 23 bits, so a column less likely than about 2⁻²⁴ is hardly ever drawn.
//
// logits [B, V] at any strides → output [B]. One workgroup owns one row. Bound by bandwidth at temperature 0, else by
// some 150 integer operations a quad of columns.

const WORKGROUP: u32 = 128u;     // invocations per row: a power of two
const F16: bool = false;         // storage of logits

struct Params {
  groups: u32,            // workgroups with work
  columns: u32,           // V
  temperature: f32,
  seed: vec2<u32>,        // 64 bits, the low ones first
  step: vec2<u32>,
  @align(16) logits: MatrixOperand,  // row, column
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<u32>>;    // [B, V], f32 or f16
@group(0) @binding(2) var<storage, read_write> output: array<u32>;    // [B]

var<workgroup> best_ranks: array<u32, WORKGROUP>;
var<workgroup> best_columns: array<u32, WORKGROUP>;

// -log u with a relative error of some 1e-6 for all u. Near 1, WGSL bounds only the absolute error of a logarithm, which would
// spoil the largest noise. There log(1 / u) = 2 artanh((1 - u) / (1 + u)).
fn exponential_of(u: f32) -> f32 {
  if u < 0.5 { return -log(u); }
  let z = (1.0 - u) / (1.0 + u);
  let square = z * z;
  var series = 1.0 / 15.0;
  for (var odd = 13.0; odd > 0.0; odd -= 2.0) { series = series * square + 1.0 / odd; }
  return 2.0 * z * series;
}

fn gumbel_of(bits: u32) -> f32 {
  return -log(exponential_of(uniform_of(bits)));
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

// A rank in the order of the numbers, with 0 for NaN and one rank for both zeros. It works on the bits, because a compiler may
// assume that there is no NaN.
fn rank_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let magnitude = bits & 0x7fffffffu;
  if magnitude > 0x7f800000u { return 0u; }
  return select(0x80000000u + magnitude, 0x80000000u - magnitude, bits != magnitude);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = linear_group(group, groups);
  if row >= params.groups { return; }
  var best_rank = 0u;
  var best_column = 0u;
  for (var column = 4u * lane; column < params.columns; column += 4u * WORKGROUP) {
    let at = matrix_quad(params.logits, row, column, params.columns);
    let scores = logits_quad(at);
    var words = vec4<u32>();
    if params.temperature > 0.0 {
      words = philox(vec4<u32>(column / 4u, row, params.step), params.seed);
    }
    for (var i = 0u; i < at.count; i++) {
      var rank = rank_of(scores[i]);
      if params.temperature > 0.0 && rank != 0u {
        rank = rank_of(scores[i] + params.temperature * gumbel_of(words[i]));
      }
      if rank > best_rank {
        best_rank = rank;
        best_column = column + i;
      }
    }
  }
  best_ranks[lane] = best_rank;
  best_columns[lane] = best_column;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      let rank = best_ranks[lane + half];
      let column = best_columns[lane + half];
      if rank > best_rank || (rank == best_rank && column < best_column) {
        best_rank = rank;
        best_column = column;
        best_ranks[lane] = rank;
        best_columns[lane] = column;
      }
    }
  }
  if lane == 0u { output[row] = best_column; }
}
