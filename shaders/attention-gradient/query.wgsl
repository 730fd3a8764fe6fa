// parts: attention-gradient/pair, attention-gradient/query, attention-gradient/tile, attention/inputs, attention/keys, attention/score, attention/values, attention/work, launch, special, store
//
// The gradient of q: dQ = scale · dS' K, with dS' as in attention-gradient/pair, in O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], d_output [B, H, Nq, Dv] → output dQ [B, H, Nq, D].
// One workgroup owns OWN_ROWS query rows of one head. It goes through the keys of their bands, 32 at a time, and skips empty
// blocks of a block mask, as the forward kernels do. Beyond 256 head dims, a launch computes only the columns from
// first_column on.
//
// A head is 6·Nq·Nk·D floating-point operations: three products, of which two compute S and dP again. From L2 a tile of
// OWN_ROWS queries reads, for each 32 keys, k twice, v once, and its own q and dO once more: 4·(3·32 + 2·OWN_ROWS)·D bytes
// for 6·32·OWN_ROWS·D operations (f32): 9.6 operations per byte at 32 rows, 13.7 at 64.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

const IS_F16: bool = false;     // storage of everything; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the head dim, a multiple of 32: the registers of dQ
const OWN_ROWS: u32 = 32u;      // query rows per workgroup, a multiple of WORKGROUP / 8
const WORKGROUP: u32 = 64u;     // invocations: 8 to a row

const BLOCK_Q: u32 = OWN_ROWS;
const BLOCK_K: u32 = 32u;

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  first_column: u32,   // first column of dQ that is computed
  inputs: InputParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  gradient: GradientParams,
  @align(16) work: WorkParams,
  queries: QueryGradientParams,
}

@group(0) @binding(0) var<uniform> params: Params;

fn stage_q(tile: Tile, first_column: u32, lane: u32) {
  for (var i = lane; i < OWN_ROWS * LANES; i += WORKGROUP) {
    let row = tile.first_row + i / LANES;
    var quad = vec4<f32>(0.0);
    if row < tile.end_row { quad = q_quad(q_row(tile, row), first_column + 4u * (i % LANES)); }
    own_chunk[(i / LANES) * PITCH + i % LANES] = quad;
  }
}

fn stage_d_output(tile: Tile, first_column: u32, lane: u32) {
  for (var i = lane; i < OWN_ROWS * LANES; i += WORKGROUP) {
    let row = tile.first_row + i / LANES;
    var quad = vec4<f32>(0.0);
    if row < tile.end_row {
      quad = d_output_quad(d_output_row(tile.sequence, tile.head, row), first_column + 4u * (i % LANES));
    }
    own_chunk[(i / LANES) * PITCH + i % LANES] = quad;
  }
}

// Stages rows. Of those that multiply dS' (`is_factor`), only the finite part.
fn stage_k(tile: Tile, first_key: u32, first_column: u32, is_factor: bool, lane: u32) {
  for (var i = lane; i < OTHER_ROWS * LANES; i += WORKGROUP) {
    let key = first_key + i / LANES;
    var quad = vec4<f32>(0.0);
    if key < tile.keys.y { quad = k_quad(k_row(tile, key), first_column + 4u * (i % LANES)); }
    if is_factor { quad = finite_part(quad); }
    other_chunk[select(interleaved(i / LANES), i / LANES, is_factor) * PITCH + i % LANES] = quad;
  }
}

fn stage_v(tile: Tile, first_key: u32, first_column: u32, lane: u32) {
  for (var i = lane; i < OTHER_ROWS * LANES; i += WORKGROUP) {
    let key = first_key + i / LANES;
    var quad = vec4<f32>(0.0);
    if key < tile.keys.y { quad = v_quad(v_row(tile, key), first_column + 4u * (i % LANES)); }
    other_chunk[interleaved(i / LANES) * PITCH + i % LANES] = quad;
  }
}

// Four keys' scores in the first tile and dP in the second become dS' in the first.
fn differentiate_quad(tile: Tile, first_key: u32, place: u32, quad: u32, is_visible: bool) {
  let query = row_of(tile, place);
  let key = first_key + 4u * quad;
  let slope = slope_of(tile.sequence, tile.head);
  let stats = row_stats(tile.sequence, tile.head, query);
  let factors = dropout_quad(tile.sequence, tile.head, query, key);
  var scores = first_tile[place * PITCH + quad];
  let d_weights = own_chunk[place * PITCH + quad];
  for (var i = 0u; i < 4u; i++) {
    scores[i] = pair_of(
      tile.sequence, stats, slope, tile.head, query, key + i,
      params.options.score.scale * scores[i], d_weights[i], factors[i], is_visible,
    ).d_score;
  }
  first_tile[place * PITCH + quad] = scores;
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
  let x = lane % LANES;
  let y = lane / LANES;

  var gradient: array<vec4<f32>, ROWS * CHUNKS> = array<vec4<f32>, ROWS * CHUNKS>();
  let begin = begin_key(tile, BLOCK_K);
  for (var first_key = begin; first_key < tile.keys.y; first_key = next_key(tile, first_key + BLOCK_K)) {
    var scores: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
    var d_weights: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
    for (var d = 0u; d < params.inputs.head_dim; d += DIM_STEP) {
      workgroupBarrier();
      stage_q(tile, d, lane);
      stage_k(tile, first_key, d, false, lane);
      workgroupBarrier();
      multiply(&scores, params.inputs.head_dim - d, lane);
    }
    for (var d = 0u; d < params.inputs.value_dim; d += DIM_STEP) {
      workgroupBarrier();
      stage_d_output(tile, d, lane);
      stage_v(tile, first_key, d, lane);
      workgroupBarrier();
      multiply(&d_weights, params.inputs.value_dim - d, lane);
    }
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
      first_tile[(y + ROW_LANES * r) * PITCH + x] = scores[r];
      own_chunk[(y + ROW_LANES * r) * PITCH + x] = d_weights[r];
    }
    workgroupBarrier();
    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    for (var i = lane; i < OWN_ROWS * LANES; i += WORKGROUP) {
      differentiate_quad(tile, first_key, i / LANES, i % LANES, is_visible);
    }
    let quads = (min(tile.keys.y - first_key, BLOCK_K) + 3u) / 4u;
    for (var c = 0u; c < CHUNKS; c++) {
      let column = params.first_column + c * DIM_STEP;
      if column >= params.inputs.head_dim { break; }
      workgroupBarrier();
      stage_k(tile, first_key, column, true, lane);
      workgroupBarrier();
      for (var quad = 0u; quad < quads; quad++) {
        let at = 4u * quad * PITCH + x;
        let others = array<vec4<f32>, 4>(
          other_chunk[at], other_chunk[at + PITCH], other_chunk[at + 2u * PITCH], other_chunk[at + 3u * PITCH]);
        for (var r = 0u; r < ROWS; r++) {
          let weights = first_tile[(y + ROW_LANES * r) * PITCH + quad];
          gradient[r * CHUNKS + c] = accumulated(gradient[r * CHUNKS + c], weights, others, false);
        }
      }
    }
  }

  for (var r = 0u; r < ROWS; r++) {
    let row = tile.first_row + y + ROW_LANES * r;
    if row >= tile.end_row { continue; }
    let base = d_query_row(tile, row);
    for (var c = 0u; c < CHUNKS; c++) {
      let column = params.first_column + c * DIM_STEP + 4u * x;
      if column < params.inputs.head_dim {
        let quad = params.options.score.scale * gradient[r * CHUNKS + c];
        store_quad(base + column, quad, min(params.inputs.head_dim - column, 4u), IS_F16);
      }
    }
  }
}
