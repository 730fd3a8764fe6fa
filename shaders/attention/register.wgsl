// parts: attention/chunk, attention/forward, attention/inputs, attention/keys, attention/modifiers, attention/score, attention/special, attention/values, attention/work, element, launch, special, store
//
// FlashAttention forward for GPUs: O = softmax(scale · Q Kᵀ + mask) V in O(length) memory, with large tiles in registers.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], log_sum_exp [B, H, Nq].
// One workgroup owns BLOCK_Q query rows of one head, and goes through the keys that any of them may see, BLOCK_K at a time, with
// an online softmax:
//
//     S = scale · Q Kᵀ          [BLOCK_Q, BLOCK_K], modified and masked
//     m' = max(m, rowmax S)   P = exp(S - m')   l' = l · exp(m - m') + rowsum P   O' = O · exp(m - m') + P V
//
// and O / l once at the end; log-sum-exp = m + log l. Lane (x, y) of X by Y has the query rows y + Y·r, in S the keys x + X·j,
// and in O the column quads x + X·c. Q stays in workgroup memory if it fits there (HOLDS_Q). Otherwise it comes with each chunk of K.
// K comes in chunks of STEP_QUADS quads of head dims, and V in chunks of V_KEYS keys, both in the same memory; float16 stays packed
// there. The next chunk is always on its way: each lane loads its share into registers before the present chunk is multiplied.
// P goes through workgroup memory, V_KEYS keys at a time. With FROM_CACHE there are no chunks: a lane reads keys and values from
// storage where it multiplies them, and leaves the reuse by lanes of the same column to the GPU's cache.
//
// Q is not scaled by scale · log₂e in advance, which would save a multiplication of each score and of each exponent, 1 % of a
// step: its rounding differs from key to key, which makes weights wrong where logits are large (docs/performance.md).
//
// For each quad of head dims a lane reads 16·(ROWS + KEYS) bytes of workgroup memory for 4·ROWS·KEYS multiply-adds, and for
// each key 4·ROWS + 16·C bytes for 4·ROWS·C: with 8 rows and 8 keys 1 byte a multiply-add in QKᵀ, with 4 rows 1.5. From L2 a
// tile reads K and V once for its BLOCK_Q rows, and without HOLDS_Q those rows of Q once for BLOCK_K keys.
//
// All places in workgroup memory are made of constants, lanes and loop variables with constant bounds by + * / %, and arrays in
// registers are indexed by constants once loops are unrolled; see docs/performance.md. If a number in O is not finite, the
// workgroup's rows are computed again without what a weight of 0 meets, so the contents of a masked key never leak.
//
// A barrier stands before each chunk is stored and after it, around P, and with FROM_CACHE at the beginning of each step. The lanes exchange row maxima, and at the end row sums, through P's
// memory, between barriers of their own. Where scores are modified, a lane uses cells of P's memory that no other one touches.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

const IS_F16: bool = false;     // storage of q and output; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the head dim
const VALUE_DIM: u32 = 64u;     // bucket of the value dim, or of a part of it
const VALUE_PARTS: u32 = 1u;    // workgroups that share rows; each has its own columns of O, and computes all of S
const BLOCK_Q: u32 = 32u;       // query rows per workgroup
const BLOCK_K: u32 = 64u;       // keys per step of the online softmax
const ROWS: u32 = 4u;           // query rows per lane, a multiple of 4
const KEYS: u32 = 8u;           // keys per lane
const WORKGROUP: u32 = 64u;     // lanes: X · Y
const STEP_QUADS: u32 = 4u;     // quads of head dims in a chunk of K
const V_KEYS: u32 = 16u;        // keys in a chunk of V, a multiple of X
const HOLDS_Q: bool = true;     // workgroup memory holds all of the rows of Q, rather than a chunk
// The keys lie one after another, and all rows of k and v are whole vec4<u32>s.
const VECTORS: bool = false;
// K and V have no chunks: each lane reads what it multiplies from storage, which the GPU's caches serve.
const FROM_CACHE: bool = false;

