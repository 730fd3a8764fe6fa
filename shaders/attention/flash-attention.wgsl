// parts: attention/forward, attention/score, attention/tile, attention/work, launch
//
// FlashAttention forward: O = softmax(scale · Q Kᵀ + mask) V in O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], log_sum_exp [B, H, Nq].
// One workgroup owns BLOCK_Q query rows of one head. It goes through the keys that any of its rows may see, BLOCK_K at a time.
// A window moves the first of them, a causal mask the last. It skips the empty blocks of a block mask.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

const IS_F16: bool = false;     // storage of q, k, v and output; arithmetic is f32
const VALUE_DIM: u32 = 64u;     // bucket of the value dim, a multiple of 32: the registers of O
const BLOCK_Q: u32 = 32u;       // query rows per workgroup, a multiple of WORKGROUP / 8
const BLOCK_K: u32 = 32u;       // keys per step of the online softmax, a multiple of 4
const WORKGROUP: u32 = 64u;     // invocations: 8 to a row

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
  var rows = begin_rows(tile, lane);
  let begin = begin_key(tile, BLOCK_K);
  for (var first_key = begin; first_key < tile.keys.y; first_key = next_key(tile, first_key + BLOCK_K)) {
    var s = Scores();
    score_keys(tile, first_key, first_key == begin, lane, &s);
    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    if MODIFIES_SCORES || !is_visible { modify_scores(tile, first_key, is_visible, lane, &s); }
    add_keys(tile, first_key, lane, &s, &rows);
  }
  finish_rows(tile, lane, &rows);
}
