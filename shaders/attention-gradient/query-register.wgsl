// parts: attention-gradient/exact, attention-gradient/pair, attention-gradient/query, attention/chunk, attention/inputs, attention/keys, attention/modifiers, attention/score, attention/values, attention/work, element, launch, special, store
//
// The gradient of q for GPUs: dQ = scale · dS' K, with dS' as in attention-gradient/pair, in O(length) memory, with large tiles in
// registers.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], d_output [B, H, Nq, Dv] → output dQ [B, H, Nq, D].
// One workgroup owns BLOCK_Q query rows of one head, and goes through the keys that any of them may see, BLOCK_K at a time:
//
//     S = scale · Q Kᵀ, dP = dO Vᵀ     [BLOCK_Q, BLOCK_K]
//     P = exp(S - L)   dS' = P ∘ (M ∘ dP - D) ∘ f'   dQ += dS' K
//
// Lane (x, y) of X by Y has the query rows y + Y·r, in S and dP the keys x + X·j, and in dQ the column quads x + X·c. Q and dO stay in
// workgroup memory. K and V come in chunks of STEP_QUADS quads of dims, and K once more in chunks of STEP_KEYS keys, all in the same
// memory; float16 stays packed there. The next chunk is always on its way, as in attention/register: each lane loads its share
// into registers before the present chunk is multiplied. dS' goes through workgroup memory, STEP_KEYS keys at a time.
//
// A head is 6·Nq·Nk·D floating-point operations: three products, of which two compute S and dP again. For each quad of dims a lane
// reads 16·(ROWS + KEYS) bytes of workgroup memory for 4·ROWS·KEYS multiply-adds, and for each key of dS' K 4·ROWS + 16·C bytes
// for 4·ROWS·C: 1.5 bytes a multiply-add with 4 rows, 8 keys and 2 column quads. From L2 a tile reads K twice and V once for its
// BLOCK_Q rows: 4·3·D bytes a key for 6·BLOCK_Q·D operations (f32), BLOCK_Q / 2 operations a byte.
//
// All places in workgroup memory are made of constants, lanes and loop variables with constant bounds by + * / %, and arrays in
// registers are indexed by constants once loops are unrolled; see docs/performance.md. If a number in dQ is not finite, the
// workgroup's sums are computed again from the finite part of K, and replace those that are not finite. So the contents of a masked
// key never leak.
//
// A barrier stands before each chunk is stored and after it: between them nobody reads the chunk, or dS', which is stored with a
// chunk. Dropout's bits are written before a step's first barrier, and read before the one that ends its last chunk of V. Where
// scores are masked or modified, a lane uses cells of dS's memory that no other one touches, and which no one has read
// since the first chunk of the step was stored.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

const IS_F16: bool = false;      // storage of everything; arithmetic is f32
const DIM: u32 = 32u;            // bucket of the head dim
const VALUE_DIM: u32 = 32u;      // bucket of the value dim
const BLOCK_Q: u32 = 32u;        // query rows per workgroup
const BLOCK_K: u32 = 64u;        // keys per step
const ROWS: u32 = 4u;            // query rows per lane, a multiple of 4
const KEYS: u32 = 8u;            // keys per lane
const WORKGROUP: u32 = 64u;      // lanes: X · Y
const STEP_QUADS: u32 = 4u;      // quads of dims in a chunk of K or V
const STEP_KEYS: u32 = 16u;      // keys in a chunk of K, a multiple of X
// All rows of k and v are whole vec4<u32>s.
const VECTORS: bool = false;

