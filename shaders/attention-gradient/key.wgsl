// parts: attention-gradient/key, attention-gradient/pair, attention-gradient/tile, attention-gradient/value-output, attention/inputs, attention/keys, attention/score, attention/values, launch, special, store
//
// The gradients of k and v: dK = scale · dS'ᵀ Q and dV = (P ∘ M)ᵀ dO, as in attention-gradient/pair, in O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], d_output [B, H, Nq, Dv] → dK [B, Hkv, Nk, D] and dV [B, Hkv, Nk, Dv].
// One workgroup owns OWN_ROWS keys of one key head. For each query head that reads it, one after the other, it goes through
// the queries whose bands hold any of its keys, 32 at a time. With a causal mask these are the queries from the diagonal
// down, with a window a strip around the diagonal. It skips empty blocks of a block mask:
//
//     k  0 1 2 3 4 5 6 7      causal, OWN_ROWS = 2: the workgroup of keys 2 and 3 walks queries 2 … 7
//     q 2 . . x . . .
//     q 3 . . x x . .         window { left: 1, right: 0 }: queries 2 … 4
//     q 4 . . . x x .
//
// So one workgroup sums every gradient, over a group's heads too, and repeating it gives the same bits. Keys that no query
// sees get 0. Beyond 256 dims, a launch computes only the columns from first_column on.
//
// A head is 8·Nq·Nk·D floating-point operations: four products, of which two compute S and dP again. From L2 a tile of
// OWN_ROWS keys reads, for each 32 queries, q and dO twice and its own k and v once more: 4·(4·32 + 2·OWN_ROWS)·D bytes for
// 8·32·OWN_ROWS·D operations (f32): 10.7 operations per byte at 32 rows, 16 at 64.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

const IS_F16: bool = false;     // storage of everything; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the larger of head dim and value dim: the registers of dK, and of dV
const OWN_ROWS: u32 = 32u;      // keys per workgroup, a multiple of WORKGROUP / 8
const WORKGROUP: u32 = 64u;     // invocations: 8 to a row

const BLOCK_Q: u32 = 32u;
const BLOCK_K: u32 = OWN_ROWS;
const KEY_QUADS: u32 = OWN_ROWS / 4u;

// Which weights dropout keeps: bits of four keys, [BLOCK_Q][KEY_QUADS].
var<workgroup> kept: array<u32, 1u + u32(HAS_DROPOUT) * BLOCK_Q * KEY_QUADS>;
// Set, and never cleared, once a staged value of dO is not finite. From then on a weight of 0 is skipped, not multiplied.
var<workgroup> d_output_not_finite: atomic<u32>;

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  first_column: u32,   // first column of the gradients that is computed
  inputs: InputParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  gradient: GradientParams,
  @align(16) keys: KeyGradientParams,
}

@group(0) @binding(0) var<uniform> params: Params;

fn stage_k(tile: KeyTile, first_column: u32, lane: u32) {
  for (var i = lane; i < OWN_ROWS * LANES; i += WORKGROUP) {
    let key = tile.first_key + i / LANES;
    var quad = vec4<f32>(0.0);
    if key < tile.end_key { quad = k_quad(tile.k_base + key * params.inputs.k.strides.z, first_column + 4u * (i % LANES)); }
    own_chunk[(i / LANES) * PITCH + i % LANES] = quad;
  }
}

fn stage_v(tile: KeyTile, first_column: u32, lane: u32) {
  for (var i = lane; i < OWN_ROWS * LANES; i += WORKGROUP) {
    let key = tile.first_key + i / LANES;
    var quad = vec4<f32>(0.0);
    if key < tile.end_key { quad = v_quad(tile.v_base + key * params.inputs.v.strides.z, first_column + 4u * (i % LANES)); }
    own_chunk[(i / LANES) * PITCH + i % LANES] = quad;
  }
}

