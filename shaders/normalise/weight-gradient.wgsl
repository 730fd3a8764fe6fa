// parts: normalise/segments, element, launch, operand, reduce
//
// Gradients of layer and RMS normalisation with respect to weight and bias, which are sums over the columns of a matrix:
//
//     d_weight[:] = Σ_i d_output[i, :] · (x[i, :] - m_i) · r_i      d_bias[:] = Σ_i d_output[i, :]
//
// over a chunk of rows each. The chunks are added up afterwards. x, d_output [rows, segments, columns] row-major (rows of
// an odd number of f16 are padded), statistics [rows, 2] with m_i and r_i → d_weight, d_bias [chunks, segments, columns].
// One workgroup owns 64 columns of one chunk. It reads 16 × 4 columns by 8 rows at a time, so that neighbours read neighbouring
// columns, and a tree adds the 8 rows at the end. All sums are in a fixed order. One read of x and d_output for four operations
// an element: bound by bandwidth.

const F16: bool = false;         // storage of x and d_output

struct Params {
  groups: u32,            // workgroups with work
  chunk_rows: u32,
  column_groups: u32,     // workgroups per chunk
  x_offset: u32,
  d_output_offset: u32,
  vectors: u32,           // four neighbours in a row of both always lie in one aligned vector
  writes_d_weight: u32,   // else x and statistics are not read
  writes_d_bias: u32,
  @align(16) shape: SegmentedRows,  // of x and d_output
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;           // [rows, segments, columns], f32 or f16
@group(0) @binding(2) var<storage, read> d_output: array<vec4<u32>>;    // [rows, segments, columns]
@group(0) @binding(3) var<storage, read> statistics: array<f32>;        // [rows, 2]: m_i, r_i
@group(0) @binding(4) var<storage, read_write> d_weight: array<f32>;    // [chunks, segments, columns]
@group(0) @binding(5) var<storage, read_write> d_bias: array<f32>;      // [chunks, segments, columns]

const COLUMN_LANES: u32 = 16u;
const ROW_LANES: u32 = WORKGROUP / COLUMN_LANES;
const WORKGROUP: u32 = 128u;

fn x_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(x[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(x[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

fn d_output_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(d_output[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(d_output[vector_of(element, F16)][component_of(element, F16)], element, F16);
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
  let chunk = linear / params.column_groups;
  let place = segment_place(linear % params.column_groups * COLUMN_LANES + index % COLUMN_LANES);
  // 0 past the last segment, where invocations only reach the barriers
  let count = select(0u, min(params.shape.columns - place.y, 4u), place.x < params.shape.segments);
  let last_row = select(0u, min((chunk + 1u) * params.chunk_rows, params.shape.rows), count > 0u);

  var weight_sum = vec4<f32>(0.0);
  var bias_sum = vec4<f32>(0.0);
  for (var row = chunk * params.chunk_rows + index / COLUMN_LANES; row < last_row; row += ROW_LANES) {
    let at = row * params.shape.row_pitch + place_offset(place);
    let gradient = d_output_quad(quad_at(params.d_output_offset + at, 1u, count, params.vectors != 0u));
    bias_sum += gradient;
    if params.writes_d_weight != 0u {
      let values = x_quad(quad_at(params.x_offset + at, 1u, count, params.vectors != 0u));
      weight_sum += gradient * ((values - statistics[2u * row]) * statistics[2u * row + 1u]);
    }
  }
  weight_sum = quad_sum_for_first_lane(weight_sum, index, index / COLUMN_LANES, ROW_LANES, COLUMN_LANES);
  workgroupBarrier();  // the other sum has been read
  bias_sum = quad_sum_for_first_lane(bias_sum, index, index / COLUMN_LANES, ROW_LANES, COLUMN_LANES);
  if index >= COLUMN_LANES { return; }
  let element = (chunk * params.shape.segments + place.x) * params.shape.columns + place.y;
  for (var i = 0u; i < count; i++) {
    if params.writes_d_weight != 0u { d_weight[element + i] = weight_sum[i]; }
    if params.writes_d_bias != 0u { d_bias[element + i] = bias_sum[i]; }
  }
}
