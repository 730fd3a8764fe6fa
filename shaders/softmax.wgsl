// parts: visibility, element, launch
//
// Masked softmax over rows: output[i, j] = exp(s[i, j] - m_i) / Σ_j exp(s[i, j] - m_i) with s = scale · x + mask and
// m_i the row's maximum; a key that may not be attended to gets 0, and so does a row without any key.
//
// x [B, H, Nq, Nk] at any strides → output [B, H, Nq, Nk]; optionally log_sum_exp [B, H, Nq].
// One workgroup owns 128 / LANES rows, LANES invocations each. A lane keeps a running maximum and sum over its columns
// (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018), the lanes are combined in workgroup
// memory, and a second sweep writes. Two reads and one write of the matrix: bound by bandwidth.

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
  writes_log_sum_exp: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;               // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(2) var<storage, read> mask: array<u32>;            // broadcast to [B, H, Nq, Nk]
@group(0) @binding(3) var<storage, read> key_mask: array<u32>;        // [B, Nk], bool
@group(0) @binding(4) var<storage, read_write> output: array<u32>;    // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<u32>;  // [B, H, Nq], f32

const WORKGROUP: u32 = 128u;

var<workgroup> partial_max: array<f32, WORKGROUP>;
var<workgroup> partial_sum: array<f32, WORKGROUP>;

fn score(batch: u32, head: u32, query: u32, key: u32) -> f32 {
  let element = params.x_offset + dot(vec4<u32>(batch, head, query, key), params.x_strides);
  let value = decode_element(x[word_index(element, IN_F16)], element, IN_F16);
  return masked_score(value * params.scale, batch, head, query, key);
}

fn weight(score: f32, shift: f32, normaliser: f32) -> f32 {
  return select(exp(score - shift) * normaliser, 0.0, score == HIDDEN);
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
  for (var key = lane; key < params.key_length; key += LANES) {
    let s = score(batch, head, query, key);
    let next = max(highest, s);
    let shift = select(next, 0.0, next == HIDDEN);
    sum = sum * exp(highest - shift) + exp(s - shift);
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
  if OUT_F16 {
    for (var key = 2u * lane; key < params.key_length; key += 2u * LANES) {
      var pair = vec2<f32>(weight(score(batch, head, query, key), shift, normaliser), 0.0);
      if key + 1u < params.key_length {
        pair.y = weight(score(batch, head, query, key + 1u), shift, normaliser);
      }
      output[(base + key) >> 1u] = encode_pair(pair);
    }
  } else {
    for (var key = lane; key < params.key_length; key += LANES) {
      output[base + key] = bitcast<u32>(weight(score(batch, head, query, key), shift, normaliser));
    }
  }
  if params.writes_log_sum_exp != 0u && lane == 0u {
    log_sum_exp[row] = select(bitcast<u32>(highest + log(sum)), MINUS_INFINITY_BITS, is_empty);
  }
}
