// parts: visibility, special, element, store, launch
//
// Masked softmax over rows: output[i, j] = exp(s[i, j] - m_i) / Σ_j exp(s[i, j] - m_i) with s = scale · x + mask and
// m_i the row's maximum; a key that may not be attended to gets 0, and so does a row without any key.
//
// x [B, H, Nq, Nk] at any strides → output [B, H, Nq, Nk]; optionally log_sum_exp [B, H, Nq].
// One workgroup owns 128 / LANES rows, LANES invocations each. A lane walks its columns four at a time with a running
// maximum and sum (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018), the lanes are combined in
// workgroup memory, and a second sweep writes. Two reads and one write of the matrix for some ten operations and 2¼
// exponentials an element: bound by bandwidth.

const LANES: u32 = 16u;          // invocations a row: a power of two up to 128
const IN_F16: bool = false;      // storage of x
const OUT_F16: bool = false;     // storage of output

struct Params {
  groups: u32,            // workgroups with work
  heads: u32,             // H
  rows: u32,              // B · H · Nq
  query_length: u32,      // Nq
  key_length: u32,        // Nk
  scale: f32,
  band_left: i32,         // keys, see visibility
  band_right: i32,
  query_offset: i32,
  x_strides: vec4<u32>,   // elements: batch, head, query, key
  mask_strides: vec4<u32>,
  key_mask_strides: vec2<u32>,
  x_offset: u32,
  mask_offset: u32,
  key_mask_offset: u32,
  mask_kind: u32,
  has_key_mask: u32,
  output_pitch: u32,      // elements between output rows
  vector_loads: u32,      // x may be read four columns at a time
  writes_log_sum_exp: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(2) var<storage, read> mask: array<u32>;            // broadcast to [B, H, Nq, Nk]
@group(0) @binding(3) var<storage, read> key_mask: array<u32>;        // [B, Nk], bool
@group(0) @binding(4) var<storage, read_write> output: array<u32>;    // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<u32>;  // [B, H, Nq], f32

const WORKGROUP: u32 = 128u;

var<workgroup> partial_max: array<f32, WORKGROUP>;
var<workgroup> partial_sum: array<f32, WORKGROUP>;

fn x_element(element: u32) -> f32 {
  let word = word_index(element, IN_F16);
  return decode_element(x[word >> 2u][word & 3u], element, IN_F16);
}

// Columns [key, key + 4) of the row that begins at element `row`; zero past the last.
fn x_quad(row: u32, key: u32) -> vec4<f32> {
  if params.vector_loads != 0u && key + 4u <= params.key_length {
    return decode_quad(x[quad_index(row + key, IN_F16)], row + key, IN_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = key; i < min(key + 4u, params.key_length); i++) {
    quad[i - key] = x_element(row + i * params.x_strides.w);
  }
  return quad;
}

// The masked scores of keys [key, key + 4).
fn score_quad(batch: u32, head: u32, query: u32, key: u32) -> vec4<f32> {
  let row = params.x_offset + dot(vec3<u32>(batch, head, query), params.x_strides.xyz);
  var scores = params.scale * x_quad(row, key);
  // no rounds where the row sees all four
  for (var i = select(0u, 4u, all_visible(query, query, key, key + 3u)); i < 4u; i++) {
    scores[i] = masked_score(scores[i], batch, head, query, key + i);
  }
  return scores;
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
  let first = index - lane;
  let row = linear * (WORKGROUP / LANES) + index / LANES;
  // rows past the end compute the last one again and write nothing: barriers need every invocation
  let read_row = min(row, params.rows - 1u);
  let query = read_row % params.query_length;
  let head = (read_row / params.query_length) % params.heads;
  let batch = read_row / (params.query_length * params.heads);

  var highest = HIDDEN;
  var sum = 0.0;
  for (var key = 4u * lane; key < params.key_length; key += 4u * LANES) {
    let s = score_quad(batch, head, query, key);
    let next = max(highest, max(max(s.x, s.y), max(s.z, s.w)));
    let shift = select(next, 0.0, next == HIDDEN);
    // NaN itself, not its exponential, which SwiftShader makes a number
    let p = select(exp(s - vec4<f32>(shift)), s, nan_lanes(s));
    sum = sum * exp(highest - shift) + dot(p, vec4<f32>(1.0));
    highest = next;
  }
  partial_max[index] = highest;
  partial_sum[index] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      let other = partial_max[index + half];
      let next = max(highest, other);
      let shift = select(next, 0.0, next == HIDDEN);
      sum = sum * exp(highest - shift) + partial_sum[index + half] * exp(other - shift);
      highest = next;
      partial_max[index] = highest;
      partial_sum[index] = sum;
    }
  }
  workgroupBarrier();
  highest = partial_max[first];
  sum = partial_sum[first];
  let shift = select(highest, 0.0, highest == HIDDEN);
  let is_empty = sum == 0.0;  // the largest score of any other row counts 1; NaN is not empty
  let normaliser = select(1.0 / sum, 0.0, is_empty);
  if row >= params.rows { return; }

  let base = row * params.output_pitch;
  for (var key = 4u * lane; key < params.key_length; key += 4u * LANES) {
    let s = score_quad(batch, head, query, key);
    let weights = select(exp(s - vec4<f32>(shift)) * normaliser, vec4<f32>(0.0), s == vec4<f32>(HIDDEN));
    store_quad(base + key, weights, min(params.key_length - key, 4u), OUT_F16);
  }
  if params.writes_log_sum_exp != 0u && lane == 0u {
    log_sum_exp[row] = select(bitcast<u32>(highest + log(sum)), MINUS_INFINITY_BITS, is_empty);
  }
}