const X: u32 = BLOCK_K / KEYS;           // lanes along the keys of S and the columns of dQ, a divisor of 32
const Y: u32 = BLOCK_Q / ROWS;           // and along the rows of both
const ROW_QUADS: u32 = ROWS / 4u;
const Q_QUADS: u32 = DIM / 4u;
const Q_PITCH: u32 = Q_QUADS + 1u;
const V_QUADS: u32 = VALUE_DIM / 4u;
const V_PITCH: u32 = V_QUADS + 1u;
const COLUMNS: u32 = Q_QUADS / X;        // column quads of dQ per lane
const KEY_CHUNKS: u32 = BLOCK_K / STEP_KEYS;
const CHUNK_KEYS: u32 = STEP_KEYS / X;   // of dS', per lane
const P_PITCH: u32 = max(STEP_KEYS, 2u * X) + 1u;
const OTHER_ROWS: u32 = BLOCK_K;               // of a chunk of dims of K or V
const ROW_VECTORS: u32 = Q_QUADS / WIDTH;      // of a key of K
const ROW_LOADS: u32 = STEP_KEYS * ROW_VECTORS / WORKGROUP;
const LOADS: u32 = max(STEP_LOADS, ROW_LOADS);
const CHUNK: u32 = max(BLOCK_K * STEP_QUADS, STEP_KEYS * Q_QUADS);
const KEPT_WORDS: u32 = BLOCK_K / 32u;         // of a row

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  inputs: InputParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  gradient: GradientParams,
  @align(16) work: WorkParams,
  queries: QueryGradientParams,
}

@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> q_tile: array<vec4<f32>, BLOCK_Q * Q_PITCH>;                // [row][quad]
var<workgroup> d_output_tile: array<vec4<f32>, BLOCK_Q * V_PITCH>;         // [row][quad]
var<workgroup> p_tile: array<vec4<f32>, ROW_QUADS * Y * P_PITCH>;          // dS' [row quad][y][key], a vec4 of four rows
// A chunk of K or V [quad][key], turned by a key for each quad against bank conflicts, or of K [key][quad]. One of the two is used.
var<workgroup> chunk_f32: array<vec4<f32>, select(CHUNK, 1u, IS_F16)>;
var<workgroup> chunk_f16: array<vec2<u32>, select(1u, CHUNK, IS_F16)>;
// Which weights dropout keeps: bits of 32 keys, [row][word].
var<workgroup> kept: array<u32, 1u + u32(HAS_DROPOUT) * BLOCK_Q * KEPT_WORDS>;
var<workgroup> needs_repair: u32;

