// parts: attention/forward, attention/inputs, attention/keys, attention/score, attention/values, attention/work, special, store
// The steps of fused attention in a workgroup: BLOCK_Q query rows against BLOCK_K keys at a time, with an online softmax
// (Milakov & Gimelshein 2018; Dao, FlashAttention-2, 2023). The shader that uses it goes through the keys. For a tile of keys
//
//     S = scale · Q Kᵀ + mask        [BLOCK_Q, BLOCK_K]
//     m' = max(m, rowmax S)   P = exp(S - m')   l' = l·exp(m - m') + rowsum P   O' = O·exp(m - m') + P V
//
// and O / l once at the end; log-sum-exp = m + log l. O stays in registers, not normalised. Needs VALUE_DIM, BLOCK_Q, BLOCK_K
// and WORKGROUP from the shader that uses it.
//
// The invocations form rows of 8: (x, y) owns query rows y + ROW_LANES·r, in S the keys 4·(x + 8·g) … + 3, in O the
// columns 32·c + 4·x … + 3. Head dims are staged 32 at a time, so workgroup memory does not depend on the head dim:
//
//     Q chunk [BLOCK_Q][8 + 1] vec4, K or V chunk [BLOCK_K][8 + 1] vec4, P [BLOCK_Q][BLOCK_K / 4 + 1] vec4
//
// with one vec4 of padding between rows against bank conflicts. At 32 × 32 that is 14.5 KiB with the row maxima, at
// 64 × 32 (128 invocations) 24.5 KiB.
//
// A head is 4·Nq·Nk·D floating-point operations. From L2, where the tiles of a head run together, a query tile reads K and
// V once, 8·Nk·D bytes (f32), and above 32 head dims its own rows of Q for each tile of keys, 4·Nk·D·BLOCK_Q / BLOCK_K
// bytes: 11, 16 and 21 operations per byte at 32, 64 and 128 rows by 32 keys. With R rows an invocation, a step of either
// product is 4·R fused multiply-adds on vec4 for R + 4 vec4 loads from workgroup memory.

const LANES: u32 = 8u;          // invocations along a row
const ROW_LANES: u32 = WORKGROUP / LANES;   // and across rows
const ROWS: u32 = BLOCK_Q / ROW_LANES;      // query rows per invocation
const DIM_STEP: u32 = 32u;      // head dims staged at a time
const PITCH: u32 = 9u;          // vec4s per staged row: DIM_STEP / 4 + 1
const KEY_QUADS: u32 = BLOCK_K / 4u;
const QUADS: u32 = (KEY_QUADS + 7u) / 8u;  // key quads per invocation in S
const P_PITCH: u32 = KEY_QUADS + 1u;
const CHUNKS: u32 = VALUE_DIM / DIM_STEP;  // column chunks of O

// An invocation's share of S.
alias Scores = array<vec4<f32>, ROWS * QUADS>;

// What an invocation keeps for its rows while the workgroup goes through the keys.
struct Rows {
  o: array<vec4<f32>, ROWS * CHUNKS>,
  maximum: array<f32, ROWS>,
  sum: array<f32, ROWS>,          // of this lane's keys only, until the end
}

var<workgroup> q_chunk: array<vec4<f32>, BLOCK_Q * PITCH - 1u>;
var<workgroup> kv_chunk: array<vec4<f32>, BLOCK_K * PITCH - 1u>;
var<workgroup> p_tile: array<vec4<f32>, BLOCK_Q * P_PITCH - 1u>;
var<workgroup> row_partial: array<f32, BLOCK_Q * LANES>;
// Set, and never cleared, once a staged value is not finite. From then on a weight of 0 is skipped, not multiplied, so that
// the contents of a masked key never leak. A weight of 0 times a finite value needs no such care.
var<workgroup> v_not_finite: atomic<u32>;

fn stage_q(tile: Tile, first_column: u32, lane: u32) {
  for (var i = lane; i < BLOCK_Q * 8u; i += WORKGROUP) {
    let row = tile.first_row + i / 8u;
    var quad = vec4<f32>(0.0);
    if row < tile.end_row { quad = q_quad(q_row(tile, row), first_column + 4u * (i % 8u)); }
    q_chunk[(i / 8u) * PITCH + i % 8u] = quad;
  }
}

// The staged order of keys: the eight lanes read keys 4·x + c for one c at a time, and these are neighbouring rows.
fn staged_row(key: u32) -> u32 {
  return (key & 3u) * KEY_QUADS + (key >> 2u);
}

fn stage_k(tile: Tile, first_key: u32, first_column: u32, lane: u32) {
  for (var i = lane; i < BLOCK_K * 8u; i += WORKGROUP) {
    let key = first_key + i / 8u;
    var quad = vec4<f32>(0.0);
    if key < tile.keys.y { quad = k_quad(k_row(tile, key), first_column + 4u * (i % 8u)); }
    kv_chunk[staged_row(i / 8u) * PITCH + i % 8u] = quad;
  }
}