// Stages rows. Of those that multiply dS' (`is_factor`), only the finite part.
fn stage_q(tile: KeyTile, head: u32, first_query: u32, first_column: u32, is_factor: bool, lane: u32) {
  let begin = query_row(tile.sequence, head, first_query);
  for (var i = lane; i < OTHER_ROWS * LANES; i += WORKGROUP) {
    var quad = vec4<f32>(0.0);
    if first_query + i / LANES < tile.queries.y {
      quad = q_quad(begin + (i / LANES) * params.inputs.q.strides.z, first_column + 4u * (i % LANES));
    }
    if is_factor { quad = finite_part(quad); }
    other_chunk[select(interleaved(i / LANES), i / LANES, is_factor) * PITCH + i % LANES] = quad;
  }
}

fn stage_d_output(tile: KeyTile, head: u32, first_query: u32, first_column: u32, is_factor: bool, lane: u32) {
  let begin = d_output_row(tile.sequence, head, first_query);
  for (var i = lane; i < OTHER_ROWS * LANES; i += WORKGROUP) {
    var quad = vec4<f32>(0.0);
    if first_query + i / LANES < tile.queries.y {
      quad = d_output_quad(begin + (i / LANES) * params.gradient.d_output.strides.z, first_column + 4u * (i % LANES));
    }
    if is_factor && has_special(quad) { atomicStore(&d_output_not_finite, 1u); }
    other_chunk[select(interleaved(i / LANES), i / LANES, is_factor) * PITCH + i % LANES] = quad;
  }
}

// One draw is for four keys. These are rows of a tile here, so the lanes of several rows need it.
fn draw(tile: KeyTile, head: u32, first_query: u32, lane: u32) {
  if !HAS_DROPOUT { return; }
  for (var i = lane; i < BLOCK_Q * KEY_QUADS; i += WORKGROUP) {
    let factors = dropout_quad(
      tile.sequence, head, first_query + i / KEY_QUADS, tile.first_key + 4u * (i % KEY_QUADS));
    let bits = vec4<u32>(factors != vec4<f32>(0.0)) << vec4<u32>(0u, 1u, 2u, 3u);
    kept[i] = bits.x | bits.y | bits.z | bits.w;
  }
}

fn drawn_factor(query_place: u32, key_place: u32) -> f32 {
  if !HAS_DROPOUT { return 1.0; }
  let bits = kept[query_place * KEY_QUADS + key_place / 4u];
  return select(0.0, params.options.dropout.scale, ((bits >> (key_place & 3u)) & 1u) != 0u);
}

