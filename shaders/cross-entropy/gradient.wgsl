// parts: cross-entropy/targets, element, launch, operand, special, store
//
// Gradient of the cross-entropy of rows of logits (see cross-entropy.wgsl) with respect to the logits:
//
//     d_logits[i, j] = g_i (softmax(x[i, :])_j - (1 - ε) [j = t_i] - ε / V)      0 where t_i is ignored
//
// with g_i = d_loss · share, or d_loss[i] if there is one for each row. It is NaN where the loss is NaN.
//
// logits [rows, V] at any strides, targets [rows], statistics [rows, 2] → d_logits [rows, V]. One invocation writes four
// classes of one row, or if WHOLE a vector: one read, one write and one exponential per element. Bound by bandwidth.

const F16: bool = false;         // storage of logits and d_logits
const WHOLE: bool = false;       // rows are whole vectors of 16 bytes in both
const ONE_ROW: bool = false;     // a workgroup has classes of one row only, whose numbers a compiler then reads once for all

struct Params {
  rows: u32,
  row_quads: u32,         // of an output row; if WHOLE, vectors
  row_groups: u32,        // if ONE_ROW, workgroups of an output row
  classes: u32,           // V
  smoothing: f32,         // ε
  d_loss_stride: u32,     // 0: one for all rows
  d_loss_offset: u32,
  has_share: u32,
  output_pitch: u32,      // elements between output rows
  @align(16) logits: MatrixOperand,  // row, class
  @align(16) targets: TargetParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<u32>>;     // [rows, V], f32 or f16
@group(0) @binding(2) var<storage, read> targets: array<u32>;          // [rows]
@group(0) @binding(3) var<storage, read> statistics: array<f32>;       // [rows, 2]: maximum, logarithm of the sum
@group(0) @binding(4) var<storage, read> d_loss: array<f32>;           // [1] or [rows]
@group(0) @binding(5) var<storage, read> share: array<f32>;            // [1]
@group(0) @binding(6) var<storage, read_write> output: array<u32>;     // d_logits [rows, V], f32 or f16

const WORKGROUP: u32 = 256u;
const WIDTH: u32 = select(4u, select(4u, 8u, F16), WHOLE);  // classes of an invocation
const QUADS: u32 = WIDTH / 4u;

fn logits_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(logits[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(logits[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

// d_logits of classes [class_index, class_index + 4) from their logits. `scale` is g_i.
fn d_logits_quad(row: u32, target_class: u32, class_index: u32, logits: vec4<f32>, scale: f32) -> vec4<f32> {
  let p = swiftshader_exp_quad((logits - statistics[2u * row]) - statistics[2u * row + 1u]);
  let classes = vec4<u32>(class_index) + vec4<u32>(0u, 1u, 2u, 3u);
  let wanted = select(vec4<f32>(0.0), vec4<f32>(1.0 - params.smoothing), classes == vec4<u32>(target_class));
  return scale * (p - wanted - params.smoothing / f32(params.classes));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let linear = linear_group(group, groups);
  let number = linear * WORKGROUP + lane;
  var row = number / params.row_quads;
  var quad = number % params.row_quads;
  if ONE_ROW {
    row = linear / params.row_groups;
    quad = (linear % params.row_groups) * WORKGROUP + lane;
  }
  if row >= params.rows || quad >= params.row_quads { return; }
  let class_index = WIDTH * quad;
  let target_class = target_of(row);
  let has_loss = !is_ignored(target_class);
  var scale = d_loss[params.d_loss_offset + row * params.d_loss_stride];
  if params.has_share != 0u { scale *= share[0]; }
  if WHOLE {
    let words = logits[(params.logits.offset + row * params.logits.strides.x) / WIDTH + quad];
    var quads = array<vec4<f32>, QUADS>();
    for (var j = 0u; j < QUADS; j++) {
      let x = decode_quad(words, 4u * j, F16);
      quads[j] = select(vec4<f32>(0.0), d_logits_quad(row, target_class, class_index + 4u * j, x, scale), has_loss);
    }
    store_vector(row * (params.output_pitch / WIDTH) + quad, encode_vector(quads[0], quads[QUADS - 1u], F16));
    return;
  }
  let at = matrix_quad(params.logits, row, class_index, params.classes);
  let element = row * params.output_pitch + class_index;
  if !has_loss {
    store_quad(element, vec4<f32>(0.0), at.count, F16);
    return;
  }
  store_quad(element, d_logits_quad(row, target_class, class_index, logits_quad(at), scale), at.count, F16);
}
