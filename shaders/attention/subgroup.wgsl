// parts: attention/forward, attention/inputs, attention/keys, attention/score, attention/special, attention/values, attention/work, drivers, launch, special, store
//
// Fused attention without workgroup memory or barriers, for drivers where those are slow (CPUs):
// O = softmax(scale · Q Kᵀ + mask) V with an online softmax, in O(length) memory, over the keys of the rows' band only.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], log_sum_exp [B, H, Nq].
// One workgroup is one subgroup. A lane owns ROWS query rows, with their q and O in registers. For each key, lane i loads
// the i-th quads of k (and later of v), and shuffles pass them around, so that a value is loaded once for all rows:
//
//     lane          0          1          2   …
//     loads   k[0..4)    k[4..8)   k[8..12)   …     one key, one quad a lane
//     quad c: all lanes read lane c's quad, and multiply it with their own rows' quad c
//
// BLOCK_K keys are scored before their weights are taken, so that O is rescaled once for all of them. Two keys' values are
// added at once, so that O is read and written half as often.
//
// A head is 4·Nq·Nk·D floating-point operations; BLOCK_Q rows read K and V once, 8·Nk·D bytes (f32): BLOCK_Q / 2
// operations per byte, which a CPU's cache serves. A quad of a key costs a lane one shuffle and 4·ROWS multiply-adds, so
// ROWS trades shuffles against registers and compile time. docs/performance.md has the measurements on lavapipe. They shaped
// two things here. An array is indexed by the variable of a loop that is as long as the array, because only then does Mesa
// unroll the loop. A register array with any other index goes through memory, seven times slower. And rare work is in a loop
// that usually runs no iteration, because a driver for CPUs runs both sides of a branch.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

enable subgroups;

const IS_F16: bool = false;     // storage of q, k, v and output; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the larger of head dim and value dim: the registers of q and O
const SUBGROUP: u32 = 8u;       // invocations of every subgroup of the device
const ROWS: u32 = 4u;           // query rows per lane

const BLOCK_Q: u32 = SUBGROUP * ROWS;  // query rows per workgroup
const BLOCK_K: u32 = 8u;               // keys per step of the online softmax
const QUADS: u32 = DIM / 4u;
const SHARES: u32 = (QUADS + SUBGROUP - 1u) / SUBGROUP;  // quads of a key that a lane loads

