// parts: element, launch, operand, reduce, store
//
// The gradient of rows looked up in a table, with respect to the table: output[v, :] = Σ_{n: ids[n] = v} g[n, :], without
// atomics and in the order of n, so that it is the same each time.
//
// gradient [N, E] at any strides, sorted [2, N] of order-ids → output [V, E], which holds zeros before. Only rows that were
// looked up are written. A workgroup belongs to one place in the order and to some columns. If a run of one id begins there, it
// sums the run's rows. Otherwise, or if the table has no such row, it ends at once. `lanes` invocations share four columns
// and take the rows in turn, and a tree in workgroup memory adds the lanes. With order-ids and the zeros that is 1024·N
// comparisons, N·E additions, and N·E + V·E elements read and written: 4 million, 2 million and 64 MiB for V = 32,768,
// N = 4,096 and E = 512. Most of the bytes are the zeros. The longest sum is of N / lanes rows, one after another.

const WORKGROUP: u32 = 128u;     // invocations
const F16: bool = false;         // storage of gradient and output

struct Params {
  groups: u32,            // workgroups with work
  count: u32,             // N
  table_rows: u32,        // V
  columns: u32,           // E
  quads: u32,             // of a row
  column_groups: u32,     // workgroups of a row
  lanes: u32,             // invocations that share a quad, a power of two
  output_pitch: u32,      // elements between output rows
  @align(16) gradient: MatrixOperand,  // row, column
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sorted: array<u32>;           // [2, N]
@group(0) @binding(2) var<storage, read> gradient: array<vec4<u32>>;   // [N, E], f32 or f16
@group(0) @binding(3) var<storage, read_write> output: array<u32>;     // [V, E], f32 or f16

fn gradient_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(gradient[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(gradient[vector_of(element, F16)][component_of(element, F16)], element, F16);
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
  let place = linear / params.column_groups;
  let id = sorted[place];
  if id >= params.table_rows { return; }
  if place > 0u && sorted[max(place, 1u) - 1u] == id { return; }
  let wide = WORKGROUP / params.lanes;  // quads of the workgroup
  let lane = index / wide;
  let quad = (linear % params.column_groups) * wide + index % wide;
  let column = 4u * quad;
  // 0 past the end, where invocations only reach the barriers
  let end = select(place, params.count, quad < params.quads);
  var sums = vec4<f32>(0.0);
  for (var at = place + lane; at < end && sorted[at] == id; at += params.lanes) {
    sums += gradient_quad(matrix_quad(params.gradient, sorted[params.count + at], column, params.columns));
  }
  sums = quad_sum_for_first_lane(sums, index, lane, params.lanes, wide);
  if lane > 0u || quad >= params.quads { return; }
  store_quad(id * params.output_pitch + column, sums, min(params.columns - column, 4u), F16);
}