fn stage_v(tile: Tile, first_key: u32, first_column: u32, lane: u32) {
  for (var i = lane; i < BLOCK_K * 8u; i += WORKGROUP) {
    let key = first_key + i / 8u;
    var quad = vec4<f32>(0.0);
    if key < tile.keys.y { quad = v_quad(v_row(tile, key), first_column + 4u * (i % 8u)); }
    if has_special(quad) { atomicStore(&v_not_finite, 1u); }
    kv_chunk[(i / 8u) * PITCH + i % 8u] = quad;
  }
}

// Modifies the scores of four keys, hides those that may not be attended to, and adds the mask to the others.
fn mask_quad(tile: Tile, first_key: u32, place: u32, quad: u32, is_visible: bool) {
  let row = row_of(tile, place);
  let head = head_of(tile, row);
  let query = query_of(tile, row);
  let slope = slope_of(tile.sequence, head);
  var scores = p_tile[place * P_PITCH + quad];
  for (var i = 0u; i < 4u; i++) {
    let key = first_key + 4u * quad + i;
    scores[i] = modified_score(tile.sequence, scores[i], slope, head, query, key);
    if !is_visible { scores[i] = masked_score(tile.sequence, scores[i], head, query, key); }
  }
  p_tile[place * P_PITCH + quad] = scores;
}

// The weights of four keys after dropout.
fn kept_part(tile: Tile, place: u32, first_key: u32, quad: u32, weights: vec4<f32>) -> vec4<f32> {
  if !HAS_DROPOUT { return weights; }
  let row = row_of(tile, place);
  return weights * dropout_quad(tile.sequence, head_of(tile, row), query_of(tile, row), first_key + 4u * quad);
}

// O[row, column quad] += P[row, 4 keys] · V[4 keys, column quad]
fn accumulate(o: vec4<f32>, p: vec4<f32>, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) -> vec4<f32> {
  return fma(vec4<f32>(p.w), v3, fma(vec4<f32>(p.z), v2, fma(vec4<f32>(p.y), v1, fma(vec4<f32>(p.x), v0, o))));
}

// The state of rows that have seen nothing but their sinks.
fn begin_rows(tile: Tile, lane: u32) -> Rows {
  var rows: Rows = Rows();
  for (var r = 0u; r < ROWS; r++) {
    rows.maximum[r] = sink_of(tile, row_of(tile, lane / LANES + ROW_LANES * r));
    if lane % LANES == 0u && rows.maximum[r] != HIDDEN { rows.sum[r] = 1.0; }
  }
  return rows;
}

// S of the tile's keys [first_key, first_key + BLOCK_K). `is_first` says that nothing is staged yet.
fn score_keys(tile: Tile, first_key: u32, is_first: bool, lane: u32, s: ptr<function, Scores>) {
  let x = lane % LANES;
  let y = lane / LANES;
  for (var i = 0u; i < ROWS * QUADS; i++) { (*s)[i] = vec4<f32>(0.0); }

  for (var d = 0u; d < params.inputs.head_dim; d += DIM_STEP) {
    workgroupBarrier();
    // if the head dim is one chunk, Q stays staged for all tiles of keys
    if params.inputs.head_dim > DIM_STEP || is_first { stage_q(tile, d, lane); }
    stage_k(tile, first_key, d, lane);
    workgroupBarrier();
    // the bound is known only at run time: no work past the head dim, and compilers do not unroll the loop
    let steps = (min(params.inputs.head_dim - d, DIM_STEP) + 3u) / 4u;
    for (var step = 0u; step < steps; step++) {
      for (var g = 0u; g < QUADS; g++) {
        let quad = min(x + LANES * g, KEY_QUADS - 1u);
        let k0 = kv_chunk[quad * PITCH + step];
        let k1 = kv_chunk[(quad + KEY_QUADS) * PITCH + step];
        let k2 = kv_chunk[(quad + 2u * KEY_QUADS) * PITCH + step];
        let k3 = kv_chunk[(quad + 3u * KEY_QUADS) * PITCH + step];
        for (var r = 0u; r < ROWS; r++) {
          let row = q_chunk[(y + ROW_LANES * r) * PITCH + step];
          (*s)[r * QUADS + g] += vec4<f32>(dot(row, k0), dot(row, k1), dot(row, k2), dot(row, k3));
        }
      }
    }
  }

  for (var i = 0u; i < ROWS * QUADS; i++) { (*s)[i] *= params.options.score.scale; }
}

// Applies the options that modify scores, and hides keys that may not be attended to, if there are any. The scores go through
// P's memory, so that the visibility test is compiled once and lanes run along a row of the mask.
fn modify_scores(tile: Tile, first_key: u32, is_visible: bool, lane: u32, s: ptr<function, Scores>) {
  let x = lane % LANES;
  let y = lane / LANES;
  for (var r = 0u; r < ROWS; r++) {
    for (var g = 0u; g < QUADS; g++) {
      if x + LANES * g < KEY_QUADS { p_tile[(y + ROW_LANES * r) * P_PITCH + x + LANES * g] = (*s)[r * QUADS + g]; }
    }
  }
  workgroupBarrier();
  for (var i = lane; i < BLOCK_Q * KEY_QUADS; i += WORKGROUP) {
    mask_quad(tile, first_key, i / KEY_QUADS, i % KEY_QUADS, is_visible);
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    for (var g = 0u; g < QUADS; g++) {
      (*s)[r * QUADS + g] = p_tile[(y + ROW_LANES * r) * P_PITCH + min(x + LANES * g, KEY_QUADS - 1u)];
    }
  }
}