@compute @workgroup_size(SUBGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = tile_of(index);
  if tile.first_row >= tile.end_row { return; }

  var q_rows: array<array<vec4<f32>, QUADS>, ROWS> = array<array<vec4<f32>, QUADS>, ROWS>();
  var o: array<array<vec4<f32>, QUADS>, ROWS> = array<array<vec4<f32>, QUADS>, ROWS>();
  var row_max: array<f32, ROWS> = array<f32, ROWS>();
  var row_sum: array<f32, ROWS> = array<f32, ROWS>();
  var slopes: array<f32, ROWS> = array<f32, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    let row = row_of(tile, r * SUBGROUP + lane);
    let begin = q_row(tile, row);
    row_max[r] = sink_of(tile, row);
    row_sum[r] = select(1.0, 0.0, row_max[r] == HIDDEN);
    slopes[r] = slope_of(tile.sequence, head_of(tile, row));
    for (var c = 0u; 4u * c < params.inputs.head_dim; c++) { q_rows[r][c] = q_quad(begin, 4u * c); }
  }

  var saw_special = false;
  let last_key = tile.keys.y - 1u;
  for (var first_key = begin_key(tile, BLOCK_K); first_key < tile.keys.y; first_key = next_key(tile, first_key + BLOCK_K)) {
    var s: array<f32, ROWS * BLOCK_K> = array<f32, ROWS * BLOCK_K>();
    for (var j = 0u; j < BLOCK_K; j++) {
      let key_row = k_row(tile, min(first_key + j, last_key));
      var share: array<vec4<f32>, SHARES> = array<vec4<f32>, SHARES>();
      for (var i = 0u; i < SHARES; i++) { share[i] = k_quad(key_row, 4u * (lane + i * SUBGROUP)); }
      var sums: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
      for (var r = 0u; r < ROWS; r++) { sums[r] = vec4<f32>(0.0); }
      for (var c = 0u; c < QUADS; c++) {
        let quad = subgroupShuffle(share[c / SUBGROUP], c % SUBGROUP);
        for (var r = 0u; r < ROWS; r++) { sums[r] = fma(q_rows[r][c], quad, sums[r]); }
      }
      for (var r = 0u; r < ROWS; r++) { s[r * BLOCK_K + j] = params.options.score.scale * dot(sums[r], vec4<f32>(1.0)); }
    }

    if MODIFIES_SCORES {
      for (var r = 0u; r < ROWS; r++) {
        let row = row_of(tile, r * SUBGROUP + lane);
        let head = head_of(tile, row);
        let query = query_of(tile, row);
        for (var j = 0u; j < BLOCK_K; j++) {
          let at = r * BLOCK_K + j;
          s[at] = modified_score(tile.sequence, s[at], slopes[r], head, query, first_key + j);
        }
      }
    }
    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    for (var i = llvmpipe_skip(!is_visible, ROWS * BLOCK_K); i < ROWS * BLOCK_K; i++) {
      let row = row_of(tile, i / BLOCK_K * SUBGROUP + lane);
      s[i] = masked_score(tile.sequence, s[i], head_of(tile, row), query_of(tile, row), first_key + i % BLOCK_K);
    }

    for (var r = 0u; r < ROWS; r++) {
      var highest = row_max[r];
      for (var j = 0u; j < BLOCK_K; j++) { highest = max(highest, s[r * BLOCK_K + j]); }
      // a row that has seen no key yet: exp(HIDDEN - 0) is 0, exp(HIDDEN - HIDDEN) would not be
      let shift = select(highest, 0.0, highest == HIDDEN);
      let rescale = exp(row_max[r] - shift);
      row_max[r] = highest;
      row_sum[r] *= rescale;
      for (var c = 0u; c < QUADS; c++) { o[r][c] *= rescale; }
      for (var j = 0u; j < BLOCK_K; j++) {
        let p = exp(s[r * BLOCK_K + j] - shift);
        s[r * BLOCK_K + j] = p;
        row_sum[r] += p;
      }
      if HAS_DROPOUT {
        let row = row_of(tile, r * SUBGROUP + lane);
        for (var j = 0u; j < BLOCK_K; j += 4u) {
          let factors = dropout_quad(tile.sequence, head_of(tile, row), query_of(tile, row), first_key + j);
          for (var i = 0u; i < 4u; i++) { s[r * BLOCK_K + j + i] *= factors[i]; }
        }
      }
    }

    // two keys at once, so that O is read and written half as often
    for (var j = 0u; j < BLOCK_K; j += 2u) {
      let row0 = v_row(tile, min(first_key + j, last_key));
      let row1 = v_row(tile, min(first_key + j + 1u, last_key));
      var share0: array<vec4<f32>, SHARES> = array<vec4<f32>, SHARES>();
      var share1: array<vec4<f32>, SHARES> = array<vec4<f32>, SHARES>();
      for (var i = 0u; i < SHARES; i++) {
        let quad0 = v_quad(row0, 4u * (lane + i * SUBGROUP));
        let quad1 = v_quad(row1, 4u * (lane + i * SUBGROUP));
        share0[i] = finite_part(quad0);
        share1[i] = finite_part(quad1);
        saw_special = saw_special || has_special(quad0) || has_special(quad1);
      }
      for (var c = 0u; c < QUADS; c++) {
        let quad0 = subgroupShuffle(share0[c / SUBGROUP], c % SUBGROUP);
        let quad1 = subgroupShuffle(share1[c / SUBGROUP], c % SUBGROUP);
        for (var r = 0u; r < ROWS; r++) {
          o[r][c] = fma(vec4<f32>(s[r * BLOCK_K + j + 1u]), quad1, fma(vec4<f32>(s[r * BLOCK_K + j]), quad0, o[r][c]));
        }
      }
    }
  }

  // here, where all lanes still run: the lane that loaded such a value need not own the rows that meet it
  let leaves_special = subgroupAny(saw_special);

  for (var r = 0u; r < ROWS; r++) {
    let row = tile.first_row + r * SUBGROUP + lane;
    if row >= tile.end_row { continue; }
    let is_empty = row_sum[r] == 0.0;  // the largest score of any other row counts 1; NaN is not empty
    let normaliser = select(1.0 / row_sum[r], 0.0, is_empty);
    let base = output_row(tile, row);
    for (var c = 0u; 4u * c < params.inputs.value_dim; c++) {
      let count = min(params.inputs.value_dim - 4u * c, 4u);
      store_quad(base + 4u * c, select(o[r][c] * normaliser, vec4<f32>(0.0), is_empty), count, OUT_F16);
    }
    store_log_sum_exp(tile, row, row_max[r], row_sum[r]);
  }
  for (var r = llvmpipe_skip(leaves_special, ROWS); r < ROWS; r++) {
    let row = tile.first_row + r * SUBGROUP + lane;
    if row < tile.end_row { add_special_values(tile, row, row_max[r]); }
  }
}
