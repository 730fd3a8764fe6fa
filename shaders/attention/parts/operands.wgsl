// parts: attention/dropout, attention/visibility, element
// What every fused attention kernel is given, forward and backward: parameters, bindings, where a tile's work lies, and
// reading q, k and v. Names IS_F16 and BLOCK_Q of the shader that uses it. What the kernels write stands in
// parts/attention-result and parts/attention-gradient.

const KV_F16: bool = false;         // storage of k and v: a cache may keep them in less than q
const KEY_LAYOUT: u32 = 0u;         // where a key lies, see key_slot
const PACKS_GROUP: bool = false;    // a tile's rows are of all heads that share a key head
const HAS_BLOCK_MASK: bool = false;

const CONTIGUOUS: u32 = 0u;
const RING: u32 = 1u;
const PAGED: u32 = 2u;

struct Params {
  groups: u32,            // workgroups with work
  query_tiles: u32,       // ⌈rows / BLOCK_Q⌉, of the longest sequence
  splits: u32,            // parts that a tile's keys are divided into, a workgroup each
  head_tiles: u32,        // H; where a group's heads are packed, Hkv
  heads: u32,             // H, of the query
  group_size: u32,        // query heads that share a key head
  query_length: u32,      // Nq
  key_length: u32,        // Nk
  head_dim: u32,          // D
  value_dim: u32,         // Dv ≤ VALUE_DIM
  scale: f32,             // multiplies the scores
  softcap: f32,           // 0: none
  band_left: i32,         // keys, see visibility
  band_right: i32,
  query_offset: i32,
  aligns_ends: u32,       // query_offset counts from where the last query stands at the last key
  q_strides: vec4<u32>,   // elements: batch, head, row, column
  k_strides: vec4<u32>,   // of paged keys the first is that of pages
  v_strides: vec4<u32>,
  output_strides: vec4<u32>,
  mask_strides: vec4<u32>,      // batch, head, query, key; 0 where broadcast
  key_mask_strides: vec2<u32>,  // batch, key
  q_offset: u32,          // elements
  k_offset: u32,
  v_offset: u32,
  mask_offset: u32,
  key_mask_offset: u32,
  mask_kind: u32,
  has_key_mask: u32,
  vector_loads: u32,      // bits 0 to 3: q, k, v, d_output may be read four columns at a time
  writes_log_sum_exp: u32,
  query_rows: u32,        // rows of q along its third axis: Nq, or those of all packed sequences
  split_pitch: u32,       // elements of output between two splits
  split_rows: u32,        // elements of log_sum_exp between two splits
  // where in `table`, or ABSENT
  slopes_at: u32,
  slopes_pitch: u32,      // elements between batch entries
  sinks_at: u32,
  query_offsets_at: u32,
  key_lengths_at: u32,
  sequences_at: u32,
  sequences: u32,         // of a packed batch
  pages_at: u32,
  pages_pitch: u32,       // elements between batch entries
  page_shift: u32,        // log₂ of a page's keys
  ring_kept: u32,         // keys in front of the ring
  ring_start: u32,        // slot of the ring's first key, behind those
  ring_length: u32,
  blocks_at: u32,
  block_shift: u32,       // log₂ of a block's queries, and of its keys
  block_columns: u32,
  block_pitches: vec2<u32>,  // elements between batch entries, heads
  capture_offsets: vec4<u32>,
  capture_shapes: array<vec4<u32>, 4>,
  capture_numbers: array<vec4<f32>, 2>,
  dropout_p: f32,         // see dropout
  dropout_scale: f32,     // 1 / (1 - p)
  dropout_seed: vec2<u32>,
  // of the gradients' kernels, see attention-gradient
  stats_at: u32,          // in `table`: of every row its log-sum-exp, and further on D
  stats_pitch: u32,       // words between the two
  d_output_strides: vec4<u32>,
  d_output_offset: u32,
  gradient_strides: vec4<u32>,        // of dQ, or of dK
  value_gradient_strides: vec4<u32>,  // of dV
  value_gradient_at: u32, // element of output at which dV begins
  batches: u32,           // batch entries, or sequences of a packed batch
  key_tiles: u32,         // ⌈keys / BLOCK_K⌉, of the longest sequence
  first_column: u32,      // of the gradients' columns that are computed
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<u32>>;         // [B, H, Nq, D], f32 or f16
@group(0) @binding(2) var<storage, read> k: array<vec4<u32>>;         // [B, Hkv, Nk, D]
@group(0) @binding(3) var<storage, read> v: array<vec4<u32>>;         // [B, Hkv, Nk, Dv]
@group(0) @binding(4) var<storage, read> mask: array<u32>;            // broadcast to [B, H, Nq, Nk]: bool, f32 or f16
@group(0) @binding(5) var<storage, read> key_mask: array<u32>;        // [B, Nk], bool
@group(0) @binding(6) var<storage, read> table: array<u32>;           // small inputs joined, see src/ops/table.ts

// Where a tile's work lies.
struct Tile {
  sequence: Sequence,
  head: u32,        // of the query; the first of several where the group is packed
  first_row: u32,   // its rows are [first_row, end_row) of the head's or the group's
  end_row: u32,
  first_query: u32, // bounds of their queries
  last_query: u32,
  split: u32,
  keys: vec2<u32>,  // the first that it attends to, and one past the last
  q_base: u32,      // element of q[batch, head, first query of the sequence, 0]
  k_base: u32,
  v_base: u32,
}

// The batch entry's place in q, output and log_sum_exp: packed sequences share one.
fn batch_of(sequence: Sequence) -> u32 {
  return select(sequence.index, 0u, params.sequences_at != ABSENT);
}

fn tile_of(group: u32) -> Tile {
  // the last first: with a causal mask those are the longest, and none is left over at the end
  let first_row = (params.query_tiles - 1u - group % params.query_tiles) * BLOCK_Q;
  var rest = group / params.query_tiles;
  let split = rest % params.splits;
  rest /= params.splits;
  let heads_a_tile = select(1u, params.group_size, PACKS_GROUP);
  let head = (rest % params.head_tiles) * heads_a_tile;
  let kv_head = head / params.group_size;
  let sequence = sequence_at(rest / params.head_tiles);
  let batch = batch_of(sequence);
  let kv_batch = select(batch, 0u, KEY_LAYOUT == PAGED);

  let rows = sequence.query_length * heads_a_tile;
  var tile = Tile(
    sequence, head, first_row, min(first_row + BLOCK_Q, rows), 0u, 0u, split, vec2<u32>(0u),
    params.q_offset + dot(params.q_strides.xyz, vec3<u32>(batch, head, sequence.first_query)),
    params.k_offset + dot(params.k_strides.xyz, vec3<u32>(kv_batch, kv_head, sequence.first_key)),
    params.v_offset + dot(params.v_strides.xyz, vec3<u32>(kv_batch, kv_head, sequence.first_key)),
  );
  if first_row >= rows { return tile; }  // its sequence is shorter than the longest
  tile.first_query = first_row;
  tile.last_query = tile.end_row - 1u;
  if PACKS_GROUP {
    let is_one_head = first_row / sequence.query_length == tile.last_query / sequence.query_length;
    tile.first_query = select(0u, first_row % sequence.query_length, is_one_head);
    tile.last_query = select(sequence.query_length - 1u, tile.last_query % sequence.query_length, is_one_head);
  }
  tile.keys = share_of(tile_keys(sequence, tile.first_query, tile.last_query), split);
  tile.sequence.key_length = tile.keys.y;  // what lies further on is another split's, or out of every row's band
  return tile;
}

// The keys in the band of any of the queries [first, last]. With dropout their first is a multiple of four, since four
// keys share a draw.
fn tile_keys(sequence: Sequence, first_query: u32, last_query: u32) -> vec2<u32> {
  let keys = key_range(sequence, first_query, last_query);
  if HAS_DROPOUT { return vec2<u32>(keys.x & ~3u, keys.y); }
  return keys;
}

// The split's share of a range of keys, in whole steps of 32, so that few tiles of keys are ragged.
fn share_of(keys: vec2<u32>, split: u32) -> vec2<u32> {
  if params.splits == 1u || keys.y <= keys.x { return keys; }
  let steps = (keys.y - keys.x + 31u) / 32u;
  let share = 32u * ((steps + params.splits - 1u) / params.splits);
  let begin = min(keys.x + split * share, keys.y);
  return vec2<u32>(begin, min(begin + share, keys.y));
}

// Rows past the tile's last compute that one again, and are not written.
fn row_of(tile: Tile, place: u32) -> u32 {
  return min(tile.first_row + place, tile.end_row - 1u);
}

fn query_of(tile: Tile, row: u32) -> u32 {
  if PACKS_GROUP { return row % tile.sequence.query_length; }
  return row;
}

fn head_of(tile: Tile, row: u32) -> u32 {
  if PACKS_GROUP { return tile.head + row / tile.sequence.query_length; }
  return tile.head;
}

// Element at which a row of q begins.
fn q_row(tile: Tile, row: u32) -> u32 {
  return tile.q_base + (head_of(tile, row) - tile.head) * params.q_strides.y + query_of(tile, row) * params.q_strides.z;
}

// Page and row of a key.
fn key_slot(tile: Tile, key: u32) -> vec2<u32> {
  if KEY_LAYOUT == RING {
    let place = params.ring_start + key - params.ring_kept;  // less than twice the ring's length
    let slot = params.ring_kept + select(place, place - params.ring_length, place >= params.ring_length);
    return vec2<u32>(0u, select(slot, key, key < params.ring_kept));
  }
  if KEY_LAYOUT == PAGED {
    let page = table[params.pages_at + tile.sequence.index * params.pages_pitch + (key >> params.page_shift)];
    return vec2<u32>(page, key & ((1u << params.page_shift) - 1u));
  }
  return vec2<u32>(0u, key);
}

// Element at which a key's row of k begins, and of v.
fn k_row(tile: Tile, key: u32) -> u32 {
  return tile.k_base + dot(key_slot(tile, key), params.k_strides.xz);
}

fn v_row(tile: Tile, key: u32) -> u32 {
  return tile.v_base + dot(key_slot(tile, key), params.v_strides.xz);
}

// A logit that takes weight from its head's rows and has no value: in one split only.
fn sink_of(tile: Tile, row: u32) -> f32 {
  if params.sinks_at == ABSENT || tile.split != 0u { return HIDDEN; }
  return max(bitcast<f32>(table[params.sinks_at + head_of(tile, row)]), HIDDEN);
}

// Of a block mask: 0 no query of the block sees a key of it, 1 some do, 2 all see all.
fn block_kind_at(sequence: Sequence, head: u32, query: u32, key: u32) -> u32 {
  let row = params.blocks_at + dot(params.block_pitches, vec2<u32>(sequence.index, head))
    + (query >> params.block_shift) * params.block_columns;
  return table[row + (key >> params.block_shift)];
}

fn block_kind(tile: Tile, key: u32) -> u32 {
  return block_kind_at(tile.sequence, tile.head, tile.first_query, key);
}

// The first key from `key` on in a block that is not empty, or the end.
fn next_key(tile: Tile, key: u32) -> u32 {
  var next = key;
  if HAS_BLOCK_MASK {
    for (; next < tile.keys.y; next = ((next >> params.block_shift) + 1u) << params.block_shift) {
      if block_kind(tile, next) != 0u { break; }
    }
  }
  return next;
}

// The first key of a tile's walk: with a block mask its steps do not straddle blocks.
fn begin_key(tile: Tile, step: u32) -> u32 {
  if HAS_BLOCK_MASK { return next_key(tile, tile.keys.x - tile.keys.x % step); }
  return tile.keys.x;
}

// Whether every row of the tile sees every one of the keys.
fn tile_sees(tile: Tile, first_key: u32, last_key: u32) -> bool {
  if HAS_BLOCK_MASK {
    if block_kind(tile, first_key) != 2u { return false; }
  } else if HAS_MASK_MOD {
    return false;
  }
  return all_visible(tile.sequence, tile.first_query, tile.last_query, first_key, last_key);
}

// *_quad: columns [column, column + 4) of the row that begins at element `row`; zero past the dim. A loop rather than
// four calls for unaligned rows: it is compiled once for each use.
fn q_element(element: u32) -> f32 {
  return decode_at(q[vector_of(element, IS_F16)], element, IS_F16);
}

fn q_quad(row: u32, column: u32) -> vec4<f32> {
  if (params.vector_loads & 1u) != 0u && column + 4u <= params.head_dim {
    return decode_quad(q[vector_of(row + column, IS_F16)], row + column, IS_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.head_dim); i++) {
    quad[i - column] = q_element(row + i * params.q_strides.w);
  }
  return quad;
}

fn k_element(element: u32) -> f32 {
  return decode_at(k[vector_of(element, KV_F16)], element, KV_F16);
}

fn k_quad(row: u32, column: u32) -> vec4<f32> {
  if (params.vector_loads & 2u) != 0u && column + 4u <= params.head_dim {
    return decode_quad(k[vector_of(row + column, KV_F16)], row + column, KV_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.head_dim); i++) {
    quad[i - column] = k_element(row + i * params.k_strides.w);
  }
  return quad;
}

fn v_element(element: u32) -> f32 {
  return decode_at(v[vector_of(element, KV_F16)], element, KV_F16);
}

fn v_quad(row: u32, column: u32) -> vec4<f32> {
  if (params.vector_loads & 4u) != 0u && column + 4u <= params.value_dim {
    return decode_quad(v[vector_of(row + column, KV_F16)], row + column, KV_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.value_dim); i++) {
    quad[i - column] = v_element(row + i * params.v_strides.w);
  }
  return quad;
}
