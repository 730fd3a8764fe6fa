// parts: element, launch, store
//
// Gradient of layer normalisation (Ba et al., "Layer normalization", 2016) and, where not CENTRED, of root-mean-square
// normalisation (Zhang & Sennrich, "Root mean square layer normalization", 2019), with respect to its input:
//
//     d_x[i, :] = (g - mean(g) - x̂ · mean(g · x̂)) · r_i     g = d_output[i, :] · weight,  x̂ = (x[i, :] - m_i) · r_i
//     r_i = 1 / √(mean((x[i, :] - m_i)²) + ε)
//
// with m_i the row's mean; or m_i = 0, and then without mean(g). Also m_i and r_i, for the gradient of the weight.
//
// x, d_output [rows, segments, columns], weight [segments, columns] → d_x as x; statistics [rows, 2]. All row-major; rows
// of an odd number of f16 are padded, and then segments do not merge into one row.
// One workgroup owns 128 / LANES rows, LANES invocations each, which add up in a fixed order. Three reads of x (else
// two) and two of d_output, the later ones from the cache, and one write, for some sixteen operations an element. Bound
// by bandwidth.

const LANES: u32 = 16u;          // invocations a row: a power of two up to 128
const CENTRED: bool = true;
const F16: bool = false;         // storage of all but statistics

struct Params {
  groups: u32,            // workgroups with work
  rows: u32,
  segments: u32,
  columns: u32,
  epsilon: f32,
  row_pitch: u32,         // elements between rows
  pitch: u32,             // elements between segments
  x_offset: u32,
  d_output_offset: u32,
  weight_offset: u32,
  has_weight: u32,
  vector_loads: u32,      // all may be read four columns at a time
  writes_d_x: u32,
  writes_statistics: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [rows, segments, columns], f32 or f16
@group(0) @binding(2) var<storage, read> d_output: array<vec4<u32>>;  // [rows, segments, columns]
@group(0) @binding(3) var<storage, read> weight: array<vec4<u32>>;    // [segments, columns]
@group(0) @binding(4) var<storage, read_write> output: array<u32>;    // d_x [rows, segments, columns]
@group(0) @binding(5) var<storage, read_write> statistics: array<f32>;  // [rows, 2]: m_i, r_i

const WORKGROUP: u32 = 128u;

var<workgroup> partial: array<vec3<f32>, WORKGROUP>;

// Four neighbours in a row, or as many as there are.
struct Quad {
  at: u32,      // element within the row
  count: u32,
}

fn quad_at(number: u32, segment_quads: u32) -> Quad {
  let column = 4u * (number % segment_quads);
  return Quad(number / segment_quads * params.pitch + column, min(params.columns - column, 4u));
}

// (x - pivot) - shift; zero past the last.
fn centred_quad(row: u32, quad: Quad, pivot: f32, shift: f32) -> vec4<f32> {
  let first = params.x_offset + row + quad.at;
  var values = vec4<f32>(pivot + shift);
  if params.vector_loads != 0u && quad.count == 4u {
    values = decode_quad(x[vector_of(first, F16)], first, F16);
  } else {
    for (var i = 0u; i < quad.count; i++) {
      values[i] = decode_at(x[vector_of(first + i, F16)], first + i, F16);
    }
  }
  if !CENTRED { return values; }
  return select(vec4<f32>(0.0), (values - pivot) - shift, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(quad.count));
}

fn weight_quad(quad: Quad) -> vec4<f32> {
  let first = params.weight_offset + quad.at;
  if params.vector_loads != 0u && quad.count == 4u {
    return decode_quad(weight[vector_of(first, F16)], first, F16);
  }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < quad.count; i++) {
    values[i] = decode_at(weight[vector_of(first + i, F16)], first + i, F16);
  }
  return values;
}

// d_output · weight; zero past the last.
fn gradient_quad(row: u32, quad: Quad) -> vec4<f32> {
  let first = params.d_output_offset + row + quad.at;
  var values = vec4<f32>(0.0);
  if params.vector_loads != 0u && quad.count == 4u {
    values = decode_quad(d_output[vector_of(first, F16)], first, F16);
  } else {
    for (var i = 0u; i < quad.count; i++) {
      values[i] = decode_at(d_output[vector_of(first + i, F16)], first + i, F16);
    }
  }
  if params.has_weight != 0u { values *= weight_quad(quad); }
  return values;
}

// The sums over the lanes of a row, for each of them. Every invocation must call it.
fn row_sums(values: vec3<f32>, index: u32) -> vec3<f32> {
  let lane = index % LANES;
  var sums = values;
  workgroupBarrier();
  partial[index] = sums;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      sums += partial[index + half];
      partial[index] = sums;
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
  let base = min(row, params.rows - 1u) * params.row_pitch;
  let segment_quads = (params.columns + 3u) / 4u;
  // none in rows past the end, which are here for the barriers
  let quads = select(0u, params.segments * segment_quads, row < params.rows);
  let size = f32(params.segments * params.columns);
  let one = vec4<f32>(1.0);

  var pivot = 0.0;
  var shift = 0.0;  // the mean is pivot + shift
  if CENTRED {
    let first = params.x_offset + base;
    pivot = decode_at(x[vector_of(first, F16)], first, F16);
    var sums = vec4<f32>(0.0);
    for (var i = lane; i < quads; i += LANES) { sums += centred_quad(base, quad_at(i, segment_quads), pivot, 0.0); }
    shift = row_sums(vec3<f32>(dot(sums, one), 0.0, 0.0), index).x / size;
  }
  var squares = vec4<f32>(0.0);
  var gradients = vec4<f32>(0.0);
  var products = vec4<f32>(0.0);
  for (var i = lane; i < quads; i += LANES) {
    let quad = quad_at(i, segment_quads);
    let difference = centred_quad(base, quad, pivot, shift);
    let gradient = gradient_quad(base, quad);
    squares += difference * difference;
    gradients += gradient;
    products += gradient * difference;
  }
  let sums = row_sums(vec3<f32>(dot(squares, one), dot(gradients, one), dot(products, one)), index) / size;
  let normaliser = 1.0 / sqrt(sums.x + params.epsilon);
  let mean_gradient = select(0.0, sums.y, CENTRED);
  let slope = sums.z * normaliser * normaliser;

  for (var i = lane; params.writes_d_x != 0u && i < quads; i += LANES) {
    let quad = quad_at(i, segment_quads);
    let difference = centred_quad(base, quad, pivot, shift);
    let values = (gradient_quad(base, quad) - mean_gradient - difference * slope) * normaliser;
    store_quad(base + quad.at, values, quad.count, F16);
  }
  if params.writes_statistics != 0u && lane == 0u && row < params.rows {
    statistics[2u * row] = pivot + shift;
    statistics[2u * row + 1u] = normaliser;
  }
}
