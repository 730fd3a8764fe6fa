// parts: element, launch
//
// Writes new keys and values into a cache's storage, in place. It converts them to the cache's dtype, and rotates the keys
// (rotary position embedding, Su et al. 2021):
//
//     keys[block, h, slot, :]   = R(p) k[b, h, n, :]
//     values[block, h, slot, :] = v[b, h, n, :]                 p = the position of the token in row n
//
//     R(p) rotates the pair (x, y) to (x cos − y sin, y cos + x sin), by row p of the tables. Pairs are (2j, 2j + 1)
//     (interleaved) or (j, j + rotary dim / 2) (half-split). Elements from the rotary dim on stay as they are.
//
// k [B, Hkv, N, D], v [B, Hkv, N, Dv], any strides; keys [blocks, Hkv, slots, D], values [blocks, Hkv, slots, Dv] of rows
// that begin at a word. A block has `kept` slots, then a ring. Position p is in slot p before the ring, and in slot
// kept + (p − kept) mod ring on it (StreamingLLM, Xiao et al. 2023). A token goes to:
//
//     not paged   block = b. Rows [head_rows, head_rows + gap) would be overwritten by later ones, and are left out.
//     paged       block = table[…], a page, which is all ring (PagedAttention, Kwon et al. 2023). The table has a row for
//                 each batch entry: the position of row 0, how many of the N rows are real, and the pages from that of
//                 row 0 on.
//
// One invocation writes one 32-bit word (one f32 or two f16), a workgroup 64 of them, the keys first. Bound by bandwidth.

const IN_F16: bool = false;      // k and v
const CACHE_F16: bool = false;

// k or v, and the storage that its rows go to.
struct RowParams {
  strides: vec4<u32>,       // elements, of [B, Hkv, N, D]
  offset: u32,              // elements
  dim: u32,                 // D
  row_words: u32,           // words of a row of storage
}

// cos or sin.
struct AngleParams {
  strides: vec2<u32>,       // elements, of [P, rotary dim / 2]
  offset: u32,              // elements
}

struct RotaryParams {
  dim: u32,                 // elements of a key; 0: no rotation
  is_interleaved: u32,
  @align(16) cos: AngleParams,
  @align(16) sin: AngleParams,
}

struct Params {
  words: u32,               // words of the rows written
  key_words: u32,           // of those the words of keys
  kv_heads: u32,
  rows: u32,                // rows written of each batch entry and head
  head_rows: u32,
  gap: u32,                 // rows
  position: u32,            // position of row 0; paged: the table has it
  kept: u32,                // slots
  ring: u32,                // slots
  table_offset: u32,        // words
  table_row: u32,           // words of a row of the table; 0: not paged
  @align(16) k: RowParams,
  @align(16) v: RowParams,
  @align(16) rotary: RotaryParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> k: array<u32>;              // [B, Hkv, N, D]
@group(0) @binding(2) var<storage, read> v: array<u32>;              // [B, Hkv, N, Dv]
@group(0) @binding(3) var<storage, read> cos_table: array<f32>;      // [P, rotary dim / 2]
@group(0) @binding(4) var<storage, read> sin_table: array<f32>;      // [P, rotary dim / 2]
@group(0) @binding(5) var<storage, read> table: array<u32>;          // [B, table_row]
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;     // [blocks, Hkv, slots, D]
@group(0) @binding(7) var<storage, read_write> values: array<u32>;   // [blocks, Hkv, slots, Dv]

struct Place {
  origin: vec3<u32>,  // batch entry, head and row of k and v
  position: u32,
  target_row: u32,    // row of the storage
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
  var is_real = true;
  if params.table_row > 0u {
    let entry = params.table_offset + batch * params.table_row;
    let first = table[entry];
    is_real = row < table[entry + 1u];
    position = first + row;
    if is_real { block = table[entry + 2u + position / params.ring - first / params.ring]; }
  }
  var slot = position;
  if position >= params.kept { slot = params.kept + (position - params.kept) % params.ring; }
  let target_row = (block * params.kv_heads + head) * (params.kept + params.ring) + slot;
  return Place(vec3<u32>(batch, head, row), position, target_row, is_real);
}

fn load_key(element: u32) -> f32 {
  return decode_element(k[word_index(element, IN_F16)], element, IN_F16);
}

fn load_value(element: u32) -> f32 {
  return decode_element(v[word_index(element, IN_F16)], element, IN_F16);
}

// Element `column` of a key that begins at element `origin`, rotated.
fn rotated(origin: u32, column: u32, position: u32) -> f32 {
  let rotary = params.rotary;
  let x = load_key(origin + column * params.k.strides.w);
  if column >= rotary.dim { return x; }
  let half = rotary.dim / 2u;
  var pair = column % half;
  var is_second = column >= half;
  var other = select(column + half, column - half, is_second);
  if rotary.is_interleaved != 0u {
    pair = column / 2u;
    is_second = column % 2u == 1u;
    other = column ^ 1u;
  }
  let y = load_key(origin + other * params.k.strides.w);
  let cosine = cos_table[rotary.cos.offset + dot(vec2<u32>(position, pair), rotary.cos.strides)];
  let sine = sin_table[rotary.sin.offset + dot(vec2<u32>(position, pair), rotary.sin.strides)];
  return x * cosine + select(-y, y, is_second) * sine;
}

// Element `column` of a row as it is stored; 0 in the row's padding.
fn stored(rows: RowParams, is_key: bool, to: Place, column: u32) -> f32 {
  if column >= rows.dim { return 0.0; }
  let origin = rows.offset + dot(to.origin, rows.strides.xyz);
  if is_key { return rotated(origin, column, to.position); }
  return load_value(origin + column * rows.strides.w);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  var word = linear_group(group, groups) * 64u + lane;
  if word >= params.words { return; }
  let is_key = word < params.key_words;
  var rows = params.k;
  if !is_key {
    rows = params.v;
    word -= params.key_words;
  }
  let to = place(word / rows.row_words);
  if !to.is_real { return; }
  let column = word % rows.row_words;
  var bits = 0u;
  if CACHE_F16 {
    bits = encode_pair(vec2<f32>(stored(rows, is_key, to, 2u * column), stored(rows, is_key, to, 2u * column + 1u)));
  } else {
    bits = bitcast<u32>(stored(rows, is_key, to, column));
  }
  let target_word = to.target_row * rows.row_words + column;
  if is_key { keys[target_word] = bits; } else { values[target_word] = bits; }
}