const X: u32 = BLOCK_K / KEYS;           // lanes along the keys of S and the columns of O
const Y: u32 = BLOCK_Q / ROWS;           // and along the rows of both
const ROW_QUADS: u32 = ROWS / 4u;
const Q_QUADS: u32 = DIM / 4u;
const HELD_QUADS: u32 = select(STEP_QUADS, Q_QUADS, HOLDS_Q);  // of each row of Q in workgroup memory
const Q_PITCH: u32 = HELD_QUADS + 1u;
const V_QUADS: u32 = VALUE_DIM / 4u;
const COLUMNS: u32 = V_QUADS / X;        // column quads of O per lane
const K_CHUNKS: u32 = Q_QUADS / STEP_QUADS;
const V_CHUNKS: u32 = BLOCK_K / V_KEYS;
const CHUNK_KEYS: u32 = V_KEYS / X;      // of S, per lane
const P_PITCH: u32 = max(V_KEYS, X) + 1u;
const OTHER_ROWS: u32 = BLOCK_K;         // of a chunk of K
const V_VECTORS: u32 = V_QUADS / WIDTH;  // of a key
const V_LOADS: u32 = V_KEYS * V_VECTORS / WORKGROUP;
const LOADS: u32 = max(STEP_LOADS, V_LOADS);
const CHUNK: u32 = select(max(BLOCK_K * STEP_QUADS, V_KEYS * V_QUADS), 1u, FROM_CACHE);

var<workgroup> q_tile: array<vec4<f32>, BLOCK_Q * Q_PITCH>;                // [row][quad]
var<workgroup> p_tile: array<vec4<f32>, ROW_QUADS * Y * P_PITCH>;          // [row quad][y][key], a vec4 of four rows
var<workgroup> chunk_f32: array<vec4<f32>, select(CHUNK, 1u, KV_F16)>;     // a chunk of K or V: one of the two is used
var<workgroup> chunk_f16: array<vec2<u32>, select(1u, CHUNK, KV_F16)>;
var<workgroup> needs_repair: u32;

