// parts: element, launch
//
// Gradients of layer and RMS normalisation with respect to weight and bias, which are sums over the columns of a matrix:
//
//     d_weight[:] = Σ_i d_output[i, :] · (x[i, :] - m_i) · r_i      d_bias[:] = Σ_i d_output[i, :]
//
// of a chunk of rows each: the chunks are added up afterwards. x, d_output [rows, segments, columns] row-major (rows of
// an odd number of f16 are padded), statistics [rows, 2] with m_i and r_i → d_weight, d_bias [chunks, segments, columns].
// One workgroup owns 64 columns of one chunk: 16 × 4 columns by 8 rows at a time, so that neighbours read neighbouring
// columns, and a tree over the 8 at the end. All sums are in a fixed order. One read of x and d_output for four operations
// an element: bound by bandwidth.

const F16: bool = false;         // storage of x and d_output

struct Params {
  groups: u32,            // workgroups with work
  rows: u32,
  chunk_rows: u32,
  column_groups: u32,     // workgroups a chunk
  segments: u32,
  columns: u32,
  row_pitch: u32,         // elements between rows
  pitch: u32,             // elements between segments
  x_offset: u32,
  d_output_offset: u32,
  vector_loads: u32,      // both may be read four columns at a time
  writes_d_weight: u32,   // else x and statistics are not read
  writes_d_bias: u32,
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

var<workgroup> partial_weight: array<vec4<f32>, WORKGROUP>;
var<workgroup> partial_bias: array<vec4<f32>, WORKGROUP>;

fn x_quad(first: u32, count: u32) -> vec4<f32> {
  if params.vector_loads != 0u && count == 4u { return decode_quad(x[vector_of(first, F16)], first, F16); }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < count; i++) {
    values[i] = decode_at(x[vector_of(first + i, F16)], first + i, F16);
  }
  return values;
}

fn d_output_quad(first: u32, count: u32) -> vec4<f32> {
  if params.vector_loads != 0u && count == 4u { return decode_quad(d_output[vector_of(first, F16)], first, F16); }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < count; i++) {
    values[i] = decode_at(d_output[vector_of(first + i, F16)], first + i, F16);
  }
  return values;
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
  let number = linear % params.column_groups * COLUMN_LANES + index % COLUMN_LANES;
  let segment_quads = (params.columns + 3u) / 4u;
  let column = 4u * (number % segment_quads);
  let segment = number / segment_quads;
  // none past the last segment, for the barriers
  let count = select(0u, min(params.columns - column, 4u), segment < params.segments);
  let last_row = select(0u, min((chunk + 1u) * params.chunk_rows, params.rows), count > 0u);

  var weight_sum = vec4<f32>(0.0);
  var bias_sum = vec4<f32>(0.0);
  for (var row = chunk * params.chunk_rows + index / COLUMN_LANES; row < last_row; row += ROW_LANES) {
    let at = row * params.row_pitch + segment * params.pitch + column;
    let gradient = d_output_quad(params.d_output_offset + at, count);
    bias_sum += gradient;
    if params.writes_d_weight != 0u {
      let normalised = (x_quad(params.x_offset + at, count) - statistics[2u * row]) * statistics[2u * row + 1u];
      weight_sum += gradient * normalised;
    }
  }
  partial_weight[index] = weight_sum;
  partial_bias[index] = bias_sum;
  for (var half = ROW_LANES / 2u * COLUMN_LANES; half >= COLUMN_LANES; half /= 2u) {
    workgroupBarrier();
    if index < half {
      weight_sum += partial_weight[index + half];
      bias_sum += partial_bias[index + half];
      partial_weight[index] = weight_sum;
      partial_bias[index] = bias_sum;
    }
  }
  if index >= COLUMN_LANES { return; }
  let element = (chunk * params.segments + segment) * params.columns + column;
  for (var i = 0u; i < count; i++) {
    if params.writes_d_weight != 0u { d_weight[element + i] = weight_sum[i]; }
    if params.writes_d_bias != 0u { d_bias[element + i] = bias_sum[i]; }
  }
}
