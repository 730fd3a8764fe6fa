// parts: attention/forward, attention/modifiers, attention/score, attention/tile, attention/work, launch
//
// Banded attention: query i sees the keys of its window, [i + offset - left, i + offset + right], and no others are
// read. O = softmax over the band of (scale · Q Kᵀ + mask) V, in O(length · window) work and O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [B, H, Nq, Dv], log_sum_exp [B, H, Nq].
// One workgroup owns BLOCK_Q query rows of one head. Their bands together are BLOCK_Q + left + right keys. It starts at the
// band's own first key, not at a multiple of BLOCK_K, so that it visits
// T = ⌈(BLOCK_Q + left + right) / BLOCK_K⌉ tiles and never one more:
//
//     k  0 1 2 3 4 5 6 7 8 9        BLOCK_Q = 2, left = right = 2, BLOCK_K = 3:
//     q 4 . . a a a b b . . .       rows 4 and 5 see keys 2 … 7, in two tiles a and b
//     q 5 . . . a a b b b . .
//
// The band's edges cross two of these few tiles (only one if the band is narrow). If only the band and the key length hide
// keys, they are hidden in registers, without the barriers and the detour through workgroup memory that a mask needs. This
// saves 6 % of the time at ±16 and 2 % at ±64 on lavapipe. On SwiftShader there is no difference beyond the noise of 5 to 10 %.
//
// Neighbouring query tiles share most of their bands, but each stages its own. From L2 a tile of 32 rows reads K and V of
// its band once, and Q once for each of T tiles of keys: 48, 120 and 216 KiB at ±16, ±64 and ±128 (f32, D = Dv = 64, tiles
// of 32 keys; twice that at 128), 11 operations per byte. In RDNA3's machine code, staging K and V is 15 % of a step's
// instructions, so sharing them could save no more than that. Two things were tried (8 heads of 2048; median processor time
// of 7 turns on a busy machine, with the same noise; no GPU has run it):
//
//   - Keeping keys for the next query tile. The whole band takes 32, 80 and 144 KiB of workgroup memory, and devices have
//     16 to 48. Keeping only the last tile, and going through the band in alternating directions, takes 27 KiB (43 at 128
//     dims) and saves one staging in T. Compared with the same kernel without it, lavapipe took 6 % more time at ±16, and the
//     same time at ±64 and ±128. SwiftShader took 10 % more, 2 % less and 1 % less.
//   - Two query tiles at once along the union of their bands, T + 1 tiles. They read 40, 88 and 152 KiB for 32 rows from
//     the same 14.5 KiB of workgroup memory, and issue 6 to 9 % fewer instructions. The limit of this kernel, 2.3 bytes from
//     workgroup memory for each multiply-add, is the same. Lavapipe took 6, 2 and 10 % more time and four times as long to
//     compile. SwiftShader took 8, 4 and 15 % less time. Half as many workgroups have work. The registers of two tiles (168
//     for 120 on RDNA3) do not hold O at 128 value dims. Keeping Q in workgroup memory would save as many bytes.
//
// Beltagy, Peters & Cohan, "Longformer: The Long-Document Transformer", 2020 (sliding window).

const IS_F16: bool = false;     // storage of q, k, v and output; arithmetic is f32
const VALUE_DIM: u32 = 64u;     // bucket of the value dim, a multiple of 32: the registers of O
const BLOCK_Q: u32 = 32u;       // query rows per workgroup, a multiple of WORKGROUP / 8
const BLOCK_K: u32 = 32u;       // keys per step of the online softmax, a multiple of 4
const WORKGROUP: u32 = 64u;     // invocations: 8 to a row

// Hides the keys outside each row's band, and those past the tile's last.
fn hide_out_of_band(tile: Tile, first_key: u32, lane: u32, s: ptr<function, Scores>) {
  let x = lane % LANES;
  let y = lane / LANES;
  for (var r = 0u; r < ROWS; r++) {
    let position = i32(query_of(tile, row_of(tile, y + ROW_LANES * r))) + tile.sequence.query_offset;
    let first = vec4<i32>(position - params.options.visibility.band_left);
    let last = vec4<i32>(min(position + params.options.visibility.band_right, i32(tile.keys.y) - 1));
    for (var g = 0u; g < QUADS; g++) {
      let keys = vec4<i32>(i32(first_key + 4u * (x + LANES * g))) + vec4<i32>(0, 1, 2, 3);
      (*s)[r * QUADS + g] = select(vec4<f32>(HIDDEN), (*s)[r * QUADS + g], (keys >= first) & (keys <= last));
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
  let tile = tile_of(index);
  if tile.first_row >= tile.end_row { return; }
  let has_band_only = !MODIFIES_SCORES && !HAS_MASK_MOD
    && params.options.visibility.mask_kind == NO_MASK && params.options.visibility.has_key_mask == 0u;
  var rows = begin_rows(tile, lane);
  for (var first_key = tile.keys.x; first_key < tile.keys.y; first_key += BLOCK_K) {
    var s = Scores();
    score_keys(tile, first_key, first_key == tile.keys.x, lane, &s);
    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    if has_band_only {
      if !is_visible { hide_out_of_band(tile, first_key, lane, &s); }
    } else if MODIFIES_SCORES || !is_visible {
      modify_scores(tile, first_key, is_visible, lane, &s);
    }
    add_keys(tile, first_key, lane, &s, &rows);
  }
  finish_rows(tile, lane, &rows);
}
