// parts: normalise/segments, element, launch, operand, reduce, store
//
// Gradient of layer normalisation (Ba et al., "Layer normalization", 2016) and, if not CENTRED, of root-mean-square
// normalisation (Zhang & Sennrich, "Root mean square layer normalization", 2019), with respect to its input:
//
//     d_x[i, :] = (g - mean(g) - x̂ · mean(g · x̂)) · r_i     g = d_output[i, :] · weight,  x̂ = (x[i, :] - m_i) · r_i
//     r_i = 1 / √(mean((x[i, :] - m_i)²) + ε)
//
// with m_i the row's mean, or m_i = 0 and without mean(g). It also writes m_i and r_i, for the gradient of the weight.
//
// x, d_output [rows, segments, columns], weight [segments, columns] → d_x as x; statistics [rows, 2]. All row-major; rows
// of an odd number of f16 are padded, and then segments do not merge into one row.
// One workgroup owns 128 / LANES rows, LANES invocations each, which add up in a fixed order. Three reads of x (two if not
// CENTRED) and two of d_output, the later ones from the cache, and one write, for some sixteen operations per element. Bound
// by bandwidth.

const LANES: u32 = 16u;          // invocations per row: a power of two up to 128
const CENTRED: bool = true;
const F16: bool = false;         // storage of all but statistics

struct Params {
  groups: u32,            // workgroups with work
  epsilon: f32,
  x_offset: u32,
  d_output_offset: u32,
  weight_offset: u32,
  has_weight: u32,
  vectors: u32,           // four neighbours in a row of any of them always lie in one aligned vector
  writes_d_x: u32,
  writes_statistics: u32,
  @align(16) shape: SegmentedRows,  // of x, d_output and d_x
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [rows, segments, columns], f32 or f16
@group(0) @binding(2) var<storage, read> d_output: array<vec4<u32>>;  // [rows, segments, columns]
@group(0) @binding(3) var<storage, read> weight: array<vec4<u32>>;    // [segments, columns]
@group(0) @binding(4) var<storage, read_write> output: array<u32>;    // d_x [rows, segments, columns]
@group(0) @binding(5) var<storage, read_write> statistics: array<f32>;  // [rows, 2]: m_i, r_i

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

fn weight_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(weight[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(weight[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

// The four neighbours at a place of the row that begins at element `row`.
fn place_quad(row: u32, place: vec2<u32>) -> Quad {
  return quad_at(row + place_offset(place), 1u, params.shape.columns - place.y, params.vectors != 0u);
}

// (x - pivot) - shift; zero past the last column.
fn centred_quad(row: u32, place: vec2<u32>, pivot: f32, shift: f32) -> vec4<f32> {
  let at = place_quad(params.x_offset + row, place);
  let values = x_quad(at);
  if !CENTRED { return values; }
  return select(vec4<f32>(0.0), (values - pivot) - shift, first_lanes(at.count));
}

// d_output · weight; zero past the last column.
fn gradient_quad(row: u32, place: vec2<u32>) -> vec4<f32> {
  var values = d_output_quad(place_quad(params.d_output_offset + row, place));
  if params.has_weight != 0u { values *= weight_quad(place_quad(params.weight_offset, place)); }
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
  let lane = index % LANES;
  let row = linear * (WORKGROUP / LANES) + index / LANES;
  let base = min(row, params.shape.rows - 1u) * params.shape.row_pitch;
  // 0 in rows past the end, which only reach the barriers
  let quads = select(0u, row_quads(), row < params.shape.rows);
  let size = f32(params.shape.segments * params.shape.columns);
  let one = vec4<f32>(1.0);

  var pivot = 0.0;
  var shift = 0.0;  // the mean is pivot + shift
  if CENTRED {
    let first = params.x_offset + base;
    pivot = decode_element(x[vector_of(first, F16)][component_of(first, F16)], first, F16);
    var sums = vec4<f32>(0.0);
    for (var i = lane; i < quads; i += LANES) {
      sums += centred_quad(base, segment_place(i), pivot, 0.0);
    }
    shift = sum_over_lanes(dot(sums, one), index, lane, LANES) / size;
  }
  var squares = vec4<f32>(0.0);
  var gradients = vec4<f32>(0.0);
  var products = vec4<f32>(0.0);
  for (var i = lane; i < quads; i += LANES) {
    let place = segment_place(i);
    let difference = centred_quad(base, place, pivot, shift);
    let gradient = gradient_quad(base, place);
    squares += difference * difference;
    gradients += gradient;
    products += gradient * difference;
  }
  let variance = sum_over_lanes(dot(squares, one), index, lane, LANES) / size;
  let normaliser = 1.0 / sqrt(variance + params.epsilon);
  var mean_gradient = 0.0;
  if CENTRED { mean_gradient = sum_over_lanes(dot(gradients, one), index, lane, LANES) / size; }
  let slope = sum_over_lanes(dot(products, one), index, lane, LANES) / size * normaliser * normaliser;

  for (var i = lane; params.writes_d_x != 0u && i < quads; i += LANES) {
    let place = segment_place(i);
    let difference = centred_quad(base, place, pivot, shift);
    let values = (gradient_quad(base, place) - mean_gradient - difference * slope) * normaliser;
    store_quad(base + place_offset(place), values, min(params.shape.columns - place.y, 4u), F16);
  }
  if params.writes_statistics != 0u && lane == 0u && row < params.shape.rows {
    statistics[2u * row] = pivot + shift;
    statistics[2u * row + 1u] = normaliser;
  }
}
