// parts: attention/forward, attention/tile, attention/work, launch
//
// Banded attention: query i sees the keys of its window, [i + offset - left, i + offset + right], and no others are
// read. O = softmax over the band of (scale · Q Kᵀ + mask) V, in O(length · window) work and O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], log_sum_exp [B, H, Nq].
// One workgroup owns BLOCK_Q query rows of one head. Their bands together are BLOCK_Q + left + right keys; it walks
// them from the band's own first key, not from a multiple of BLOCK_K, so that it visits
// ⌈(BLOCK_Q + left + right) / BLOCK_K⌉ tiles and never one more:
//
//     k  0 1 2 3 4 5 6 7 8 9        BLOCK_Q = 2, left = right = 2, BLOCK_K = 3:
//     q 4 . . a a a b b . . .       rows 4 and 5 see keys 2 … 7, in two tiles a and b
//     q 5 . . . a a b b b . .
//
// Beltagy, Peters & Cohan, "Longformer: The Long-Document Transformer", 2020 (sliding window).

const IS_F16: bool = false;     // storage of q, k, v and output; arithmetic is f32
const VALUE_DIM: u32 = 64u;     // bucket of the value dim, a multiple of 32: the registers of O
const BLOCK_Q: u32 = 32u;       // query rows a workgroup, a multiple of WORKGROUP / 8
const BLOCK_K: u32 = 32u;       // keys a step of the online softmax, a multiple of 4
const WORKGROUP: u32 = 64u;     // invocations: 8 to a row

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups);
  if index >= params.groups { return; }
  let tile = tile_of(index);
  if tile.first_row >= tile.end_row { return; }
  var rows = begin_rows(tile, lane);
  let begin = begin_key(tile, BLOCK_K);
  for (var first_key = begin; first_key < tile.keys.y; first_key = next_key(tile, first_key + BLOCK_K)) {
    attend_to(tile, first_key, first_key == begin, lane, &rows);
  }
  finish_rows(tile, lane, &rows);
}
