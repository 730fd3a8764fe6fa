// parts: attention-gradient/pair, attention/inputs, attention/modifiers, attention/score, operand, table
//
// What the kernels of k's and v's gradients share: the work of a tile of keys, and where rows of k, v, dK and dV begin. Needs
// BLOCK_Q, BLOCK_K and `params` (keys: KeyGradientParams) from the shader that uses it.

struct KeyGradientParams {
  d_key_strides: vec4<u32>,    // elements
  d_value_strides: vec4<u32>,
  d_value_at: u32,     // element at which dV begins: after dK if one buffer holds both
  key_tiles: u32,      // ⌈keys / BLOCK_K⌉, of the longest sequence
}

@group(0) @binding(8) var<storage, read_write> output: array<u32>;    // dK [B, Hkv, Nk, D]

fn d_key_row(sequence: Sequence, kv_head: u32, key: u32) -> u32 {
  return dot(params.keys.d_key_strides.xyz, vec3<u32>(batch_of(sequence), kv_head, sequence.first_key + key));
}

fn d_value_row(sequence: Sequence, kv_head: u32, key: u32) -> u32 {
  return params.keys.d_value_at
    + dot(params.keys.d_value_strides.xyz, vec3<u32>(batch_of(sequence), kv_head, sequence.first_key + key));
}

// The work of a workgroup that owns keys: BLOCK_K of them, for all query heads of their group.
struct KeyTile {
  sequence: Sequence,
  kv_head: u32,
  first_key: u32,      // its rows are [first_key, end_key) of the sequence's rows
  end_key: u32,        // keys past sequence.key_length, which no query sees, have gradients too: 0
  queries: vec2<u32>,  // the first whose band holds any of its keys, and one past the last
  k_base: u32,         // element of k[batch, kv_head, first key of the sequence, 0]
  v_base: u32,
}

fn key_tile_of(group: u32) -> KeyTile {
  let first_key = (group % params.keys.key_tiles) * BLOCK_K;  // with a causal mask the first keys have the most queries
  let rest = group / params.keys.key_tiles;
  let kv_heads = params.heads / params.inputs.group_size;
  let kv_head = rest % kv_heads;
  let sequence = sequence_at(rest / kv_heads);
  let end_key = min(first_key + BLOCK_K, stored_keys(sequence));
  let batch = batch_of(sequence);
  var tile = KeyTile(
    sequence, kv_head, first_key, end_key, vec2<u32>(0u),
    row_of_operand(params.inputs.k, vec3<u32>(batch, kv_head, sequence.first_key)),
    row_of_operand(params.inputs.v, vec3<u32>(batch, kv_head, sequence.first_key)),
  );
  let last_key = min(end_key, sequence.key_length);
  if first_key < last_key { tile.queries = query_range(sequence, first_key, last_key - 1u); }
  return tile;
}

// Number of keys of a sequence in k and v, including those past its key length.
fn stored_keys(sequence: Sequence) -> u32 {
  if params.options.sequences.packed_at == ABSENT { return params.options.sequences.key_length; }
  let keys = params.options.sequences.packed_at + params.options.sequences.count + 1u + sequence.index;
  return table[keys + 1u] - table[keys];
}

// Whether the queries [first, last] of a head see all of the tile's keys.
fn key_tile_is_seen(tile: KeyTile, head: u32, first_query: u32, last_query: u32) -> bool {
  if HAS_BLOCK_MASK {
    if block_kind_at(tile.sequence, head, first_query, tile.first_key) != 2u { return false; }
  } else if HAS_MASK_MOD {
    return false;
  }
  return all_visible(tile.sequence, first_query, last_query, tile.first_key, tile.first_key + BLOCK_K - 1u);
}

// The first query at which a tile starts for a head. With a block mask, its steps of BLOCK_Q do not straddle blocks.
fn begin_query(tile: KeyTile, head: u32) -> u32 {
  if HAS_BLOCK_MASK { return next_query(tile, head, tile.queries.x - tile.queries.x % BLOCK_Q); }
  return tile.queries.x;
}

// The first query from `query` on in a block that is not empty, or the end.
fn next_query(tile: KeyTile, head: u32, query: u32) -> u32 {
  var next = query;
  if HAS_BLOCK_MASK {
    for (; next < tile.queries.y; next = ((next >> params.blocks.shift) + 1u) << params.blocks.shift) {
      if block_kind_at(tile.sequence, head, next, tile.first_key) != 0u { break; }
    }
  }
  return next;
}
