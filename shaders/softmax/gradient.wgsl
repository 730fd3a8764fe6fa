// parts: attention/score, attention/sinks, softmax/row, element, launch, online-softmax, operand, reduce, store
//
// Gradient of the masked softmax over rows (see softmax.wgsl), of its weights W = P ∘ R (R is 0 or 1 / (1 - p) with
// dropout, else 1) and of the log-sum-exp of the scores s:
//
//     d_s[i, j] = P[i, j] (R[i, j] d_weights[i, j] - D_i + d_lse_i)      D_i = Σ_j P[i, j] R[i, j] d_weights[i, j]
//     d_x = scale · d_s · ∂ s / ∂ (scale · x)                            d_sink_i = P[i, sink] (d_lse_i - D_i)
//
// P is computed again from x. A hidden key has the gradient 0, whatever d_weights holds, and so does a row without keys.
//
// x, d_weights [B, H, Nq, Nk] at any strides, row_values [B, H, Nq] → output as x. Optionally it also writes d_scores = d_s,
// whose sum is the float mask's gradient, and row_values, in place.
// One workgroup owns 128 / LANES rows, LANES invocations each. A lane walks its columns four at a time with a running
// maximum, sum, and sum with d_weights (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018), the
// lanes are combined in workgroup memory in a fixed order, and a second sweep writes. On GPUs a lane keeps what it reads first of
// its row, HELD vectors of x and of d_weights, so that each is read once, as in softmax.wgsl; other rows read both twice. Some
// sixteen operations and 2¼ exponentials per element: bound by bandwidth.

const LANES: u32 = 16u;          // invocations per row: a power of two up to 128
const OUT_F16: bool = false;     // storage of d_weights and output
const HELD: u32 = 0u;            // vectors of 16 bytes, of x and of d_weights each, that an invocation keeps between sweeps

