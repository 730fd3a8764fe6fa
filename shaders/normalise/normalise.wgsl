// parts: element, launch, rows, store
//
// Layer normalisation over rows (Ba et al., "Layer normalization", 2016) and, where not CENTRED, root-mean-square
// normalisation (Zhang & Sennrich, "Root mean square layer normalization", 2019):
//
//     output[i, :] = (x[i, :] - m_i) / √(mean((x[i, :] - m_i)²) + ε) · weight + bias
//
// with m_i the row's mean, or 0. A row is `segments` × `columns` elements, where several axes are normalised together.
//
// x [rows, segments, columns] at any strides, weight and bias [segments, columns] → output [rows, segments, columns].
// One workgroup owns 128 / LANES rows, LANES invocations each. Where CENTRED, sums are of differences from the row's
// first element, and the variance is summed after the mean, so that no digits cancel: three reads of x (else two), the
// later ones from the cache, and one write, for some eight operations an element. Bound by bandwidth.

const LANES: u32 = 16u;          // invocations a row: a power of two up to 128
const CENTRED: bool = true;
const F16: bool = false;         // storage of everything

struct Params {
  groups: u32,            // workgroups with work
  rows: u32,
  segments: u32,
  columns: u32,
  epsilon: f32,
  shape: vec4<u32>,       // axes before the row, the innermost first
  x_strides: vec4<u32>,   // elements
  x_outer_stride: u32,    // of a fifth axis before the row
  x_inner_strides: vec2<u32>,       // segment, column
  weight_strides: vec2<u32>,
  bias_strides: vec2<u32>,
  x_offset: u32,
  weight_offset: u32,
  bias_offset: u32,
  output_row_pitch: u32,
  output_pitch: u32,      // elements between segments
  has_weight: u32,
  has_bias: u32,
  x_vector_loads: u32,    // may be read four columns at a time
  weight_vector_loads: u32,
  bias_vector_loads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;       // [rows, segments, columns], f32 or f16
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;  // [segments, columns]
@group(0) @binding(3) var<storage, read> bias: array<vec4<u32>>;    // [segments, columns]
@group(0) @binding(4) var<storage, read_write> output: array<u32>;  // [rows, segments, columns]

const WORKGROUP: u32 = 128u;

var<workgroup> partial: array<f32, WORKGROUP>;

// Four neighbours in a row, or as many as there are.
struct Quad {
  segment: u32,
  column: u32,
  count: u32,
}

fn quad_at(number: u32, segment_quads: u32) -> Quad {
  let column = 4u * (number % segment_quads);
  return Quad(number / segment_quads, column, min(params.columns - column, 4u));
}

// Elements from `first` on; zero past the last.
fn x_quad(row: u32, quad: Quad) -> vec4<f32> {
  let first = row + dot(vec2<u32>(quad.segment, quad.column), params.x_inner_strides);
  if params.x_vector_loads != 0u && quad.count == 4u { return decode_quad(x[vector_of(first, F16)], first, F16); }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < quad.count; i++) {
    let element = first + i * params.x_inner_strides.y;
    values[i] = decode_at(x[vector_of(element, F16)], element, F16);
  }
  return values;
}

// (x - pivot) - shift; zero past the last.
fn centred_quad(row: u32, quad: Quad, pivot: f32, shift: f32) -> vec4<f32> {
  let values = x_quad(row, quad);
  if !CENTRED { return values; }
  return select(vec4<f32>(0.0), (values - pivot) - shift, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(quad.count));
}

fn weight_quad(quad: Quad) -> vec4<f32> {
  let first = params.weight_offset + dot(vec2<u32>(quad.segment, quad.column), params.weight_strides);
  if params.weight_vector_loads != 0u && quad.count == 4u {
    return decode_quad(weight[vector_of(first, F16)], first, F16);
  }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < quad.count; i++) {
    let element = first + i * params.weight_strides.y;
    values[i] = decode_at(weight[vector_of(element, F16)], element, F16);
  }
  return values;
}

fn bias_quad(quad: Quad) -> vec4<f32> {
  let first = params.bias_offset + dot(vec2<u32>(quad.segment, quad.column), params.bias_strides);
  if params.bias_vector_loads != 0u && quad.count == 4u {
    return decode_quad(bias[vector_of(first, F16)], first, F16);
  }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < quad.count; i++) {
    let element = first + i * params.bias_strides.y;
    values[i] = decode_at(bias[vector_of(element, F16)], element, F16);
  }
  return values;
}

// The sum over the lanes of a row, for each of them. Every invocation must call it.
fn row_sum(value: f32, index: u32) -> f32 {
  let lane = index % LANES;
  var sum = value;
  workgroupBarrier();
  partial[index] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      sum += partial[index + half];
      partial[index] = sum;
    }
  }
  workgroupBarrier();
  return partial[index - lane];
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
  let axes = row_index(min(row, params.rows - 1u), params.shape);
  let x_row = params.x_offset + row_start(axes, params.x_strides, params.x_outer_stride);
  let segment_quads = (params.columns + 3u) / 4u;
  // none in rows past the end, which are here for the barriers
  let quads = select(0u, params.segments * segment_quads, row < params.rows);
  let size = f32(params.segments * params.columns);

  var pivot = 0.0;
  var shift = 0.0;  // the mean is pivot + shift
  if CENTRED {
    let first = word_index(x_row, F16);
    pivot = decode_element(x[first >> 2u][first & 3u], x_row, F16);
    var sums = vec4<f32>(0.0);
    for (var i = lane; i < quads; i += LANES) {
      sums += centred_quad(x_row, quad_at(i, segment_quads), pivot, 0.0);
    }
    shift = row_sum(dot(sums, vec4<f32>(1.0)), index) / size;
  }
  var squares = vec4<f32>(0.0);
  for (var i = lane; i < quads; i += LANES) {
    let difference = centred_quad(x_row, quad_at(i, segment_quads), pivot, shift);
    squares += difference * difference;
  }
  let variance = row_sum(dot(squares, vec4<f32>(1.0)), index) / size;
  let normaliser = 1.0 / sqrt(variance + params.epsilon);

  let base = row * params.output_row_pitch;
  for (var i = lane; i < quads; i += LANES) {
    let quad = quad_at(i, segment_quads);
    var values = centred_quad(x_row, quad, pivot, shift) * normaliser;
    if params.has_weight != 0u { values *= weight_quad(quad); }
    if params.has_bias != 0u { values += bias_quad(quad); }
    store_quad(base + quad.segment * params.output_pitch + quad.column, values, quad.count, F16);
  }
}
