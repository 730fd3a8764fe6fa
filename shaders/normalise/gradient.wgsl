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
// One workgroup owns 128 / LANES rows, LANES invocations each, which add up in a fixed order. On GPUs a lane keeps what it reads
// first of its row, HELD vectors of x and of d_output, so that each is read once. Other drivers, and what is not held, read x three
// times (twice if not CENTRED) and d_output twice. One write, for some sixteen operations per element. Bound by bandwidth.

const LANES: u32 = 16u;          // invocations per row: a power of two up to 128
const CENTRED: bool = true;
const F16: bool = false;         // storage of all but statistics
const HELD: u32 = 0u;            // vectors of 16 bytes, of x and of d_output each, that an invocation keeps between sweeps

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
  holds_vectors: u32,     // rows are whole vectors
  @align(16) shape: SegmentedRows,  // of x, d_output and d_x
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [rows, segments, columns], f32 or f16
@group(0) @binding(2) var<storage, read> d_output: array<vec4<u32>>;  // [rows, segments, columns]
@group(0) @binding(3) var<storage, read> weight: array<vec4<u32>>;    // [segments, columns]
@group(0) @binding(4) var<storage, read_write> output: array<u32>;    // d_x [rows, segments, columns]
@group(0) @binding(5) var<storage, read_write> statistics: array<f32>;  // [rows, 2]: m_i, r_i

const WORKGROUP: u32 = 128u;
const WIDTH: u32 = select(4u, 8u, F16);  // columns of a vector
const QUADS: u32 = WIDTH / 4u;

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
  // a single row is written as one, so that a compiler sees that its first element is the same to all
  let row = linear * (WORKGROUP / LANES) + select(index / LANES, 0u, LANES == WORKGROUP);
  let base = min(row, params.shape.rows - 1u) * params.shape.row_pitch;
  // 0 in rows past the end, which only reach the barriers
  let quads = select(0u, row_quads(), row < params.shape.rows);
  let size = f32(params.shape.segments * params.shape.columns);
  let one = vec4<f32>(1.0);

  let vectors = select(0u, quads / QUADS, params.holds_vectors != 0u);  // of a row whose vectors are held
  var first_quad = lane;  // of those that are not held
  if HELD > 0u { first_quad += select(0u, HELD * LANES * QUADS, params.holds_vectors != 0u); }
  var held = array<array<vec4<f32>, QUADS>, max(HELD, 1u)>();            // x - m_i
  var held_gradients = array<array<vec4<f32>, QUADS>, max(HELD, 1u)>();  // g
  // all loads come before their first use, so that they are on their way together
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      let words = x[(params.x_offset + base) / WIDTH + vector];
      let d_words = d_output[(params.d_output_offset + base) / WIDTH + vector];
      for (var j = 0u; j < QUADS; j++) {
        held[i][j] = decode_quad(words, 4u * j, F16);
        held_gradients[i][j] = decode_quad(d_words, 4u * j, F16);
      }
    }
  }

  var pivot = 0.0;
  var shift = 0.0;  // the mean is pivot + shift
  if CENTRED {
    let first = params.x_offset + base;
    pivot = decode_element(x[vector_of(first, F16)][component_of(first, F16)], first, F16);
    var sums = vec4<f32>(0.0);
    for (var i = 0u; i < HELD; i++) {
      if i * LANES + lane < vectors {
        for (var j = 0u; j < QUADS; j++) {
          held[i][j] -= pivot;
          sums += held[i][j];
        }
      }
    }
    for (var i = first_quad; i < quads; i += LANES) {
      sums += centred_quad(base, segment_place(i), pivot, 0.0);
    }
    shift = sum_over_lanes(dot(sums, one), index, lane, LANES) / size;
  }
  var squares = vec4<f32>(0.0);
  var gradients = vec4<f32>(0.0);
  var products = vec4<f32>(0.0);
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      if params.has_weight != 0u {
        let words = weight[params.weight_offset / WIDTH + vector];
        for (var j = 0u; j < QUADS; j++) { held_gradients[i][j] *= decode_quad(words, 4u * j, F16); }
      }
      for (var j = 0u; j < QUADS; j++) {
        if CENTRED { held[i][j] -= shift; }
        squares += held[i][j] * held[i][j];
        gradients += held_gradients[i][j];
        products += held_gradients[i][j] * held[i][j];
      }
    }
  }
  for (var i = first_quad; i < quads; i += LANES) {
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

  for (var i = 0u; params.writes_d_x != 0u && i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      for (var j = 0u; j < QUADS; j++) {
        held[i][j] = (held_gradients[i][j] - mean_gradient - held[i][j] * slope) * normaliser;
      }
      store_vector(base / WIDTH + vector, encode_vector(held[i][0], held[i][QUADS - 1u], F16));
    }
  }
  for (var i = first_quad; params.writes_d_x != 0u && i < quads; i += LANES) {
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
