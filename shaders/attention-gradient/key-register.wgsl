// parts: attention-gradient/exact, attention-gradient/key, attention-gradient/pair, attention-gradient/value-output, attention/chunk, attention/inputs, attention/keys, attention/modifiers, attention/score, attention/values, element, launch, special, store
//
// The gradients of k and v for GPUs: dK = scale · dS'ᵀ Q and dV = (P ∘ M)ᵀ dO, as in attention-gradient/pair, in O(length) memory,
// with large tiles in registers.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], d_output [B, H, Nq, Dv] → dK [B, Hkv, Nk, D] and dV [B, Hkv, Nk, Dv].
// One workgroup owns BLOCK_K keys of one key head. For each query head that reads it, one after the other, it goes through the
// queries whose bands hold any of its keys, BLOCK_Q at a time:
//
//     S = scale · K Qᵀ, dP = V dOᵀ     [BLOCK_K, BLOCK_Q]
//     P = exp(S - L)   dS' = P ∘ (M ∘ dP - D) ∘ f'   dV += (P ∘ M) dO   dK += dS' Q
//
// So one workgroup sums every gradient, over a group's heads too, and repeating it gives the same bits. Keys that no query
// sees get 0. The kernel is attention-gradient/query-register with the sides exchanged: lane (x, y) of X by Y has the keys y + Y·r, in
// S and dP the queries x + X·j, and in dK and dV the column quads x + X·c. K and V stay in workgroup memory. Q and dO come twice
// each, in chunks of STEP_QUADS quads of dims and in chunks of STEP_QUERIES queries, all in the same memory, and the next chunk is
// always on its way into registers. P ∘ M goes through workgroup memory with dO, and dS' with Q.
//
// A head is 8·Nq·Nk·D floating-point operations: four products, of which two compute S and dP again. With 4 keys, 8 queries and 2
// column quads a lane reads 1.5 bytes of workgroup memory a multiply-add. From L2 a tile reads Q and dO twice for its BLOCK_K
// keys: 4·4·D bytes a query for 8·BLOCK_K·D operations (f32), BLOCK_K / 2 operations a byte.
//
// Places in workgroup memory and registers are as in that kernel. If a number in dK or dV is not finite, the
// workgroup's sums are computed again without what a weight of 0 meets, and replace those that are not finite. So the contents of
// a masked key never leak.
//
// A barrier stands before each chunk is stored and after it: between them nobody reads the chunk, or P or dS', which are stored with
// a chunk. Statistics and dropout's bits are written before a step's first barrier, and read before the one that ends its last
// chunk of dims. Where scores are masked or modified, a lane uses cells of P's memory that no other one touches, and which
// no one has read since the first chunk of the step was stored.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

const IS_F16: bool = false;      // storage of everything; arithmetic is f32
const DIM: u32 = 32u;            // bucket of the head dim
const VALUE_DIM: u32 = 32u;      // bucket of the value dim
const BLOCK_Q: u32 = 64u;        // queries per step
const BLOCK_K: u32 = 32u;        // keys per workgroup
const QUERIES: u32 = 8u;         // queries per lane
const KEYS: u32 = 4u;            // keys per lane, a multiple of 4
const WORKGROUP: u32 = 64u;      // lanes: X · Y
const STEP_QUADS: u32 = 4u;      // quads of dims in a chunk of Q or dO
const STEP_QUERIES: u32 = 16u;   // queries in a chunk of Q or dO, a multiple of X
// All rows of q and d_output are whole vec4<u32>s.
const VECTORS: bool = false;

