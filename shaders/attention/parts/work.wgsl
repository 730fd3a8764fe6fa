// parts: attention/inputs, attention/modifiers, attention/score, operand
//
// The work of a workgroup that owns query rows: the rows, their head and sequence, and the keys that they see.
// Needs BLOCK_Q and `params` (work: WorkParams) from the shader that uses it.

const KV_PAGED: bool = false;       // the first axis of k and v is pages, which all batch entries share
const FOLDS_GROUP: bool = false;    // a tile has rows of all heads that share a key head

// How tiles of query rows are divided among workgroups.
struct WorkParams {
  query_tiles: u32,    // ⌈rows / BLOCK_Q⌉, of the longest sequence
  splits: u32,         // parts that a tile's keys are divided into, one workgroup each
  head_tiles: u32,     // H, or Hkv if a group's heads share tiles
}

// A tile's work.
struct Tile {
  sequence: Sequence,
  head: u32,        // of the query; the first of several if the group shares the tile
  first_row: u32,   // its rows are [first_row, end_row) of the head or the group
  end_row: u32,
  first_query: u32, // bounds of their queries
  last_query: u32,
  split: u32,
  keys: vec2<u32>,  // the first that it attends to, and one past the last
  q_base: u32,      // element of q[batch, head, first query of the sequence, 0]
  k_base: u32,
  v_base: u32,
}

fn tile_of(group: u32) -> Tile {
  // last tiles first: with a causal mask they take the longest, and should not run alone at the end
  let first_row = (params.work.query_tiles - 1u - group % params.work.query_tiles) * BLOCK_Q;
  var rest = group / params.work.query_tiles;
  let split = rest % params.work.splits;
  rest /= params.work.splits;
  let heads_a_tile = select(1u, params.inputs.group_size, FOLDS_GROUP);
  let head = (rest % params.work.head_tiles) * heads_a_tile;
  let kv_head = head / params.inputs.group_size;
  let sequence = sequence_at(rest / params.work.head_tiles);
  let batch = batch_of(sequence);
  let kv_batch = select(batch, 0u, KV_PAGED);

  let rows = sequence.query_length * heads_a_tile;
  var tile = Tile(
    sequence, head, first_row, min(first_row + BLOCK_Q, rows), 0u, 0u, split, vec2<u32>(0u),
    row_of_operand(params.inputs.q, vec3<u32>(batch, head, sequence.first_query)),
    row_of_operand(params.inputs.k, vec3<u32>(kv_batch, kv_head, sequence.first_key)),
    row_of_operand(params.inputs.v, vec3<u32>(kv_batch, kv_head, sequence.first_key)),
  );
  if first_row >= rows { return tile; }  // its sequence is shorter than the longest
  tile.first_query = first_row;
  tile.last_query = tile.end_row - 1u;
  if FOLDS_GROUP {
    let is_one_head = first_row / sequence.query_length == tile.last_query / sequence.query_length;
    tile.first_query = select(0u, first_row % sequence.query_length, is_one_head);
    tile.last_query = select(sequence.query_length - 1u, tile.last_query % sequence.query_length, is_one_head);
  }
  tile.keys = share_of(tile_keys(sequence, tile.first_query, tile.last_query), split);
  tile.sequence.key_length = tile.keys.y;  // further keys belong to another split, or are outside every row's band
  return tile;
}

// The keys in the band of any of the queries [first, last]. With dropout the first key is a multiple of four, because four
// keys share a draw.
fn tile_keys(sequence: Sequence, first_query: u32, last_query: u32) -> vec2<u32> {
  let keys = key_range(sequence, first_query, last_query);
  if HAS_DROPOUT { return vec2<u32>(keys.x & ~3u, keys.y); }
  return keys;
}

// The split's share of a range of keys, in whole steps of 32, so that few tiles of keys are ragged.
fn share_of(keys: vec2<u32>, split: u32) -> vec2<u32> {
  if params.work.splits == 1u || keys.y <= keys.x { return keys; }
  let steps = (keys.y - keys.x + 31u) / 32u;
  let share = 32u * ((steps + params.work.splits - 1u) / params.work.splits);
  let begin = min(keys.x + split * share, keys.y);
  return vec2<u32>(begin, min(begin + share, keys.y));
}

// Rows past the tile's last compute the last row again, and are not written.
fn row_of(tile: Tile, place: u32) -> u32 {
  return min(tile.first_row + place, tile.end_row - 1u);
}

fn query_of(tile: Tile, row: u32) -> u32 {
  if FOLDS_GROUP { return row % tile.sequence.query_length; }
  return row;
}

fn head_of(tile: Tile, row: u32) -> u32 {
  if FOLDS_GROUP { return tile.head + row / tile.sequence.query_length; }
  return tile.head;
}

// Element at which a row of q begins.
fn q_row(tile: Tile, row: u32) -> u32 {
  return tile.q_base + (head_of(tile, row) - tile.head) * params.inputs.q.strides.y + query_of(tile, row) * params.inputs.q.strides.z;
}

fn block_kind(tile: Tile, key: u32) -> u32 {
  return block_kind_at(tile.sequence, tile.head, tile.first_query, key);
}

// The first key from `key` on in a block that is not empty, or the end.
fn next_key(tile: Tile, key: u32) -> u32 {
  var next = key;
  if HAS_BLOCK_MASK {
    for (; next < tile.keys.y; next = ((next >> params.blocks.shift) + 1u) << params.blocks.shift) {
      if block_kind(tile, next) != 0u { break; }
    }
  }
  return next;
}

// The first key at which a tile starts. With a block mask, its steps do not straddle blocks.
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
