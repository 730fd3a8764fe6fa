// parts: element, launch, store
//
// Rows of a table by their numbers: output[n, :] = weight[ids[n], :]; NaN where the table has no such row.
//
// ids [N], weight [V, E] at any strides → output [N, E]. One invocation writes four columns of one row. Bound by
// bandwidth.

const F16: bool = false;         // storage of weight and output

struct Params {
  quads: u32,             // of the output
  row_quads: u32,         // of an output row
  columns: u32,           // E
  table_rows: u32,        // V
  weight_strides: vec2<u32>,  // elements: row, column
  weight_offset: u32,
  ids_offset: u32,
  output_pitch: u32,      // elements between output rows
  vector_loads: u32,      // weight may be read four columns at a time
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;           // [N]; a negative number is a large one here
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;  // [V, E], f32 or f16
@group(0) @binding(3) var<storage, read_write> output: array<u32>;  // [N, E], f32 or f16

const WORKGROUP: u32 = 256u;
const NAN_BITS: u32 = 0x7fc00000u;

fn weight_quad(row: u32, column: u32, count: u32) -> vec4<f32> {
  if params.vector_loads != 0u && count == 4u {
    return decode_quad(weight[vector_of(row + column, F16)], row + column, F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < count; i++) {
    let element = row + (column + i) * params.weight_strides.y;
    quad[i] = decode_at(weight[vector_of(element, F16)], element, F16);
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
    bits = bitcast<vec4<u32>>(weight_quad(params.weight_offset + id * params.weight_strides.x, column, count));
  }
  store_quad(row * params.output_pitch + column, bitcast<vec4<f32>>(bits), count, F16);
}