// 16 bytes of a key of a chunk of dims of K: load `i` of this lane.
fn k_vector(tile: Tile, lane: u32, first_key: u32, chunk: u32, i: u32) -> vec4<u32> {
  if VECTORS {
    // what does not depend on the lane is apart, for compilers to keep it in scalar registers
    let stride = params.inputs.k.strides.z / (4u * WIDTH);
    let own = lane / STEP_VECTORS * stride + lane % STEP_VECTORS;
    return k[own + (tile.k_base / (4u * WIDTH) + (first_key + WORKGROUP / STEP_VECTORS * i) * stride + chunk * STEP_VECTORS)];
  }
  let row = k_row(tile, min(first_key + (lane + WORKGROUP * i) / STEP_VECTORS, tile.keys.y - 1u));
  let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
  if IS_F16 { return encode_vector(k_quad(row, column), k_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(k_quad(row, column));
}

// The same of V.
fn v_vector(tile: Tile, lane: u32, first_key: u32, chunk: u32, i: u32) -> vec4<u32> {
  if VECTORS {
    let stride = params.inputs.v.strides.z / (4u * WIDTH);
    let own = lane / STEP_VECTORS * stride + lane % STEP_VECTORS;
    return v[own + (tile.v_base / (4u * WIDTH) + (first_key + WORKGROUP / STEP_VECTORS * i) * stride + chunk * STEP_VECTORS)];
  }
  let row = v_row(tile, min(first_key + (lane + WORKGROUP * i) / STEP_VECTORS, tile.keys.y - 1u));
  let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
  if IS_F16 { return encode_vector(v_quad(row, column), v_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(v_quad(row, column));
}

// 16 bytes of a chunk of whole keys of K. `first_key` is the chunk's.
fn k_row_vector(tile: Tile, lane: u32, first_key: u32, i: u32) -> vec4<u32> {
  let at = lane + WORKGROUP * i;
  if VECTORS {
    let stride = params.inputs.k.strides.z / (4u * WIDTH);
    let own = at / ROW_VECTORS * stride + at % ROW_VECTORS;
    return k[own + (tile.k_base / (4u * WIDTH) + first_key * stride)];
  }
  let row = k_row(tile, min(first_key + at / ROW_VECTORS, tile.keys.y - 1u));
  let column = 4u * (at % ROW_VECTORS * WIDTH);
  if IS_F16 { return encode_vector(k_quad(row, column), k_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(k_quad(row, column));
}

// One draw is for four keys, which are of different lanes.
fn draw(tile: Tile, first_key: u32, lane: u32) {
  for (var i = lane; i < BLOCK_Q * KEPT_WORDS; i += WORKGROUP) {
    let query = row_of(tile, i / KEPT_WORDS);
    var bits = 0u;
    for (var quad = 0u; quad < 8u; quad++) {
      let factors = dropout_quad(tile.sequence, tile.head, query, first_key + 32u * (i % KEPT_WORDS) + 4u * quad);
      bits |= dot(vec4<u32>(factors != vec4<f32>(0.0)), vec4<u32>(1u, 2u, 4u, 8u)) << (4u * quad);
    }
    kept[i] = bits;
  }
}

// dS' after the call's options. Dropout is in `d_weight`.
fn optional_d_score(tile: Tile, query: u32, key: u32, score: f32, d_weight: f32, is_visible: bool) -> f32 {
  let stats = row_stats(tile.sequence, tile.head, query);
  let slope = slope_of(tile.sequence, tile.head);
  return pair_of(tile.sequence, stats, slope, tile.head, query, key, score, d_weight, 1.0, is_visible).d_score;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = tile_of(index);
  if tile.first_row >= tile.end_row { return; }
  let x = lane % X;
  let y = lane / X;

  for (var i = lane; i < BLOCK_Q * Q_QUADS; i += WORKGROUP) {
    let quad = q_quad(q_row(tile, row_of(tile, i / Q_QUADS)), 4u * (i % Q_QUADS));
    q_tile[i / Q_QUADS % BLOCK_Q * Q_PITCH + i % Q_QUADS] = quad;  // % BLOCK_Q is there for Dawn
  }
  for (var i = lane; i < BLOCK_Q * V_QUADS; i += WORKGROUP) {
    let row = d_output_row(tile.sequence, tile.head, row_of(tile, i / V_QUADS));
    d_output_tile[i / V_QUADS % BLOCK_Q * V_PITCH + i % V_QUADS] = d_output_quad(row, 4u * (i % V_QUADS));
  }

  // log-sum-exp and D of the rows
  var log_sums: array<vec4<f32>, ROW_QUADS> = array<vec4<f32>, ROW_QUADS>();
  var shifts: array<vec4<f32>, ROW_QUADS> = array<vec4<f32>, ROW_QUADS>();
  for (var r = 0u; r < ROWS; r++) {
    let stats = row_stats(tile.sequence, tile.head, row_of(tile, y + Y * r));
    log_sums[r / 4u][r % 4u] = stats.x;
    shifts[r / 4u][r % 4u] = stats.y;
  }
  var gradient: array<array<vec4<f32>, COLUMNS>, ROWS> = array<array<vec4<f32>, COLUMNS>, ROWS>();

  // only a band, and the length of the keys, hide keys: found in registers
  let has_band_only = !MODIFIES_SCORES && !HAS_MASK_MOD
    && params.options.visibility.mask_kind == NO_MASK && params.options.visibility.has_key_mask == 0u;
  let k_chunks = (params.inputs.head_dim + 4u * STEP_QUADS - 1u) / (4u * STEP_QUADS);
  let v_chunks = (params.inputs.value_dim + 4u * STEP_QUADS - 1u) / (4u * STEP_QUADS);

  var staged: array<vec4<u32>, LOADS> = array<vec4<u32>, LOADS>();
  let begin = begin_key(tile, BLOCK_K);
  for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = k_vector(tile, lane, begin, 0u, i); }

  var next = begin;
  for (var first_key = begin; first_key < tile.keys.y; first_key = next) {
    next = next_key(tile, first_key + BLOCK_K);
    if HAS_DROPOUT { draw(tile, first_key, lane); }

    // S
    var s: array<array<f32, KEYS>, ROWS> = array<array<f32, KEYS>, ROWS>();
    for (var chunk = 0u; chunk < DIM / (4u * STEP_QUADS); chunk++) {
      if chunk >= k_chunks { break; }
      if 4u * (chunk + 1u) * STEP_QUADS > params.inputs.head_dim {
        let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
        for (var i = 0u; i < STEP_LOADS; i++) {
          staged[i] = select(staged[i], vec4<u32>(0u), column >= params.inputs.head_dim);
        }
      }
      workgroupBarrier();
      for (var i = 0u; i < STEP_LOADS; i++) { put_dims(lane, i, staged[i]); }
      workgroupBarrier();
      if chunk + 1u < k_chunks {
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = k_vector(tile, lane, first_key, chunk + 1u, i); }
      } else {
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = v_vector(tile, lane, first_key, 0u, i); }
      }
      for (var d = 0u; d < STEP_QUADS; d++) {
        var keys: array<vec4<f32>, KEYS> = array<vec4<f32>, KEYS>();
        for (var j = 0u; j < KEYS; j++) { keys[j] = dims_quad(d, x, j); }
        for (var r = 0u; r < ROWS; r++) {
          let row = q_tile[(y + Y * r) * Q_PITCH + chunk * STEP_QUADS + d];
          for (var j = 0u; j < KEYS; j++) {
            s[r][j] = add_dot(row, keys[j], s[r][j]);
          }
        }
      }
    }

    // dP
    var d_weights: array<array<f32, KEYS>, ROWS> = array<array<f32, KEYS>, ROWS>();
    for (var chunk = 0u; chunk < VALUE_DIM / (4u * STEP_QUADS); chunk++) {
      if chunk >= v_chunks { break; }
      if 4u * (chunk + 1u) * STEP_QUADS > params.inputs.value_dim {
        let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
        for (var i = 0u; i < STEP_LOADS; i++) {
          staged[i] = select(staged[i], vec4<u32>(0u), column >= params.inputs.value_dim);
        }
      }
      workgroupBarrier();
      for (var i = 0u; i < STEP_LOADS; i++) { put_dims(lane, i, staged[i]); }
      workgroupBarrier();
      if chunk + 1u < v_chunks {
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = v_vector(tile, lane, first_key, chunk + 1u, i); }
      } else {
        for (var i = 0u; i < ROW_LOADS; i++) { staged[i] = k_row_vector(tile, lane, first_key, i); }
      }
      for (var d = 0u; d < STEP_QUADS; d++) {
        var values: array<vec4<f32>, KEYS> = array<vec4<f32>, KEYS>();
        for (var j = 0u; j < KEYS; j++) { values[j] = dims_quad(d, x, j); }
        for (var r = 0u; r < ROWS; r++) {
          let row = d_output_tile[(y + Y * r) * V_PITCH + chunk * STEP_QUADS + d];
          for (var j = 0u; j < KEYS; j++) {
            d_weights[r][j] = add_dot(row, values[j], d_weights[r][j]);
          }
        }
      }
    }
    if HAS_DROPOUT {
      for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < KEYS; j++) {
          let bits = kept[(y + Y * r) * KEPT_WORDS + X * j / 32u] >> (x + X * j % 32u);
          d_weights[r][j] = select(0.0, params.options.dropout.scale * d_weights[r][j], (bits & 1u) != 0u);
        }
      }
    }

    // dS', in place of S
    for (var r = 0u; r < ROWS; r++) {
      for (var j = 0u; j < KEYS; j++) { s[r][j] *= params.options.score.scale; }
    }
    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    if has_band_only || (!MODIFIES_SCORES && is_visible) {
      if !is_visible {
        for (var r = 0u; r < ROWS; r++) {
          let position = i32(row_of(tile, y + Y * r)) + tile.sequence.query_offset;
          let first = position - params.options.visibility.band_left;
          let last = min(position + params.options.visibility.band_right, i32(tile.keys.y) - 1);
          for (var j = 0u; j < KEYS; j++) {
            let key = i32(first_key + x + X * j);
            s[r][j] = select(HIDDEN, s[r][j], key >= first && key <= last);
          }
        }
      }
      for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < KEYS; j++) {
          let weight = swiftshader_exp(s[r][j] - log_sums[r / 4u][r % 4u]);
          s[r][j] = select(weight * (d_weights[r][j] - shifts[r / 4u][r % 4u]), 0.0, weight == 0.0);
        }
      }
    } else {
      // The options are compiled once: the rows of one key after another go through the lane's own cells of dS's memory.
      for (var which = 0u; which < KEYS; which++) {
        for (var j = 0u; j < KEYS; j++) {
          if j == which {
            for (var g = 0u; g < ROW_QUADS; g++) {
              let cell = (g * Y + y) * P_PITCH + x;
              p_tile[cell] = vec4<f32>(s[4u * g][j], s[4u * g + 1u][j], s[4u * g + 2u][j], s[4u * g + 3u][j]);
              p_tile[cell + X] = vec4<f32>(
                d_weights[4u * g][j], d_weights[4u * g + 1u][j], d_weights[4u * g + 2u][j], d_weights[4u * g + 3u][j]);
            }
          }
        }
        for (var r = 0u; r < ROWS; r++) {
          let cell = (r / 4u * Y + y) * P_PITCH + x;
          p_tile[cell][r % 4u] = optional_d_score(
            tile, row_of(tile, y + Y * r), first_key + x + X * which,
            p_tile[cell][r % 4u], p_tile[cell + X][r % 4u], is_visible);
        }
        for (var j = 0u; j < KEYS; j++) {
          if j == which {
            for (var g = 0u; g < ROW_QUADS; g++) {
              let d_scores = p_tile[(g * Y + y) * P_PITCH + x];
              for (var e = 0u; e < 4u; e++) { s[4u * g + e][j] = d_scores[e]; }
            }
          }
        }
      }
    }

    // dQ
    for (var chunk = 0u; chunk < KEY_CHUNKS; chunk++) {
      let chunk_key = first_key + chunk * STEP_KEYS;
      if chunk_key >= tile.keys.y { break; }
      // what lies past the last key is not this call's, and must not reach a product with a weight of 0
      if chunk_key + STEP_KEYS > tile.keys.y {
        for (var i = 0u; i < ROW_LOADS; i++) {
          let key = chunk_key + (lane + WORKGROUP * i) / ROW_VECTORS;
          staged[i] = select(staged[i], vec4<u32>(0u), key >= tile.keys.y);
        }
      }
      workgroupBarrier();
      for (var i = 0u; i < ROW_LOADS; i++) {
        let at = lane + WORKGROUP * i;
        if IS_F16 {
          chunk_f16[2u * at] = staged[i].xy;
          chunk_f16[2u * at + 1u] = staged[i].zw;
        } else {
          chunk_f32[at] = bitcast<vec4<f32>>(staged[i]);
        }
      }
      // a loop around the branch, so that registers are indexed by constants
      for (var which = 0u; which < KEY_CHUNKS; which++) {
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
      if chunk + 1u < KEY_CHUNKS {
        for (var i = 0u; i < ROW_LOADS; i++) { staged[i] = k_row_vector(tile, lane, chunk_key + STEP_KEYS, i); }
      } else {
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = k_vector(tile, lane, next, 0u, i); }
      }
      for (var key = 0u; key < STEP_KEYS; key++) {
        var p: array<vec4<f32>, ROW_QUADS> = array<vec4<f32>, ROW_QUADS>();
        for (var g = 0u; g < ROW_QUADS; g++) { p[g] = p_tile[(g * Y + y) * P_PITCH + key]; }
        for (var c = 0u; c < COLUMNS; c++) {
          var value = vec4<f32>(0.0);
          if IS_F16 {
            value = decode_f16_quad(chunk_f16[key * Q_QUADS + x + X * c]);
          } else {
            value = chunk_f32[key * Q_QUADS + x + X * c];
          }
          for (var r = 0u; r < ROWS; r++) { gradient[r][c] = fma(vec4<f32>(p[r / 4u][r % 4u]), value, gradient[r][c]); }
        }
      }
    }
  }

  var is_spoilt = false;
  for (var r = 0u; r < ROWS; r++) {
    let row = tile.first_row + y + Y * r;
    if row >= tile.end_row { continue; }
    let base = d_query_row(tile, row);
    for (var c = 0u; c < COLUMNS; c++) {
      let column = 4u * (x + X * c);
      if column < params.inputs.head_dim {
        let quad = params.options.score.scale * gradient[r][c];
        is_spoilt = is_spoilt || has_special(quad);
        store_quad(base + column, quad, min(params.inputs.head_dim - column, 4u), IS_F16);
      }
    }
  }

  // Quads that are not finite are computed again. The lanes of a row compute its dS' anew, X keys at a time, and share them
  // through the memory of dS'.
  workgroupBarrier();
  p_tile[y * P_PITCH + x].x = select(0.0, 1.0, is_spoilt);
  workgroupBarrier();
  if lane == 0u {
    for (var i = 0u; i < X * Y; i++) { if p_tile[i / X * P_PITCH + i % X].x != 0.0 { needs_repair = 1u; } }
  }
  if workgroupUniformLoad(&needs_repair) == 0u { return; }
  for (var r = 0u; r < ROWS; r++) {
    let query = row_of(tile, y + Y * r);
    var sums: array<vec4<f32>, COLUMNS> = array<vec4<f32>, COLUMNS>();
    for (var first_key = tile.keys.x; first_key < tile.keys.y; first_key += X) {
      workgroupBarrier();
      let key = min(first_key + x, tile.keys.y - 1u);
      let rows = PairRows(
        q_row(tile, query), d_output_row(tile.sequence, tile.head, query), k_row(tile, key), v_row(tile, key));
      p_tile[y * P_PITCH + x].x = exact_pair(tile.sequence, tile.head, query, key, rows).d_score;
      workgroupBarrier();
      for (var i = 0u; i < min(X, tile.keys.y - first_key); i++) {
        let k_begin = k_row(tile, first_key + i);
        for (var c = 0u; c < COLUMNS; c++) {
          sums[c] += p_tile[y * P_PITCH + i].x * finite_part(k_quad(k_begin, 4u * (x + X * c)));
        }
      }
    }
    for (var c = 0u; c < COLUMNS; c++) {
      let column = 4u * (x + X * c);
      if tile.first_row + y + Y * r < tile.end_row && column < params.inputs.head_dim {
        let at = d_query_row(tile, query) + column;
        let left = params.inputs.head_dim - column;
        if has_special(stored_quad(at, left, IS_F16)) {
          store_quad(at, params.options.score.scale * sums[c], min(left, 4u), IS_F16);
        }
      }
    }
  }
}