const X: u32 = BLOCK_Q / QUERIES;        // lanes along the queries of S and the columns of the gradients
const Y: u32 = BLOCK_K / KEYS;           // and along the keys of both
const KEY_QUADS: u32 = KEYS / 4u;
const KEPT_WORDS: u32 = (BLOCK_K + 31u) / 32u;  // of a query
const K_QUADS: u32 = DIM / 4u;
const K_PITCH: u32 = K_QUADS + 1u;
const V_QUADS: u32 = VALUE_DIM / 4u;
const V_PITCH: u32 = V_QUADS + 1u;
const K_COLUMNS: u32 = K_QUADS / X;      // column quads of dK per lane
const V_COLUMNS: u32 = V_QUADS / X;      // and of dV
const QUERY_CHUNKS: u32 = BLOCK_Q / STEP_QUERIES;
const CHUNK_QUERIES: u32 = STEP_QUERIES / X;  // of S, per lane
const P_PITCH: u32 = max(STEP_QUERIES, 2u * X) + 1u;
const OTHER_ROWS: u32 = BLOCK_Q;               // of a chunk of dims of Q or dO
const K_VECTORS: u32 = K_QUADS / WIDTH;        // of a query of Q
const V_VECTORS: u32 = V_QUADS / WIDTH;        // and of dO
const K_LOADS: u32 = STEP_QUERIES * K_VECTORS / WORKGROUP;
const V_LOADS: u32 = STEP_QUERIES * V_VECTORS / WORKGROUP;
const LOADS: u32 = max(STEP_LOADS, max(K_LOADS, V_LOADS));
const CHUNK: u32 = max(BLOCK_Q * STEP_QUADS, STEP_QUERIES * max(K_QUADS, V_QUADS));

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  inputs: InputParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  gradient: GradientParams,
  @align(16) keys: KeyGradientParams,
}

@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> k_tile: array<vec4<f32>, BLOCK_K * K_PITCH>;                // [key][quad]
var<workgroup> v_tile: array<vec4<f32>, BLOCK_K * V_PITCH>;                // [key][quad]
var<workgroup> p_tile: array<vec4<f32>, KEY_QUADS * Y * P_PITCH>;          // P ∘ M or dS' [key quad][y][query], a vec4 of four keys
// A chunk of Q or dO: [quad][query], turned by a query for each quad against bank conflicts, or [query][quad]. One of the two is used.
var<workgroup> chunk_f32: array<vec4<f32>, select(CHUNK, 1u, IS_F16)>;
var<workgroup> chunk_f16: array<vec2<u32>, select(1u, CHUNK, IS_F16)>;
var<workgroup> stats_tile: array<vec2<f32>, BLOCK_Q>;                      // log-sum-exp and D of the step's queries
// Which weights dropout keeps: bits of 32 keys, [word][query].
var<workgroup> kept: array<u32, 1u + u32(HAS_DROPOUT) * KEPT_WORDS * BLOCK_Q>;
var<workgroup> needs_repair: u32;

// A step: BLOCK_Q queries of a head, from one on.
struct Step {
  head: u32,
  query: u32,
}

// The step at a query of a head, or if there is no more of that head the first one of a later head. After the last step the
// head is past the group's.
fn step_at(tile: KeyTile, head: u32, query: u32) -> Step {
  let end = (tile.kv_head + 1u) * params.inputs.group_size;
  var step = Step(head, query);
  while step.query >= tile.queries.y && step.head < end {
    step.head += 1u;
    if step.head < end { step.query = begin_query(tile, step.head); }
  }
  return step;
}

