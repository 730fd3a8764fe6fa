// parts: normalise/segments, element, launch, operand, reduce, rows, store
//
// Layer normalisation over rows (Ba et al., "Layer normalization", 2016) and, if not CENTRED, root-mean-square
// normalisation (Zhang & Sennrich, "Root mean square layer normalization", 2019):
//
//     output[i, :] = (x[i, :] - m_i) / √(mean((x[i, :] - m_i)²) + ε) · weight + bias
//
// with m_i the row's mean, or 0. A row is `segments` × `columns` elements, because several axes may be normalised together.
//
// x [rows, segments, columns] at any strides, weight and bias [segments, columns] → output [rows, segments, columns].
// One workgroup owns 128 / LANES rows, LANES invocations each. If CENTRED, sums are of differences from the row's first
// element, and the variance is summed after the mean, so that no digits cancel. On GPUs an invocation keeps
// what it reads first of its row, vectors of 16 bytes, so that rows up to HELD vectors an invocation are read once. Of other
// rows, and on other drivers, three reads of x (two if not CENTRED), the later ones from the cache. Some eight operations per
// element: bound by bandwidth.

const LANES: u32 = 16u;          // invocations per row: a power of two up to 128
const CENTRED: bool = true;
const F16: bool = false;         // storage of everything
const HELD: u32 = 0u;            // vectors of 16 bytes that an invocation keeps between sweeps

struct Params {
  groups: u32,            // workgroups with work
  epsilon: f32,
  has_weight: u32,
  has_bias: u32,
  holds_vectors: u32,     // rows are one segment, and whole vectors in every operand
  @align(16) shape: SegmentedRows,  // of the output
  @align(16) x_rows: RowAxes,        // of x
  @align(16) x: MatrixOperand,       // along a row: segments and columns
  @align(16) weight: MatrixOperand,
  @align(16) bias: MatrixOperand,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;       // [rows, segments, columns], f32 or f16
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;  // [segments, columns]
@group(0) @binding(3) var<storage, read> bias: array<vec4<u32>>;    // [segments, columns]
@group(0) @binding(4) var<storage, read_write> output: array<u32>;  // [rows, segments, columns]

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

fn weight_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(weight[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(weight[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

fn bias_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(bias[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(bias[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

// (x - pivot) - shift at a place of the row that begins `row` elements after the first; zero past the last column.
fn centred_quad(row: u32, place: vec2<u32>, pivot: f32, shift: f32) -> vec4<f32> {
  var at = matrix_quad(params.x, place.x, place.y, params.shape.columns);
  at.first += row;
  let values = x_quad(at);
  if !CENTRED { return values; }
  return select(vec4<f32>(0.0), (values - pivot) - shift, first_lanes(at.count));
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
  let x_row = row_along(params.x_rows, min(row, params.shape.rows - 1u));
  // 0 in rows past the end, which only reach the barriers
  let quads = select(0u, row_quads(), row < params.shape.rows);
  let size = f32(params.shape.segments * params.shape.columns);

  let vectors = select(0u, quads / QUADS, params.holds_vectors != 0u);  // of a row whose vectors are held
  let first_quad = select(0u, HELD * LANES * QUADS, params.holds_vectors != 0u) + lane;  // of those that are not held
  var held = array<array<vec4<f32>, QUADS>, max(HELD, 1u)>();
  // all loads come before their first use, so that they are on their way together
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      let words = x[(params.x.offset + x_row) / WIDTH + vector];
      for (var j = 0u; j < QUADS; j++) { held[i][j] = decode_quad(words, 4u * j, F16); }
    }
  }

  var pivot = 0.0;
  var shift = 0.0;  // the mean is pivot + shift
  if CENTRED {
    let first = params.x.offset + x_row;
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
      sums += centred_quad(x_row, segment_place(i), pivot, 0.0);
    }
    shift = sum_over_lanes(dot(sums, vec4<f32>(1.0)), index, lane, LANES) / size;
  }
  var squares = vec4<f32>(0.0);
  for (var i = 0u; i < HELD; i++) {
    if i * LANES + lane < vectors {
      for (var j = 0u; j < QUADS; j++) {
        if CENTRED { held[i][j] -= shift; }
        squares += held[i][j] * held[i][j];
      }
    }
  }
  for (var i = first_quad; i < quads; i += LANES) {
    let difference = centred_quad(x_row, segment_place(i), pivot, shift);
    squares += difference * difference;
  }
  let variance = sum_over_lanes(dot(squares, vec4<f32>(1.0)), index, lane, LANES) / size;
  let normaliser = 1.0 / sqrt(variance + params.epsilon);

  let base = row * params.shape.row_pitch;
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      for (var j = 0u; j < QUADS; j++) { held[i][j] *= normaliser; }
      if params.has_weight != 0u {
        let words = weight[params.weight.offset / WIDTH + vector];
        for (var j = 0u; j < QUADS; j++) { held[i][j] *= decode_quad(words, 4u * j, F16); }
      }
      if params.has_bias != 0u {
        let words = bias[params.bias.offset / WIDTH + vector];
        for (var j = 0u; j < QUADS; j++) { held[i][j] += decode_quad(words, 4u * j, F16); }
      }
      store_vector(row * (params.shape.row_pitch / WIDTH) + vector, encode_vector(held[i][0], held[i][QUADS - 1u], F16));
    }
  }
  for (var i = first_quad; i < quads; i += LANES) {
    let place = segment_place(i);
    var values = centred_quad(x_row, place, pivot, shift) * normaliser;
    if params.has_weight != 0u { values *= weight_quad(matrix_quad(params.weight, place.x, place.y, params.shape.columns)); }
    if params.has_bias != 0u { values += bias_quad(matrix_quad(params.bias, place.x, place.y, params.shape.columns)); }
    store_quad(base + place_offset(place), values, min(params.shape.columns - place.y, 4u), F16);
  }
}