// Four queries' scores in the first tile and dP in the second become P ∘ M in the first and dS' in the second.
fn differentiate_quad(tile: KeyTile, head: u32, first_query: u32, place: u32, quad: u32, is_visible: bool) {
  let key = tile.first_key + place;
  let slope = slope_of(tile.sequence, head);
  var scores = first_tile[place * PITCH + quad];
  var d_weights = own_chunk[place * PITCH + quad];
  for (var i = 0u; i < 4u; i++) {
    let query = first_query + 4u * quad + i;
    var pair = Pair(0.0, 0.0, 0.0);
    if query < tile.queries.y {
      pair = pair_of(
        tile.sequence, row_stats(tile.sequence, head, query), slope, head, query, key,
        params.options.score.scale * scores[i], d_weights[i], drawn_factor(4u * quad + i, place), is_visible,
      );
    }
    scores[i] = pair.weight;
    d_weights[i] = pair.d_score;
  }
  first_tile[place * PITCH + quad] = scores;
  own_chunk[place * PITCH + quad] = d_weights;
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
  let x = lane % LANES;
  let y = lane / LANES;

  var d_key: array<vec4<f32>, ROWS * CHUNKS> = array<vec4<f32>, ROWS * CHUNKS>();
  var d_value: array<vec4<f32>, ROWS * CHUNKS> = array<vec4<f32>, ROWS * CHUNKS>();
  let first_head = tile.kv_head * params.inputs.group_size;
  for (var head = first_head; head < first_head + params.inputs.group_size; head++) {
    let begin = begin_query(tile, head);
    for (var first_query = begin; first_query < tile.queries.y; first_query = next_query(tile, head, first_query + BLOCK_Q)) {
      var scores: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
      var d_weights: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
      for (var d = 0u; d < params.inputs.head_dim; d += DIM_STEP) {
        workgroupBarrier();
        stage_k(tile, d, lane);
        stage_q(tile, head, first_query, d, false, lane);
        workgroupBarrier();
        multiply(&scores, params.inputs.head_dim - d, lane);
      }
      for (var d = 0u; d < params.inputs.value_dim; d += DIM_STEP) {
        workgroupBarrier();
        stage_v(tile, d, lane);
        stage_d_output(tile, head, first_query, d, false, lane);
        workgroupBarrier();
        multiply(&d_weights, params.inputs.value_dim - d, lane);
      }
      workgroupBarrier();
      for (var r = 0u; r < ROWS; r++) {
        first_tile[(y + ROW_LANES * r) * PITCH + x] = scores[r];
        own_chunk[(y + ROW_LANES * r) * PITCH + x] = d_weights[r];
      }
      draw(tile, head, first_query, lane);
      workgroupBarrier();
      let last_query = first_query + BLOCK_Q - 1u;
      let is_visible = last_query < tile.queries.y && key_tile_is_seen(tile, head, first_query, last_query);
      // neighbouring lanes take neighbouring keys, which are neighbours in a mask too
      for (var i = lane; i < OWN_ROWS * LANES; i += WORKGROUP) {
        differentiate_quad(tile, head, first_query, i % OWN_ROWS, i / OWN_ROWS, is_visible);
      }

      let quads = (min(tile.queries.y - first_query, BLOCK_Q) + 3u) / 4u;
      for (var c = 0u; c < CHUNKS; c++) {
        let column = params.first_column + c * DIM_STEP;
        if column < params.inputs.value_dim {
          workgroupBarrier();
          stage_d_output(tile, head, first_query, column, true, lane);
          workgroupBarrier();
          let guarded = atomicLoad(&d_output_not_finite) != 0u;
          for (var quad = 0u; quad < quads; quad++) {
            let at = 4u * quad * PITCH + x;
            let others = array<vec4<f32>, 4>(
              other_chunk[at], other_chunk[at + PITCH], other_chunk[at + 2u * PITCH], other_chunk[at + 3u * PITCH]);
            for (var r = 0u; r < ROWS; r++) {
              let weights = first_tile[(y + ROW_LANES * r) * PITCH + quad];
              d_value[r * CHUNKS + c] = accumulated(d_value[r * CHUNKS + c], weights, others, guarded);
            }
          }
        }
        if column < params.inputs.head_dim {
          workgroupBarrier();
          stage_q(tile, head, first_query, column, true, lane);
          workgroupBarrier();
          for (var quad = 0u; quad < quads; quad++) {
            let at = 4u * quad * PITCH + x;
            let others = array<vec4<f32>, 4>(
              other_chunk[at], other_chunk[at + PITCH], other_chunk[at + 2u * PITCH], other_chunk[at + 3u * PITCH]);
            for (var r = 0u; r < ROWS; r++) {
              let weights = own_chunk[(y + ROW_LANES * r) * PITCH + quad];
              d_key[r * CHUNKS + c] = accumulated(d_key[r * CHUNKS + c], weights, others, false);
            }
          }
        }
      }
    }
  }

  for (var r = 0u; r < ROWS; r++) {
    let key = tile.first_key + y + ROW_LANES * r;
    if key >= tile.end_key { continue; }
    let key_base = d_key_row(tile.sequence, tile.kv_head, key);
    let value_base = d_value_row(tile.sequence, tile.kv_head, key);
    for (var c = 0u; c < CHUNKS; c++) {
      let column = params.first_column + c * DIM_STEP + 4u * x;
      if column < params.inputs.head_dim {
        let quad = params.options.score.scale * d_key[r * CHUNKS + c];
        store_quad(key_base + column, quad, min(params.inputs.head_dim - column, 4u), IS_F16);
      }
      if column < params.inputs.value_dim {
        store_value_quad(value_base + column, d_value[r * CHUNKS + c], min(params.inputs.value_dim - column, 4u));
      }
    }
  }
}