// Computes P from S, and adds the keys to the rows.
fn add_keys(tile: Tile, first_key: u32, lane: u32, s: ptr<function, Scores>, rows: ptr<function, Rows>) {
  let x = lane % LANES;
  let y = lane / LANES;
  for (var r = 0u; r < ROWS; r++) {
    var highest = HIDDEN;
    for (var g = 0u; g < QUADS; g++) {
      // lanes past a block of fewer than 32 keys computed the last quad again
      if x + LANES * g >= KEY_QUADS { (*s)[r * QUADS + g] = vec4<f32>(HIDDEN); }
      let scores = (*s)[r * QUADS + g];
      highest = max(highest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    }
    row_partial[(y + ROW_LANES * r) * LANES + x] = highest;
  }
  workgroupBarrier();

  for (var r = 0u; r < ROWS; r++) {
    let row = y + ROW_LANES * r;
    var highest = (*rows).maximum[r];
    for (var i = 0u; i < LANES; i++) { highest = max(highest, row_partial[row * LANES + i]); }
    // a row that has seen no key yet: exp(HIDDEN - 0) is 0, exp(HIDDEN - HIDDEN) would not be
    let shift = select(highest, 0.0, highest == HIDDEN);
    let rescale = exp((*rows).maximum[r] - shift);
    (*rows).maximum[r] = highest;
    (*rows).sum[r] *= rescale;
    for (var c = 0u; c < CHUNKS; c++) { (*rows).o[r * CHUNKS + c] *= rescale; }
    for (var g = 0u; g < QUADS; g++) {
      let p = exp((*s)[r * QUADS + g] - vec4<f32>(shift));
      (*rows).sum[r] += p.x + p.y + p.z + p.w;
      if x + LANES * g < KEY_QUADS { p_tile[row * P_PITCH + x + LANES * g] = kept_part(tile, row, first_key, x + LANES * g, p); }
    }
  }

  for (var c = 0u; c < CHUNKS; c++) {
    if c * DIM_STEP >= params.inputs.value_dim { break; }
    workgroupBarrier();
    stage_v(tile, first_key, c * DIM_STEP, lane);
    workgroupBarrier();
    let guarded = atomicLoad(&v_not_finite) != 0u;
    let key_quads = (min(tile.keys.y - first_key, BLOCK_K) + 3u) / 4u;
    for (var quad = 0u; quad < key_quads; quad++) {
      let v0 = kv_chunk[(4u * quad) * PITCH + x];
      let v1 = kv_chunk[(4u * quad + 1u) * PITCH + x];
      let v2 = kv_chunk[(4u * quad + 2u) * PITCH + x];
      let v3 = kv_chunk[(4u * quad + 3u) * PITCH + x];
      for (var r = 0u; r < ROWS; r++) {
        let p = p_tile[(y + ROW_LANES * r) * P_PITCH + quad];
        if guarded {
          (*rows).o[r * CHUNKS + c] += weighted(p.x, v0) + weighted(p.y, v1) + weighted(p.z, v2) + weighted(p.w, v3);
        } else {
          (*rows).o[r * CHUNKS + c] = accumulate((*rows).o[r * CHUNKS + c], p, v0, v1, v2, v3);
        }
      }
    }
  }
}

// Writes the rows' outputs and log-sum-exps.
fn finish_rows(tile: Tile, lane: u32, rows: ptr<function, Rows>) {
  let x = lane % LANES;
  let y = lane / LANES;
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) { row_partial[(y + ROW_LANES * r) * LANES + x] = (*rows).sum[r]; }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    let place = y + ROW_LANES * r;
    let row = tile.first_row + place;
    if row >= tile.end_row { continue; }
    var sum = 0.0;
    for (var i = 0u; i < LANES; i++) { sum += row_partial[place * LANES + i]; }
    let is_empty = sum == 0.0;  // the largest score of any other row counts 1; NaN is not empty
    let normaliser = select(1.0 / sum, 0.0, is_empty);
    let base = output_row(tile, row);
    for (var c = 0u; c < CHUNKS; c++) {
      let column = c * DIM_STEP + 4u * x;
      if column < params.inputs.value_dim {
        let count = min(params.inputs.value_dim - column, 4u);
        store_quad(base + column, select((*rows).o[r * CHUNKS + c] * normaliser, vec4<f32>(0.0), is_empty), count, OUT_F16);
      }
    }
    if x == 0u { store_log_sum_exp(tile, row, (*rows).maximum[r], sum); }
  }
}