// 16 bytes of a key of the chunk of K: load `i` of this lane.
fn k_vector(tile: Tile, lane: u32, first_key: u32, chunk: u32, i: u32) -> vec4<u32> {
  if VECTORS {
    // what does not depend on the lane is apart, for compilers to keep it in scalar registers
    let stride = params.inputs.k.strides.z / (4u * WIDTH);
    let own = lane / STEP_VECTORS * stride + lane % STEP_VECTORS;
    return k[own + (tile.k_base / (4u * WIDTH) + (first_key + WORKGROUP / STEP_VECTORS * i) * stride + chunk * STEP_VECTORS)];
  }
  let key = min(first_key + (lane + WORKGROUP * i) / STEP_VECTORS, tile.keys.y - 1u);
  let row = k_row(tile, key);
  let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
  if KV_F16 { return encode_vector(k_quad(row, column), k_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(k_quad(row, column));
}

// The same of V, from column `first_column` on. `first_key` is the chunk's.
fn v_vector(tile: Tile, lane: u32, first_column: u32, first_key: u32, i: u32) -> vec4<u32> {
  let at = lane + WORKGROUP * i;
  if VECTORS {
    let stride = params.inputs.v.strides.z / (4u * WIDTH);
    let own = at / V_VECTORS * stride + at % V_VECTORS;
    return v[own + ((tile.v_base + first_column) / (4u * WIDTH) + first_key * stride)];
  }
  let row = v_row(tile, min(first_key + at / V_VECTORS, tile.keys.y - 1u));
  let column = first_column + 4u * (at % V_VECTORS * WIDTH);
  if KV_F16 { return encode_vector(v_quad(row, column), v_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(v_quad(row, column));
}

// HELD_QUADS quads of the rows of Q, from quad `first` on, to workgroup memory.
fn stage_q(tile: Tile, lane: u32, first: u32) {
  for (var i = lane; i < BLOCK_Q * HELD_QUADS; i += WORKGROUP) {
    let quad = q_quad(q_row(tile, row_of(tile, i / HELD_QUADS)), 4u * (first + i % HELD_QUADS));
    q_tile[i / HELD_QUADS % BLOCK_Q * Q_PITCH + i % HELD_QUADS] = quad;  // % BLOCK_Q is there for Dawn
  }
}

// Quad `quad` of a key, and of its value, from storage.
fn stored_key_quad(tile: Tile, key: u32, quad: u32) -> vec4<f32> {
  if VECTORS {
    let stride = params.inputs.k.strides.z / (4u * WIDTH);
    return decode_quad(k[tile.k_base / (4u * WIDTH) + key * stride + quad / WIDTH], 4u * quad, KV_F16);
  }
  return k_quad(k_row(tile, key), 4u * quad);
}

fn stored_value_quad(tile: Tile, key: u32, quad: u32) -> vec4<f32> {
  if VECTORS {
    let stride = params.inputs.v.strides.z / (4u * WIDTH);
    return decode_quad(v[tile.v_base / (4u * WIDTH) + key * stride + quad / WIDTH], 4u * quad, KV_F16);
  }
  return v_quad(v_row(tile, key), 4u * quad);
}

// A score after the call's options, HIDDEN if the key may not be attended to.
fn optional_score(tile: Tile, row: u32, key: u32, score: f32, is_visible: bool) -> f32 {
  let head = head_of(tile, row);
  let query = query_of(tile, row);
  let modified = modified_score(tile.sequence, score, slope_of(tile.sequence, head), head, query, key);
  if is_visible { return modified; }
  return masked_score(tile.sequence, modified, head, query, key);
}

// Multiplies the weights of a chunk by dropout's factors: four rows by four neighbouring keys at a time, which share draws.
fn drop_weights(tile: Tile, lane: u32, first_key: u32) {
  for (var i = lane; i < ROW_QUADS * Y * (V_KEYS / 4u); i += WORKGROUP) {
    let quad = i / (V_KEYS / 4u);
    let key = 4u * (i % (V_KEYS / 4u));
    for (var e = 0u; e < 4u; e++) {
      let row = row_of(tile, quad % Y + Y * (4u * (quad / Y) + e));
      let factors = dropout_quad(tile.sequence, head_of(tile, row), query_of(tile, row), first_key + key);
      for (var j = 0u; j < 4u; j++) { p_tile[quad * P_PITCH + key + j][e] *= factors[j]; }
    }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = tile_of(index / VALUE_PARTS);
  let first_column = index % VALUE_PARTS * VALUE_DIM;
  if tile.first_row >= tile.end_row { return; }
  let x = lane % X;
  let y = lane / X;

  if HOLDS_Q { stage_q(tile, lane, 0u); }

  // The state of rows that have seen nothing but their sinks. Sums are of this lane's keys only, until the end.
  var row_max: array<vec4<f32>, ROW_QUADS> = array<vec4<f32>, ROW_QUADS>();
  var row_sum: array<vec4<f32>, ROW_QUADS> = array<vec4<f32>, ROW_QUADS>();
  var o: array<array<vec4<f32>, COLUMNS>, ROWS> = array<array<vec4<f32>, COLUMNS>, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    let sink = sink_of(tile, row_of(tile, y + Y * r));
    row_max[r / 4u][r % 4u] = sink;
    row_sum[r / 4u][r % 4u] = select(0.0, 1.0, x == 0u && sink != HIDDEN);
  }

  // only a band, and the length of the keys, hide keys: found in registers
  let has_band_only = !MODIFIES_SCORES && !HAS_MASK_MOD
    && params.options.visibility.mask_kind == NO_MASK && params.options.visibility.has_key_mask == 0u;
  let k_chunks = (params.inputs.head_dim + 4u * STEP_QUADS - 1u) / (4u * STEP_QUADS);

  var staged: array<vec4<u32>, LOADS> = array<vec4<u32>, LOADS>();
  let begin = begin_key(tile, BLOCK_K);
  if !FROM_CACHE {
    for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = k_vector(tile, lane, begin, 0u, i); }
  }

  var next = begin;
  for (var first_key = begin; first_key < tile.keys.y; first_key = next) {
    next = next_key(tile, first_key + BLOCK_K);

    // Q is there, and P of the step before has been read; where there are chunks, their barriers say so
    if FROM_CACHE && HOLDS_Q { workgroupBarrier(); }

    // S
    var s: array<array<f32, KEYS>, ROWS> = array<array<f32, KEYS>, ROWS>();
    for (var chunk = 0u; chunk < K_CHUNKS; chunk++) {
      if chunk >= k_chunks { break; }
      if !FROM_CACHE && 4u * (chunk + 1u) * STEP_QUADS > params.inputs.head_dim {
        let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = select(staged[i], vec4<u32>(0u), column >= params.inputs.head_dim); }
      }
      if !FROM_CACHE || !HOLDS_Q { workgroupBarrier(); }
      if !HOLDS_Q { stage_q(tile, lane, chunk * STEP_QUADS); }
      if !FROM_CACHE {
        for (var i = 0u; i < STEP_LOADS; i++) { put_dims(lane, i, staged[i]); }
      }
      if !FROM_CACHE || !HOLDS_Q { workgroupBarrier(); }
      if !FROM_CACHE {
        if chunk + 1u < k_chunks {
          for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = k_vector(tile, lane, first_key, chunk + 1u, i); }
        } else {
          for (var i = 0u; i < V_LOADS; i++) { staged[i] = v_vector(tile, lane, first_column, first_key, i); }
        }
      }
      for (var d = 0u; d < STEP_QUADS; d++) {
        // what follows in storage is the next key, which may be NaN
        if FROM_CACHE && 4u * (chunk * STEP_QUADS + d) >= params.inputs.head_dim { break; }
        var keys: array<vec4<f32>, KEYS> = array<vec4<f32>, KEYS>();
        for (var j = 0u; j < KEYS; j++) {
          if FROM_CACHE {
            keys[j] = stored_key_quad(tile, min(first_key + x + X * j, tile.keys.y - 1u), chunk * STEP_QUADS + d);
          } else {
            keys[j] = dims_quad(d, x, j);
          }
        }
        for (var r = 0u; r < ROWS; r++) {
          var row = vec4<f32>(0.0);
          if HOLDS_Q { row = q_tile[(y + Y * r) * Q_PITCH + chunk * STEP_QUADS + d]; } else { row = q_tile[(y + Y * r) * Q_PITCH + d]; }
          for (var j = 0u; j < KEYS; j++) {
            s[r][j] = add_dot(row, keys[j], s[r][j]);
          }
        }
      }
    }

    for (var r = 0u; r < ROWS; r++) {
      for (var j = 0u; j < KEYS; j++) { s[r][j] *= params.options.score.scale; }
    }
    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    if has_band_only {
      if !is_visible {
        for (var r = 0u; r < ROWS; r++) {
          let position = i32(query_of(tile, row_of(tile, y + Y * r))) + tile.sequence.query_offset;
          let first = position - params.options.visibility.band_left;
          let last = min(position + params.options.visibility.band_right, i32(tile.keys.y) - 1);
          for (var j = 0u; j < KEYS; j++) {
            let key = i32(first_key + x + X * j);
            s[r][j] = select(HIDDEN, s[r][j], key >= first && key <= last);
          }
        }
      }
    } else if MODIFIES_SCORES || !is_visible {
      // The options are compiled once: the rows of one key after another go through the lane's own cells of P's memory.
      for (var which = 0u; which < KEYS; which++) {
        for (var j = 0u; j < KEYS; j++) {
          if j == which {
            for (var g = 0u; g < ROW_QUADS; g++) {
              p_tile[(g * Y + y) * P_PITCH + x] = vec4<f32>(s[4u * g][j], s[4u * g + 1u][j], s[4u * g + 2u][j], s[4u * g + 3u][j]);
            }
          }
        }
        for (var r = 0u; r < ROWS; r++) {
          let cell = (r / 4u * Y + y) * P_PITCH + x;
          p_tile[cell][r % 4u] = optional_score(
            tile, row_of(tile, y + Y * r), first_key + x + X * which, p_tile[cell][r % 4u], is_visible);
        }
        for (var j = 0u; j < KEYS; j++) {
          if j == which {
            for (var g = 0u; g < ROW_QUADS; g++) {
              let scores = p_tile[(g * Y + y) * P_PITCH + x];
              for (var e = 0u; e < 4u; e++) { s[4u * g + e][j] = scores[e]; }
            }
          }
        }
      }
    }

    // m', P and l'
    for (var g = 0u; g < ROW_QUADS; g++) {
      var highest = vec4<f32>(HIDDEN);
      for (var j = 0u; j < KEYS; j++) {
        highest = max(highest, vec4<f32>(s[4u * g][j], s[4u * g + 1u][j], s[4u * g + 2u][j], s[4u * g + 3u][j]));
      }
      p_tile[(g * Y + y) * P_PITCH + x] = highest;
    }
    workgroupBarrier();
    for (var g = 0u; g < ROW_QUADS; g++) {
      var highest = row_max[g];
      for (var i = 0u; i < X; i++) { highest = max(highest, p_tile[(g * Y + y) * P_PITCH + i]); }
      // rows that have seen no key yet: exp(HIDDEN - 0) is 0, exp(HIDDEN - HIDDEN) would not be
      let shift = select(highest, vec4<f32>(0.0), highest == vec4<f32>(HIDDEN));
      let rescale = exp(row_max[g] - shift);
      row_max[g] = highest;
      row_sum[g] *= rescale;
      for (var e = 0u; e < 4u; e++) {
        for (var j = 0u; j < KEYS; j++) {
          s[4u * g + e][j] = exp(s[4u * g + e][j] - shift[e]);
          row_sum[g][e] += s[4u * g + e][j];
        }
        for (var c = 0u; c < COLUMNS; c++) { o[4u * g + e][c] *= rescale[e]; }
      }
    }

    // O'
    for (var chunk = 0u; chunk < V_CHUNKS; chunk++) {
      let chunk_key = first_key + chunk * V_KEYS;
      if chunk_key >= tile.keys.y { break; }
      // what lies past the last key is not this call's, and must not reach a product with a weight of 0
      if !FROM_CACHE && chunk_key + V_KEYS > tile.keys.y {
        for (var i = 0u; i < V_LOADS; i++) {
          let key = chunk_key + (lane + WORKGROUP * i) / V_VECTORS;
          staged[i] = select(staged[i], vec4<u32>(0u), key >= tile.keys.y);
        }
      }
      workgroupBarrier();
      if !FROM_CACHE {
        for (var i = 0u; i < V_LOADS; i++) {
          let at = lane + WORKGROUP * i;
          if KV_F16 {
            chunk_f16[2u * at] = staged[i].xy;
            chunk_f16[2u * at + 1u] = staged[i].zw;
          } else {
            chunk_f32[at] = bitcast<vec4<f32>>(staged[i]);
          }
        }
      }
      // a loop around the branch, so that registers are indexed by constants
      for (var which = 0u; which < V_CHUNKS; which++) {
        if which == chunk {
          for (var i = 0u; i < CHUNK_KEYS; i++) {
            let j = which * CHUNK_KEYS + i;
            for (var g = 0u; g < ROW_QUADS; g++) {
              p_tile[(g * Y + y) * P_PITCH + x + X * i] =
                vec4<f32>(s[4u * g][j], s[4u * g + 1u][j], s[4u * g + 2u][j], s[4u * g + 3u][j]);
            }
          }
        }
      }
      workgroupBarrier();
      if !FROM_CACHE {
        if chunk + 1u < V_CHUNKS {
          for (var i = 0u; i < V_LOADS; i++) { staged[i] = v_vector(tile, lane, first_column, chunk_key + V_KEYS, i); }
        } else {
          for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = k_vector(tile, lane, next, 0u, i); }
        }
      }
      if HAS_DROPOUT {
        drop_weights(tile, lane, chunk_key);
        workgroupBarrier();
      }
      for (var key = 0u; key < V_KEYS; key++) {
        var p: array<vec4<f32>, ROW_QUADS> = array<vec4<f32>, ROW_QUADS>();
        for (var g = 0u; g < ROW_QUADS; g++) { p[g] = p_tile[(g * Y + y) * P_PITCH + key]; }
        for (var c = 0u; c < COLUMNS; c++) {
          var value = vec4<f32>(0.0);
          if FROM_CACHE {
            value = stored_value_quad(tile, min(chunk_key + key, tile.keys.y - 1u), first_column / 4u + x + X * c);
          } else if KV_F16 {
            value = decode_f16_quad(chunk_f16[key * V_QUADS + x + X * c]);
          } else {
            value = chunk_f32[key * V_QUADS + x + X * c];
          }
          for (var r = 0u; r < ROWS; r++) { o[r][c] = fma(vec4<f32>(p[r / 4u][r % 4u]), value, o[r][c]); }
        }
      }
    }
  }

  workgroupBarrier();
  for (var g = 0u; g < ROW_QUADS; g++) { p_tile[(g * Y + y) * P_PITCH + x] = row_sum[g]; }
  workgroupBarrier();
  var is_spoilt = false;
  for (var g = 0u; g < ROW_QUADS; g++) {
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < X; i++) { sum += p_tile[(g * Y + y) * P_PITCH + i]; }
    row_sum[g] = sum;
    for (var e = 0u; e < 4u; e++) {
      let place = y + Y * (4u * g + e);
      let row = tile.first_row + place;
      if row >= tile.end_row { continue; }
      let is_empty = sum[e] == 0.0;  // the largest score of any other row counts 1; NaN is not empty
      let normaliser = select(1.0 / sum[e], 0.0, is_empty);
      let base = output_row(tile, row);
      for (var c = 0u; c < COLUMNS; c++) {
        let column = first_column + 4u * (x + X * c);
        if column < params.inputs.value_dim {
          let quad = select(o[4u * g + e][c] * normaliser, vec4<f32>(0.0), is_empty);
          is_spoilt = is_spoilt || (has_special(quad) && !is_special(sum[e]));
          store_quad(base + column, quad, min(params.inputs.value_dim - column, 4u), OUT_F16);
        }
      }
      if x == 0u && first_column == 0u { store_log_sum_exp(tile, row, row_max[g][e], sum[e]); }
    }
  }

  // O is repaired if a sum of finite weights is not finite. The lanes of a row compute its weights anew, X keys at a time, and
  // share them through P's memory. The log-sum-exps of the rows are behind those cells.
  workgroupBarrier();
  for (var g = 0u; g < ROW_QUADS; g++) {
    p_tile[(g * Y + y) * P_PITCH + x].x = select(0.0, 1.0, is_spoilt);
    if x == 0u { p_tile[(g * Y + y) * P_PITCH + P_PITCH - 1u] = row_max[g] + log(row_sum[g]); }  // of rows that are finite
  }
  workgroupBarrier();
  if lane == 0u {
    for (var i = 0u; i < X * Y; i++) { if p_tile[i / X * P_PITCH + i % X].x != 0.0 { needs_repair = 1u; } }
  }
  if workgroupUniformLoad(&needs_repair) == 0u { return; }
  for (var r = 0u; r < ROWS; r++) {
    let row = row_of(tile, y + Y * r);
    let log_sum = p_tile[(r / 4u * Y + y) * P_PITCH + P_PITCH - 1u][r % 4u];
    var sums: array<vec4<f32>, COLUMNS> = array<vec4<f32>, COLUMNS>();
    for (var first_key = tile.keys.x; first_key < tile.keys.y; first_key += X) {
      workgroupBarrier();
      let key = min(first_key + x, tile.keys.y - 1u);
      p_tile[y * P_PITCH + x].x = weight_of(tile, row, key, log_sum);
      workgroupBarrier();
      for (var i = 0u; i < min(X, tile.keys.y - first_key); i++) {
        let v_begin = v_row(tile, first_key + i);
        for (var c = 0u; c < COLUMNS; c++) {
          sums[c] += weighted(p_tile[y * P_PITCH + i].x, v_quad(v_begin, first_column + 4u * (x + X * c)));
        }
      }
    }
    for (var c = 0u; c < COLUMNS; c++) {
      let column = first_column + 4u * (x + X * c);
      if tile.first_row + y + Y * r < tile.end_row && column < params.inputs.value_dim {
        let at = output_row(tile, row) + column;
        let left = params.inputs.value_dim - column;
        if has_special(stored_quad(at, left, OUT_F16)) { store_quad(at, sums[c], min(left, 4u), OUT_F16); }
      }
    }
  }
}