// 16 bytes of a query of a chunk of dims of Q: load `i` of this lane.
fn q_vector(tile: KeyTile, lane: u32, step: Step, chunk: u32, i: u32) -> vec4<u32> {
  let base = query_row(tile.sequence, step.head, 0u);
  if VECTORS {
    // what does not depend on the lane is apart, for compilers to keep it in scalar registers
    let stride = params.inputs.q.strides.z / (4u * WIDTH);
    let own = lane / STEP_VECTORS * stride + lane % STEP_VECTORS;
    return q[own + (base / (4u * WIDTH) + (step.query + WORKGROUP / STEP_VECTORS * i) * stride + chunk * STEP_VECTORS)];
  }
  let query = min(step.query + (lane + WORKGROUP * i) / STEP_VECTORS, tile.queries.y - 1u);
  let row = base + query * params.inputs.q.strides.z;
  let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
  if IS_F16 { return encode_vector(q_quad(row, column), q_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(q_quad(row, column));
}

// The same of dO.
fn d_output_vector(tile: KeyTile, lane: u32, step: Step, chunk: u32, i: u32) -> vec4<u32> {
  let base = d_output_row(tile.sequence, step.head, 0u);
  if VECTORS {
    let stride = params.gradient.d_output.strides.z / (4u * WIDTH);
    let own = lane / STEP_VECTORS * stride + lane % STEP_VECTORS;
    return d_output[own + (base / (4u * WIDTH) + (step.query + WORKGROUP / STEP_VECTORS * i) * stride + chunk * STEP_VECTORS)];
  }
  let query = min(step.query + (lane + WORKGROUP * i) / STEP_VECTORS, tile.queries.y - 1u);
  let row = base + query * params.gradient.d_output.strides.z;
  let column = 4u * (chunk * STEP_QUADS + lane % STEP_VECTORS * WIDTH);
  if IS_F16 { return encode_vector(d_output_quad(row, column), d_output_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(d_output_quad(row, column));
}

// 16 bytes of a chunk of whole queries of Q, from `first_query` on.
fn q_row_vector(tile: KeyTile, lane: u32, head: u32, first_query: u32, i: u32) -> vec4<u32> {
  let base = query_row(tile.sequence, head, 0u);
  let at = lane + WORKGROUP * i;
  if VECTORS {
    let stride = params.inputs.q.strides.z / (4u * WIDTH);
    let own = at / K_VECTORS * stride + at % K_VECTORS;
    return q[own + (base / (4u * WIDTH) + first_query * stride)];
  }
  let row = base + min(first_query + at / K_VECTORS, tile.queries.y - 1u) * params.inputs.q.strides.z;
  let column = 4u * (at % K_VECTORS * WIDTH);
  if IS_F16 { return encode_vector(q_quad(row, column), q_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(q_quad(row, column));
}

// The same of dO.
fn d_output_row_vector(tile: KeyTile, lane: u32, head: u32, first_query: u32, i: u32) -> vec4<u32> {
  let base = d_output_row(tile.sequence, head, 0u);
  let at = lane + WORKGROUP * i;
  if VECTORS {
    let stride = params.gradient.d_output.strides.z / (4u * WIDTH);
    let own = at / V_VECTORS * stride + at % V_VECTORS;
    return d_output[own + (base / (4u * WIDTH) + first_query * stride)];
  }
  let row = base + min(first_query + at / V_VECTORS, tile.queries.y - 1u) * params.gradient.d_output.strides.z;
  let column = 4u * (at % V_VECTORS * WIDTH);
  if IS_F16 { return encode_vector(d_output_quad(row, column), d_output_quad(row, column + 4u), true); }
  return bitcast<vec4<u32>>(d_output_quad(row, column));
}

// Which of the tile's keys from `first` on, at most 32, dropout keeps for a query.
fn draw(tile: KeyTile, head: u32, query: u32, first: u32) -> u32 {
  var bits = 0u;
  for (var key = 0u; key < min(BLOCK_K, 32u); key += 4u) {
    let factors = dropout_quad(tile.sequence, head, query, tile.first_key + first + key);
    bits |= dot(vec4<u32>(factors != vec4<f32>(0.0)), vec4<u32>(1u, 2u, 4u, 8u)) << key;
  }
  return bits;
}

// Dropout's factor of a pair of this lane: its key y + Y·r, and its query.
fn kept_factor(query: u32, y: u32, r: u32) -> f32 {
  let bits = kept[Y * r / 32u * BLOCK_Q + query] >> (y + Y * r % 32u);
  return select(0.0, params.options.dropout.scale, (bits & 1u) != 0u);
}

// P and dS' after the call's options. Dropout is in `d_weight`, and not in P.
fn optional_pair(tile: KeyTile, head: u32, query: u32, key: u32, score: f32, d_weight: f32, is_visible: bool) -> Pair {
  if query >= tile.queries.y { return Pair(0.0, 0.0, 0.0); }
  let stats = row_stats(tile.sequence, head, query);
  return pair_of(
    tile.sequence, stats, slope_of(tile.sequence, head), head, query, key, score, d_weight, 1.0, is_visible);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = key_tile_of(index);
  if tile.first_key >= tile.end_key { return; }
  let x = lane % X;
  let y = lane / X;

  // rows past the tile's last hold the last row again, and are not written; % BLOCK_K is there for Dawn
  for (var i = lane; i < BLOCK_K * K_QUADS; i += WORKGROUP) {
    let key = min(tile.first_key + i / K_QUADS, tile.end_key - 1u);
    let quad = k_quad(tile.k_base + key * params.inputs.k.strides.z, 4u * (i % K_QUADS));
    k_tile[i / K_QUADS % BLOCK_K * K_PITCH + i % K_QUADS] = quad;
  }
  for (var i = lane; i < BLOCK_K * V_QUADS; i += WORKGROUP) {
    let key = min(tile.first_key + i / V_QUADS, tile.end_key - 1u);
    let quad = v_quad(tile.v_base + key * params.inputs.v.strides.z, 4u * (i % V_QUADS));
    v_tile[i / V_QUADS % BLOCK_K * V_PITCH + i % V_QUADS] = quad;
  }

  var d_key: array<array<vec4<f32>, K_COLUMNS>, KEYS> = array<array<vec4<f32>, K_COLUMNS>, KEYS>();
  var d_value: array<array<vec4<f32>, V_COLUMNS>, KEYS> = array<array<vec4<f32>, V_COLUMNS>, KEYS>();

  // only a band, and the length of the keys, hide keys: found in registers
  let has_band_only = !MODIFIES_SCORES && !HAS_MASK_MOD
    && params.options.visibility.mask_kind == NO_MASK && params.options.visibility.has_key_mask == 0u;
  let k_chunks = (params.inputs.head_dim + 4u * STEP_QUADS - 1u) / (4u * STEP_QUADS);
  let v_chunks = (params.inputs.value_dim + 4u * STEP_QUADS - 1u) / (4u * STEP_QUADS);

  var staged: array<vec4<u32>, LOADS> = array<vec4<u32>, LOADS>();
  let first_head = tile.kv_head * params.inputs.group_size;
  let end_head = first_head + params.inputs.group_size;
  let begin = step_at(tile, first_head, begin_query(tile, first_head));
  for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = q_vector(tile, lane, begin, 0u, i); }

  var next = begin;
  for (var step = begin; step.head < end_head; step = next) {
    next = step_at(tile, step.head, next_query(tile, step.head, step.query + BLOCK_Q));
    for (var i = 0u; i < (BLOCK_Q + WORKGROUP - 1u) / WORKGROUP; i++) {
      if lane + WORKGROUP * i >= BLOCK_Q { break; }
      let place = (lane + WORKGROUP * i) % BLOCK_Q;  // % BLOCK_Q is there for Dawn
      let query = min(step.query + place, tile.queries.y - 1u);
      stats_tile[place] = row_stats(tile.sequence, step.head, query);
      for (var word = 0u; HAS_DROPOUT && word < KEPT_WORDS; word++) {
        kept[word * BLOCK_Q + place] = draw(tile, step.head, query, 32u * word);
      }
    }

    // S
    var s: array<array<f32, QUERIES>, KEYS> = array<array<f32, QUERIES>, KEYS>();
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
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = q_vector(tile, lane, step, chunk + 1u, i); }
      } else {
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = d_output_vector(tile, lane, step, 0u, i); }
      }
      for (var d = 0u; d < STEP_QUADS; d++) {
        var queries: array<vec4<f32>, QUERIES> = array<vec4<f32>, QUERIES>();
        for (var j = 0u; j < QUERIES; j++) { queries[j] = dims_quad(d, x, j); }
        for (var r = 0u; r < KEYS; r++) {
          let row = k_tile[(y + Y * r) * K_PITCH + chunk * STEP_QUADS + d];
          for (var j = 0u; j < QUERIES; j++) {
            s[r][j] = add_dot(row, queries[j], s[r][j]);
          }
        }
      }
    }

    // dP
    var d_weights: array<array<f32, QUERIES>, KEYS> = array<array<f32, QUERIES>, KEYS>();
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
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = d_output_vector(tile, lane, step, chunk + 1u, i); }
      } else {
        for (var i = 0u; i < V_LOADS; i++) { staged[i] = d_output_row_vector(tile, lane, step.head, step.query, i); }
      }
      for (var d = 0u; d < STEP_QUADS; d++) {
        var queries: array<vec4<f32>, QUERIES> = array<vec4<f32>, QUERIES>();
        for (var j = 0u; j < QUERIES; j++) { queries[j] = dims_quad(d, x, j); }
        for (var r = 0u; r < KEYS; r++) {
          let row = v_tile[(y + Y * r) * V_PITCH + chunk * STEP_QUADS + d];
          for (var j = 0u; j < QUERIES; j++) {
            d_weights[r][j] = add_dot(row, queries[j], d_weights[r][j]);
          }
        }
      }
    }
    if HAS_DROPOUT {
      for (var r = 0u; r < KEYS; r++) {
        for (var j = 0u; j < QUERIES; j++) {
          let factor = kept_factor(x + X * j, y, r);
          d_weights[r][j] = select(factor * d_weights[r][j], 0.0, factor == 0.0);
        }
      }
    }

    // P in place of S, and dS' in place of dP
    for (var r = 0u; r < KEYS; r++) {
      for (var j = 0u; j < QUERIES; j++) { s[r][j] *= params.options.score.scale; }
    }
    let last_query = step.query + BLOCK_Q - 1u;
    let is_visible = last_query < tile.queries.y && key_tile_is_seen(tile, step.head, step.query, last_query);
    if has_band_only || (!MODIFIES_SCORES && is_visible) {
      if !is_visible {
        for (var j = 0u; j < QUERIES; j++) {
          let query = step.query + x + X * j;
          let position = i32(query) + tile.sequence.query_offset;
          let first = position - params.options.visibility.band_left;
          let end = min(position + params.options.visibility.band_right + 1, i32(tile.sequence.key_length));
          let last = select(end - 1, -1, query >= tile.queries.y);
          for (var r = 0u; r < KEYS; r++) {
            let key = i32(tile.first_key + y + Y * r);
            s[r][j] = select(HIDDEN, s[r][j], key >= first && key <= last);
          }
        }
      }
      for (var j = 0u; j < QUERIES; j++) {
        let stats = stats_tile[x + X * j];
        for (var r = 0u; r < KEYS; r++) {
          s[r][j] = swiftshader_exp(s[r][j] - stats.x);
          d_weights[r][j] = select(s[r][j] * (d_weights[r][j] - stats.y), 0.0, s[r][j] == 0.0);
        }
      }
    } else {
      // The options are compiled once: the keys of one query after another go through the lane's own cells of P's memory.
      for (var which = 0u; which < QUERIES; which++) {
        for (var j = 0u; j < QUERIES; j++) {
          if j == which {
            for (var g = 0u; g < KEY_QUADS; g++) {
              let cell = (g * Y + y) * P_PITCH + x;
              p_tile[cell] = vec4<f32>(s[4u * g][j], s[4u * g + 1u][j], s[4u * g + 2u][j], s[4u * g + 3u][j]);
              p_tile[cell + X] = vec4<f32>(
                d_weights[4u * g][j], d_weights[4u * g + 1u][j], d_weights[4u * g + 2u][j], d_weights[4u * g + 3u][j]);
            }
          }
        }
        for (var r = 0u; r < KEYS; r++) {
          let cell = (r / 4u * Y + y) * P_PITCH + x;
          let pair = optional_pair(
            tile, step.head, step.query + x + X * which, tile.first_key + y + Y * r,
            p_tile[cell][r % 4u], p_tile[cell + X][r % 4u], is_visible);
          p_tile[cell][r % 4u] = pair.weight;
          p_tile[cell + X][r % 4u] = pair.d_score;
        }
        for (var j = 0u; j < QUERIES; j++) {
          if j == which {
            for (var g = 0u; g < KEY_QUADS; g++) {
              let weights = p_tile[(g * Y + y) * P_PITCH + x];
              let d_scores = p_tile[(g * Y + y) * P_PITCH + x + X];
              for (var e = 0u; e < 4u; e++) {
                s[4u * g + e][j] = weights[e];
                d_weights[4u * g + e][j] = d_scores[e];
              }
            }
          }
        }
      }
    }
    if HAS_DROPOUT {
      for (var r = 0u; r < KEYS; r++) {
        for (var j = 0u; j < QUERIES; j++) {
          let factor = kept_factor(x + X * j, y, r);
          s[r][j] = select(factor * s[r][j], 0.0, factor == 0.0);
        }
      }
    }

    // dV
    for (var chunk = 0u; chunk < QUERY_CHUNKS; chunk++) {
      let chunk_query = step.query + chunk * STEP_QUERIES;
      // what lies past the last query is not this call's, and must not reach a product with a weight of 0
      if chunk_query + STEP_QUERIES > tile.queries.y {
        for (var i = 0u; i < V_LOADS; i++) {
          let query = chunk_query + (lane + WORKGROUP * i) / V_VECTORS;
          staged[i] = select(staged[i], vec4<u32>(0u), query >= tile.queries.y);
        }
      }
      workgroupBarrier();
      for (var i = 0u; i < V_LOADS; i++) {
        let at = lane + WORKGROUP * i;
        if IS_F16 {
          chunk_f16[2u * at] = staged[i].xy;
          chunk_f16[2u * at + 1u] = staged[i].zw;
        } else {
          chunk_f32[at] = bitcast<vec4<f32>>(staged[i]);
        }
      }
      // a loop around the branch, so that registers are indexed by constants
      for (var which = 0u; which < QUERY_CHUNKS; which++) {
        if which == chunk {
          for (var i = 0u; i < CHUNK_QUERIES; i++) {
            let j = which * CHUNK_QUERIES + i;
            for (var g = 0u; g < KEY_QUADS; g++) {
              p_tile[(g * Y + y) * P_PITCH + x + X * i] =
                vec4<f32>(s[4u * g][j], s[4u * g + 1u][j], s[4u * g + 2u][j], s[4u * g + 3u][j]);
            }
          }
        }
      }
      workgroupBarrier();
      if chunk + 1u < QUERY_CHUNKS {
        for (var i = 0u; i < V_LOADS; i++) {
          staged[i] = d_output_row_vector(tile, lane, step.head, chunk_query + STEP_QUERIES, i);
        }
      } else {
        for (var i = 0u; i < K_LOADS; i++) { staged[i] = q_row_vector(tile, lane, step.head, step.query, i); }
      }
      for (var query = 0u; query < STEP_QUERIES; query++) {
        var p: array<vec4<f32>, KEY_QUADS> = array<vec4<f32>, KEY_QUADS>();
        for (var g = 0u; g < KEY_QUADS; g++) { p[g] = p_tile[(g * Y + y) * P_PITCH + query]; }
        for (var c = 0u; c < V_COLUMNS; c++) {
          var quad = vec4<f32>(0.0);
          if IS_F16 {
            quad = decode_f16_quad(chunk_f16[query * V_QUADS + x + X * c]);
          } else {
            quad = chunk_f32[query * V_QUADS + x + X * c];
          }
          for (var r = 0u; r < KEYS; r++) { d_value[r][c] = fma(vec4<f32>(p[r / 4u][r % 4u]), quad, d_value[r][c]); }
        }
      }
    }

    // dK
    for (var chunk = 0u; chunk < QUERY_CHUNKS; chunk++) {
      let chunk_query = step.query + chunk * STEP_QUERIES;
      if chunk_query + STEP_QUERIES > tile.queries.y {
        for (var i = 0u; i < K_LOADS; i++) {
          let query = chunk_query + (lane + WORKGROUP * i) / K_VECTORS;
          staged[i] = select(staged[i], vec4<u32>(0u), query >= tile.queries.y);
        }
      }
      workgroupBarrier();
      for (var i = 0u; i < K_LOADS; i++) {
        let at = lane + WORKGROUP * i;
        if IS_F16 {
          chunk_f16[2u * at] = staged[i].xy;
          chunk_f16[2u * at + 1u] = staged[i].zw;
        } else {
          chunk_f32[at] = bitcast<vec4<f32>>(staged[i]);
        }
      }
      for (var which = 0u; which < QUERY_CHUNKS; which++) {
        if which == chunk {
          for (var i = 0u; i < CHUNK_QUERIES; i++) {
            let j = which * CHUNK_QUERIES + i;
            for (var g = 0u; g < KEY_QUADS; g++) {
              p_tile[(g * Y + y) * P_PITCH + x + X * i] = vec4<f32>(
                d_weights[4u * g][j], d_weights[4u * g + 1u][j], d_weights[4u * g + 2u][j], d_weights[4u * g + 3u][j]);
            }
          }
        }
      }
      workgroupBarrier();
      if chunk + 1u < QUERY_CHUNKS {
        for (var i = 0u; i < K_LOADS; i++) {
          staged[i] = q_row_vector(tile, lane, step.head, chunk_query + STEP_QUERIES, i);
        }
      } else {
        for (var i = 0u; i < STEP_LOADS; i++) { staged[i] = q_vector(tile, lane, next, 0u, i); }
      }
      for (var query = 0u; query < STEP_QUERIES; query++) {
        var p: array<vec4<f32>, KEY_QUADS> = array<vec4<f32>, KEY_QUADS>();
        for (var g = 0u; g < KEY_QUADS; g++) { p[g] = p_tile[(g * Y + y) * P_PITCH + query]; }
        for (var c = 0u; c < K_COLUMNS; c++) {
          var quad = vec4<f32>(0.0);
          if IS_F16 {
            quad = decode_f16_quad(chunk_f16[query * K_QUADS + x + X * c]);
          } else {
            quad = chunk_f32[query * K_QUADS + x + X * c];
          }
          for (var r = 0u; r < KEYS; r++) { d_key[r][c] = fma(vec4<f32>(p[r / 4u][r % 4u]), quad, d_key[r][c]); }
        }
      }
    }
  }

  var is_spoilt = false;
  for (var r = 0u; r < KEYS; r++) {
    let key = tile.first_key + y + Y * r;
    if key >= tile.end_key { continue; }
    let key_base = d_key_row(tile.sequence, tile.kv_head, key);
    let value_base = d_value_row(tile.sequence, tile.kv_head, key);
    for (var c = 0u; c < K_COLUMNS; c++) {
      let column = 4u * (x + X * c);
      if column < params.inputs.head_dim {
        let quad = params.options.score.scale * d_key[r][c];
        is_spoilt = is_spoilt || has_special(quad);
        store_quad(key_base + column, quad, min(params.inputs.head_dim - column, 4u), IS_F16);
      }
    }
    for (var c = 0u; c < V_COLUMNS; c++) {
      let column = 4u * (x + X * c);
      if column < params.inputs.value_dim {
        is_spoilt = is_spoilt || has_special(d_value[r][c]);
        store_value_quad(value_base + column, d_value[r][c], min(params.inputs.value_dim - column, 4u));
      }
    }
  }

  // Quads that are not finite are computed again. The lanes of a key compute its P and dS' anew, X queries at a time, and share
  // them through the memory of P.
  workgroupBarrier();
  p_tile[y * P_PITCH + x].x = select(0.0, 1.0, is_spoilt);
  workgroupBarrier();
  if lane == 0u {
    for (var i = 0u; i < X * Y; i++) { if p_tile[i / X * P_PITCH + i % X].x != 0.0 { needs_repair = 1u; } }
  }
  if workgroupUniformLoad(&needs_repair) == 0u { return; }
  for (var r = 0u; r < KEYS; r++) {
    let key = min(tile.first_key + y + Y * r, tile.end_key - 1u);
    let k_begin = tile.k_base + key * params.inputs.k.strides.z;
    let v_begin = tile.v_base + key * params.inputs.v.strides.z;
    var key_sums: array<vec4<f32>, K_COLUMNS> = array<vec4<f32>, K_COLUMNS>();
    var value_sums: array<vec4<f32>, V_COLUMNS> = array<vec4<f32>, V_COLUMNS>();
    for (var head = first_head; head < end_head; head++) {
      for (var first_query = tile.queries.x; first_query < tile.queries.y; first_query += X) {
        workgroupBarrier();
        let query = min(first_query + x, tile.queries.y - 1u);
        let rows = PairRows(
          query_row(tile.sequence, head, query), d_output_row(tile.sequence, head, query), k_begin, v_begin);
        let pair = exact_pair(tile.sequence, head, query, key, rows);
        p_tile[y * P_PITCH + x] = vec4<f32>(pair.weight, pair.d_score, 0.0, 0.0);
        workgroupBarrier();
        for (var i = 0u; i < min(X, tile.queries.y - first_query); i++) {
          let own = p_tile[y * P_PITCH + i];
          let q_begin = query_row(tile.sequence, head, first_query + i);
          let d_output_begin = d_output_row(tile.sequence, head, first_query + i);
          for (var c = 0u; c < K_COLUMNS; c++) { key_sums[c] += own.y * finite_part(q_quad(q_begin, 4u * (x + X * c))); }
          for (var c = 0u; c < V_COLUMNS; c++) {
            value_sums[c] += weighted(own.x, d_output_quad(d_output_begin, 4u * (x + X * c)));
          }
        }
      }
    }
    let is_owned = tile.first_key + y + Y * r < tile.end_key;
    for (var c = 0u; c < K_COLUMNS; c++) {
      let column = 4u * (x + X * c);
      if is_owned && column < params.inputs.head_dim {
        let at = d_key_row(tile.sequence, tile.kv_head, key) + column;
        let left = params.inputs.head_dim - column;
        if has_special(stored_quad(at, left, IS_F16)) {
          store_quad(at, params.options.score.scale * key_sums[c], min(left, 4u), IS_F16);
        }
      }
    }
    for (var c = 0u; c < V_COLUMNS; c++) {
      let column = 4u * (x + X * c);
      if is_owned && column < params.inputs.value_dim {
        let at = d_value_row(tile.sequence, tile.kv_head, key) + column;
        let left = params.inputs.value_dim - column;
        if has_special(stored_value_quad(at, left)) { store_value_quad(at, value_sums[c], min(left, 4u)); }
      }
    }
  }
}
