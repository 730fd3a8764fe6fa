// parts: element, launch, operand, reduce, rows, store
//
// Sums over some axes: output[i] = Σ_j x[i, j], with i over the axes that stay and j over those that are summed. It sums in f32
// and in an order that depends only on the shapes and the device, so the result is the same each time.
//
// x at any strides (0 repeats) → output [kept axes]. Long sums are divided into parts, [splits, kept axes], which are then
// summed in turn. `lanes` invocations of a workgroup share four neighbouring sums: lane l of a split adds up terms l,
// l + lanes, …, and a tree in workgroup memory adds the lanes. If neighbouring terms are closer in x than neighbouring sums,
// neighbouring invocations are lanes of the same sums. Otherwise they have neighbouring sums. A read of x for an addition:
// bound by bandwidth.

const IN_F16: bool = false;      // storage of x
const OUT_F16: bool = false;     // storage of output

struct Params {
  groups: u32,               // workgroups with work
  quad_groups: u32,          // of each split
  quads: u32,                // of the output
  row_quads: u32,            // of an output row
  columns: u32,              // elements of an output row
  output_pitch: u32,         // elements between output rows
  split_pitch: u32,          // elements between splits
  split_terms: u32,          // of each sum in a split
  terms: u32,                // of each sum
  lanes: u32,                // invocations that share sums, a power of two
  lanes_first: u32,          // neighbouring invocations do
  scale: f32,                // multiplies the sums
  inner_terms: u32,          // along the innermost axis that goes
  inner_stride: u32,         // elements
  kept_shape: vec4<u32>,     // kept axes before the row, the innermost first
  x: RowOperand,             // along the kept axes
  summed: RowAxes,           // axes that go, before the innermost
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;        // f32 or f16
@group(0) @binding(2) var<storage, read_write> output: array<u32>;   // [splits, kept axes], f32 or f16

const WORKGROUP: u32 = 256u;

fn x_quad(at: Quad) -> vec4<f32> {
  // computed again here: if at.is_vector passes through the loop over terms, llvmpipe takes 1.5 times as long for columns
  if params.x.vectors != 0u && at.count == 4u { return decode_quad(x[vector_of(at.first, IN_F16)], at.first, IN_F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(x[vector_of(element, IN_F16)][component_of(element, IN_F16)], element, IN_F16);
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
  let wide = WORKGROUP / params.lanes;  // quads of the workgroup
  let is_first = params.lanes_first != 0u;
  let lane = select(index / wide, index % params.lanes, is_first);
  let step = select(wide, 1u, is_first);  // invocations from a lane to the next
  let quad = (linear % params.quad_groups) * wide + select(index % wide, index / params.lanes, is_first);
  let column = 4u * (quad % params.row_quads);
  let row = quad / params.row_quads;
  let split = linear / params.quad_groups;
  let begin = split * params.split_terms;
  // 0 past the end, where invocations only reach the barriers
  let end = select(0u, min(begin + params.split_terms, params.terms), quad < params.quads);

  let first = row_quad(params.x, row_index(row, params.kept_shape), column, params.columns);
  var sums = vec4<f32>(0.0);
  for (var term = begin + lane; term < end; term += params.lanes) {
    var inner = term;
    var at = first;
    if params.inner_terms < params.terms {
      inner = term % params.inner_terms;
      at.first += row_along(params.summed, term / params.inner_terms);
    }
    at.first += inner * params.inner_stride;
    sums += x_quad(at);
  }
  sums = quad_sum_for_first_lane(sums, index, lane, params.lanes, step);
  if lane > 0u || quad >= params.quads { return; }
  let count = min(params.columns - column, 4u);
  store_quad(split * params.split_pitch + row * params.output_pitch + column, params.scale * sums, count, OUT_F16);
}
