// parts: element, launch, operand, special, store
//
// Rows of a table by their numbers: output[n, :] = weight[ids[n], :], or NaN if the table has no such row.
//
// ids [N], weight [V, E] at any strides → output [N, E]. One invocation writes four columns of one row. Bound by
// bandwidth.

const F16: bool = false;         // storage of weight and output

struct Params {
  quads: u32,             // of the output
  row_quads: u32,         // of an output row
  columns: u32,           // E
  table_rows: u32,        // V
  output_pitch: u32,      // elements between output rows
  ids_offset: u32,
  @align(16) weight: MatrixOperand,  // row, column
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;           // [N]; a negative number is a large one here
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;  // [V, E], f32 or f16
@group(0) @binding(3) var<storage, read_write> output: array<u32>;  // [N, E], f32 or f16

const WORKGROUP: u32 = 256u;

fn weight_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(weight[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(weight[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let quad = linear_group(group, groups) * WORKGROUP + lane;
  if quad >= params.quads { return; }
  let row = quad / params.row_quads;
  let column = 4u * (quad % params.row_quads);
  let count = min(params.columns - column, 4u);
  let id = ids[params.ids_offset + row];
  var bits = vec4<u32>(NAN_BITS);
  if id < params.table_rows {
    bits = bitcast<vec4<u32>>(weight_quad(matrix_quad(params.weight, id, column, params.columns)));
  }
  store_quad(row * params.output_pitch + column, bitcast<vec4<f32>>(bits), count, F16);
}
