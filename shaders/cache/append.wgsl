// parts: element, launch
//
// Writes new keys and values into a cache's storage, in place: converted to its dtype, the keys rotated on the way
// (rotary position embedding, Su et al. 2021):
//
//     keys[block, h, slot, :]   = R(p) k[b, h, n, :]
//     values[block, h, slot, :] = v[b, h, n, :]                 p = the position of the token in row n
//
//     R(p) turns the pair (x, y) into (x cos − y sin, y cos + x sin), by row p of the tables; pairs are (2j, 2j + 1)
//     (interleaved) or (j, j + rotary_dim / 2) (half-split); elements from rotary_dim on stay as they are.
//
// k [B, Hkv, N, D], v [B, Hkv, N, Dv], any strides; keys [blocks, Hkv, slots, D], values [blocks, Hkv, slots, Dv] of rows
// that begin at a word. Where a token goes:
//
//     not paged   block = b; slot = p, but from `kept` on a ring: kept + (p − kept) mod ring (StreamingLLM, Xiao et
//                 al. 2023). Rows [head_rows, head_rows + gap) would be overwritten by later ones, and are left out.
//     paged       block = table[…], slot = p mod page_size (PagedAttention, Kwon et al. 2023). The table has a row for
//                 each batch entry: the position of row 0, how many of the N rows are real, and the pages from that of
//                 row 0 on.
//
// One invocation writes one 32-bit word, those of the keys first: one f32, or two f16. Bound by bandwidth.

const IN_F16: bool = false;      // k and v
const CACHE_F16: bool = false;

struct Params {
  key_words: u32,           // words of the rows written: of the keys, and in all
  words: u32,
  key_row_words: u32,       // words of a row of storage
  value_row_words: u32,
  key_dim: u32,
  value_dim: u32,
  kv_heads: u32,
  rows: u32,                // rows written of each batch entry and head
  head_rows: u32,
  gap: u32,
  position: u32,            // of row 0, where not paged
  kept: u32,                // slots before the ring
  ring: u32,                // slots of the ring, at least 1
  slots: u32,               // slots of a block
  page_size: u32,           // 0: not paged
  table_offset: u32,        // words
  table_row: u32,           // words
  rotary_dim: u32,          // 0: no rotation
  is_interleaved: u32,
  k_offset: u32,            // elements
  v_offset: u32,
  cos_offset: u32,
  sin_offset: u32,
  k_strides: vec4<u32>,     // elements, of [B, Hkv, N, D]
  v_strides: vec4<u32>,
  cos_strides: vec2<u32>,
  sin_strides: vec2<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> k: array<u32>;              // [B, Hkv, N, D]
@group(0) @binding(2) var<storage, read> v: array<u32>;              // [B, Hkv, N, Dv]
@group(0) @binding(3) var<storage, read> cos_table: array<f32>;      // [P, rotary_dim / 2]
@group(0) @binding(4) var<storage, read> sin_table: array<f32>;      // [P, rotary_dim / 2]
@group(0) @binding(5) var<storage, read> table: array<u32>;          // [B, table_row]
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;     // [blocks, Hkv, slots, D]
@group(0) @binding(7) var<storage, read_write> values: array<u32>;   // [blocks, Hkv, slots, Dv]

struct Place {
  batch: u32,
  head: u32,
  row: u32,        // of k and v
  position: u32,
  target_row: u32, // of the storage
  is_real: bool,
}

// `index` counts the rows written: [B, Hkv, rows].
fn place(index: u32) -> Place {
  let r = index % params.rows;
  let head = (index / params.rows) % params.kv_heads;
  let batch = index / (params.rows * params.kv_heads);
  let row = select(r + params.gap, r, r < params.head_rows);
  var position = params.position + row;
  var block = batch;
  var slot = position;
  var is_real = true;
  if params.page_size > 0u {
    let entry = params.table_offset + batch * params.table_row;
    let first = table[entry];
    is_real = row < table[entry + 1u];
    position = first + row;
    if is_real { block = table[entry + 2u + position / params.page_size - first / params.page_size]; }
    slot = position % params.page_size;
  } else if position >= params.kept {
    slot = params.kept + (position - params.kept) % params.ring;
  }
  let target_row = (block * params.kv_heads + head) * params.slots + slot;
  return Place(batch, head, row, position, target_row, is_real);
}

fn load_key(element: u32) -> f32 {
  return decode_element(k[word_index(element, IN_F16)], element, IN_F16);
}

fn load_value(element: u32) -> f32 {
  return decode_element(v[word_index(element, IN_F16)], element, IN_F16);
}

// Element `column` of a key that begins at element `origin`, rotated; 0 in a row's padding.
fn rotated(origin: u32, column: u32, position: u32) -> f32 {
  if column >= params.key_dim { return 0.0; }
  let x = load_key(origin + column * params.k_strides.w);
  if column >= params.rotary_dim { return x; }
  let half = params.rotary_dim / 2u;
  var pair = column % half;
  var is_second = column >= half;
  var other = select(column + half, column - half, is_second);
  if params.is_interleaved != 0u {
    pair = column / 2u;
    is_second = column % 2u == 1u;
    other = column ^ 1u;
  }
  let y = load_key(origin + other * params.k_strides.w);
  let cosine = cos_table[params.cos_offset + position * params.cos_strides.x + pair * params.cos_strides.y];
  let sine = sin_table[params.sin_offset + position * params.sin_strides.x + pair * params.sin_strides.y];
  return x * cosine + select(-y, y, is_second) * sine;
}

fn plain(origin: u32, column: u32) -> f32 {
  if column >= params.value_dim { return 0.0; }
  return load_value(origin + column * params.v_strides.w);
}

fn write_key(word: u32) {
  let to = place(word / params.key_row_words);
  if !to.is_real { return; }
  let origin = params.k_offset + dot(vec3<u32>(to.batch, to.head, to.row), params.k_strides.xyz);
  let column = word % params.key_row_words;
  let target_word = to.target_row * params.key_row_words + column;
  if CACHE_F16 {
    let first = rotated(origin, 2u * column, to.position);
    keys[target_word] = encode_pair(vec2<f32>(first, rotated(origin, 2u * column + 1u, to.position)));
  } else {
    keys[target_word] = bitcast<u32>(rotated(origin, column, to.position));
  }
}

fn write_value(word: u32) {
  let to = place(word / params.value_row_words);
  if !to.is_real { return; }
  let origin = params.v_offset + dot(vec3<u32>(to.batch, to.head, to.row), params.v_strides.xyz);
  let column = word % params.value_row_words;
  let target_word = to.target_row * params.value_row_words + column;
  if CACHE_F16 {
    values[target_word] = encode_pair(vec2<f32>(plain(origin, 2u * column), plain(origin, 2u * column + 1u)));
  } else {
    values[target_word] = bitcast<u32>(plain(origin, column));
  }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let word = linear_group(group, groups) * 64u + lane;
  if word >= params.words { return; }
  if word < params.key_words { write_key(word); } else { write_value(word - params.key_words); }
}