struct Params {
  groups: u32,            // workgroups with work
  heads: u32,             // H
  rows: u32,              // B · H · Nq
  output_pitch: u32,      // elements between output rows
  has_d_log_sum_exp: u32, // row_values holds it
  writes_d_sinks: u32,    // into row_values
  writes_d_scores: u32,
  holds_vectors: u32,     // rows are whole vectors, and only the band and the ends of sequences hide keys
  d_weights: Operand,
  x: Operand,
  @align(16) options: OptionParams,
  @align(16) sinks: SinkParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(2) var<storage, read> mask: array<u32>;            // broadcast to [B, H, Nq, Nk]
@group(0) @binding(3) var<storage, read> key_mask: array<u32>;        // [B, Nk], bool
@group(0) @binding(4) var<storage, read> table: array<u32>;           // small inputs joined, see src/ops/internal/table.ts
@group(0) @binding(5) var<storage, read> d_weights: array<vec4<u32>>; // [B, H, Nq, Nk], f32 or f16
@group(0) @binding(6) var<storage, read_write> row_values: array<f32>;  // [B, H, Nq]: d_lse, then the sink's gradient
@group(0) @binding(7) var<storage, read_write> output: array<u32>;    // d_x [B, H, Nq, Nk], f32 or f16
@group(0) @binding(8) var<storage, read_write> d_scores: array<f32>;  // [B, H, Nq, Nk]

const WORKGROUP: u32 = 128u;
const WIDTH: u32 = select(4u, 8u, OUT_F16);  // columns of a vector
const QUADS: u32 = WIDTH / 4u;

fn d_weights_at(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(d_weights[vector_of(at.first, OUT_F16)], at.first, OUT_F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(d_weights[vector_of(element, OUT_F16)][component_of(element, OUT_F16)], element, OUT_F16);
  }
  return quad;
}

// R ∘ d_weights of keys [key, key + 4) of the row that begins at element `begin`. It is 0 for dropped and hidden keys, whatever
// d_weights holds.
fn d_weights_quad(row: Row, begin: u32, key: u32, is_hidden: vec4<bool>) -> vec4<f32> {
  let quad = d_weights_at(operand_quad(params.d_weights, begin, key, params.options.sequences.key_length));
  let kept = kept_quad(row, key);
  return select(kept * quad, vec4<f32>(0.0), is_hidden | (kept == vec4<f32>(0.0)));
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
  let d_begin = row_of_operand(params.d_weights, vec3<u32>(
    read_row / (params.options.sequences.query_length * params.heads),
    read_row / params.options.sequences.query_length % params.heads,
    read_row % params.options.sequences.query_length,
  ));
  let hidden = vec4<f32>(HIDDEN);

  let sink = sink_of_head(place.head);
  var softmax = OnlineSoftmax(HIDDEN, 0.0, 0.0);  // and with it the sum of R ∘ d_weights
  if lane == 0u && sink != HIDDEN { softmax = OnlineSoftmax(sink, 1.0, 0.0); }
  let length = params.options.sequences.key_length;
  let vectors = select(0u, length / WIDTH, params.holds_vectors != 0u);  // of a row whose vectors are held
  var first_key = 4u * lane;  // of those that are not held
  if HELD > 0u { first_key += select(0u, WIDTH * HELD * LANES, params.holds_vectors != 0u); }
  var held = array<array<vec4<f32>, QUADS>, max(HELD, 1u)>();           // scores
  var held_d_weights = array<array<vec4<f32>, QUADS>, max(HELD, 1u)>();
  // all loads come before their first use, so that they are on their way together
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      let words = x[place.begin / WIDTH + vector];
      let d_words = d_weights[d_begin / WIDTH + vector];
      for (var j = 0u; j < QUADS; j++) {
        held[i][j] = decode_quad(words, 4u * j, OUT_F16);
        held_d_weights[i][j] = decode_quad(d_words, 4u * j, OUT_F16);
      }
    }
  }
  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      for (var j = 0u; j < QUADS; j++) {
        held[i][j] = banded_quad(place, WIDTH * vector + 4u * j, held[i][j]);
        held_d_weights[i][j] = select(held_d_weights[i][j], vec4<f32>(0.0), held[i][j] == hidden);
        softmax = add_weighted_scores(softmax, held[i][j], held_d_weights[i][j]);
      }
    }
  }
  for (var key = first_key; key < length; key += 4u * LANES) {
    let s = score_quad(place, key);
    softmax = add_weighted_scores(softmax, s, d_weights_quad(place, d_begin, key, s == hidden));
  }
  softmax = softmax_over_lanes(softmax, index, lane, LANES);
  let shift = softmax_shift(softmax.highest);
  let is_empty = softmax.sum == 0.0;  // the largest score of any other row counts 1; NaN is not empty
  let normaliser = select(1.0 / softmax.sum, 0.0, is_empty);
  var change = sum_over_lanes(softmax.product, index, lane, LANES) * normaliser;  // D - d_lse
  if params.has_d_log_sum_exp != 0u { change -= row_values[read_row]; }
  change = select(change, 0.0, is_empty);
  storageBarrier();  // every lane has read d_lse
  if row >= params.rows { return; }
  if params.writes_d_sinks != 0u && lane == 0u {
    row_values[row] = -exp(sink - shift) * normaliser * change;
  }

  for (var i = 0u; i < HELD; i++) {
    let vector = i * LANES + lane;
    if vector < vectors {
      for (var j = 0u; j < QUADS; j++) {
        let p = exp(held[i][j] - vec4<f32>(shift)) * normaliser;
        let d_x = params.options.score.scale * p * (held_d_weights[i][j] - change);
        held[i][j] = select(d_x, vec4<f32>(0.0), held[i][j] == hidden);
      }
      store_vector(row * (params.output_pitch / WIDTH) + vector, encode_vector(held[i][0], held[i][QUADS - 1u], OUT_F16));
    }
  }
  for (var key = first_key; key < length; key += 4u * LANES) {
    let s = score_quad(place, key);
    let is_hidden = s == hidden;
    let p = exp(s - vec4<f32>(shift)) * normaliser;
    let d_s = select(p * (d_weights_quad(place, d_begin, key, is_hidden) - change), vec4<f32>(0.0), is_hidden);
    var d_x = params.options.score.scale * d_s;
    let count = min(length - key, 4u);
    if MODIFIES_SCORES {
      let raw = params.options.score.scale * x_quad(place.begin, key);
      let first = key - place.sequence.first_key;
      for (var i = 0u; i < count; i++) {
        let derivative =
          score_derivative(place.sequence, raw[i], place.slope, place.head, place.query, first + i);
        d_x[i] = select(d_x[i] * derivative, 0.0, is_hidden[i]);
      }
    }
    store_quad(row * params.output_pitch + key, d_x, count, OUT_F16);
    for (var i = 0u; params.writes_d_scores != 0u && i < count; i++) {
      d_scores[row * length + key + i] = d_s[i];
    }
  }
}
