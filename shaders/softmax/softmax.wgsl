// parts: attention/score, attention/sinks, softmax/row, element, launch, online-softmax, operand, special, store
//
// Masked softmax over rows: output[i, j] = exp(s[i, j] - m_i) / Σ_j exp(s[i, j] - m_i) with s = scale · x + mask and
// m_i the row's maximum. A hidden key gets 0, and so does a row without any key. With dropout, a weight is 0 or divided by
// 1 - p.
//
// x [B, H, Nq, Nk] at any strides → output [B, H, Nq, Nk]; optionally log_sum_exp [B, H, Nq], and the scores themselves.
// One workgroup owns 128 / LANES rows, LANES invocations each. A lane walks its columns four at a time with a running
// maximum and sum (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018), the lanes are combined in
// workgroup memory, and a second sweep writes. On GPUs a lane keeps what it reads first of its row, vectors of 16 bytes, so
// that rows up to HELD vectors a lane are read once; other drivers, and rows that are masked or no whole vectors, read twice.
// Some ten operations and 2¼ exponentials per element: bound by bandwidth.

const LANES: u32 = 16u;          // invocations per row: a power of two up to 128
const OUT_F16: bool = false;     // storage of output
const HELD: u32 = 0u;            // vectors of 16 bytes that an invocation keeps from the first sweep to the second

struct Params {
  groups: u32,            // workgroups with work
  heads: u32,             // H
  rows: u32,              // B · H · Nq
  output_pitch: u32,      // elements between output rows
  writes_log_sum_exp: u32,
  scores_stage: u32,      // which scores are written too: 0 none, 1 scaled, 2 capped, 3 masked
  holds_vectors: u32,     // rows are whole vectors, and only the band and the ends of sequences hide keys
  x: Operand,
  @align(16) options: OptionParams,
  @align(16) sinks: SinkParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(2) var<storage, read> mask: array<u32>;            // broadcast to [B, H, Nq, Nk]
@group(0) @binding(3) var<storage, read> key_mask: array<u32>;        // [B, Nk], bool
@group(0) @binding(4) var<storage, read> table: array<u32>;           // small inputs joined, see src/ops/internal/table.ts
@group(0) @binding(5) var<storage, read_write> output: array<u32>;    // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(6) var<storage, read_write> log_sum_exp: array<u32>;  // [B, H, Nq], f32
@group(0) @binding(7) var<storage, read_write> scores: array<u32>;    // [B, H, Nq, Nk], dtype of output

const WORKGROUP: u32 = 128u;
const WIDTH: u32 = select(4u, 8u, IN_F16);  // columns of a vector
const QUADS: u32 = WIDTH / 4u;

// The scores of keys [key, key + 4) after the stage that the caller asked for.
fn staged_quad(row: Row, key: u32) -> vec4<f32> {
  if params.scores_stage == 3u { return score_quad(row, key); }
  var quad = params.options.score.scale * x_quad(row.begin, key);
  for (var i = 0u; params.scores_stage == 2u && i < 4u; i++) { quad[i] = capped_score(quad[i]); }
  return quad;
}

// HIDDEN is written as -∞, which it is in f16 anyway.
fn store_scores(element: u32, quad: vec4<f32>, count: u32) {
  if OUT_F16 {
    scores[element >> 1u] = encode_pair(vec2<f32>(quad.x, select(0.0, quad.y, count > 1u)));
    if count > 2u { scores[(element >> 1u) + 1u] = encode_pair(vec2<f32>(quad.z, select(0.0, quad.w, count > 3u))); }
    return;
  }
  let words = select(bitcast<vec4<u32>>(quad), vec4<u32>(MINUS_INFINITY_BITS), quad == vec4<f32>(HIDDEN));
  for (var i = 0u; i < count; i++) { scores[element + i] = words[i]; }
}

fn weights_of(scores: vec4<f32>, shift: f32, normaliser: f32) -> vec4<f32> {
  return select(exp(scores - vec4<f32>(shift)) * normaliser, vec4<f32>(0.0), scores == vec4<f32>(HIDDEN));
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
  // rows past the end compute the last one again and write nothing, because barriers need every invocation
  let read_row = min(row, params.rows - 1u);
  let place = row_at(read_row);

  let sink = sink_of_head(place.head);
  var softmax = OnlineSoftmax(HIDDEN, 0.0, 0.0);
  if lane == 0u && sink != HIDDEN { softmax = OnlineSoftmax(sink, 1.0, 0.0); }
  let length = params.options.sequences.key_length;
  let vectors = select(0u, length / WIDTH, params.holds_vectors != 0u);  // of a row whose vectors are held
  var held = array<array<vec4<f32>, QUADS>, max(HELD, 1u)>();
  // all loads come before their first use, so that they are on their way together
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      let words = x[place.begin / WIDTH + vector];
      for (var j = 0u; j < QUADS; j++) { held[i][j] = decode_quad(words, 4u * j, IN_F16); }
    }
  }
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      for (var j = 0u; j < QUADS; j++) {
        held[i][j] = banded_quad(place, WIDTH * vector + 4u * j, held[i][j]);
        softmax = add_scores(softmax, held[i][j]);
      }
    }
  }
  var first = 4u * lane;  // of those that are not held
  if HELD > 0u { first += select(0u, WIDTH * HELD * LANES, params.holds_vectors != 0u); }
  for (var key = first; key < length; key += 4u * LANES) {
    softmax = add_scores(softmax, score_quad(place, key));
  }
  softmax = softmax_over_lanes(softmax, index, lane, LANES);
  let sum = softmax.sum;
  let shift = softmax_shift(softmax.highest);
  let is_empty = sum == 0.0;  // the largest score of any other row counts 1; NaN is not empty
  let normaliser = select(1.0 / sum, 0.0, is_empty);
  if row >= params.rows { return; }

  let base = row * params.output_pitch;
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      for (var j = 0u; j < QUADS; j++) { held[i][j] = weights_of(held[i][j], shift, normaliser); }
      store_vector(row * (params.output_pitch / WIDTH) + vector, encode_vector(held[i][0], held[i][QUADS - 1u], IN_F16));
    }
  }
  for (var key = first; key < length; key += 4u * LANES) {
    let weights = weights_of(score_quad(place, key), shift, normaliser) * kept_quad(place, key);
    let count = min(length - key, 4u);
    store_quad(base + key, weights, count, OUT_F16);
    if params.scores_stage != 0u { store_scores(base + key, staged_quad(place, key), count); }
  }
  if params.writes_log_sum_exp != 0u && lane == 0u {
    let value = softmax.highest + swiftshader_log(sum);
    log_sum_exp[row] = select(bitcast<u32>(value), MINUS_INFINITY_BITS, is_empty);
  }
}
