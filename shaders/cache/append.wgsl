// parts: codes, element, launch, operand, rotary, special
//
// Writes new keys and values into a cache's storage, in place. It converts them to the cache's dtype, and rotates the keys
// (rotary position embedding, see the part rotary):
//
//     keys[block, h, slot, :]   = R(p) k[b, h, n, :]
//     values[block, h, slot, :] = v[b, h, n, :]                 p = the position of the token in row n
//
// k [B, Hkv, N, D], v [B, Hkv, N, Dv], any strides; keys [blocks, Hkv, slots, D], values [blocks, Hkv, slots, Dv] of rows
// that begin at a word. The token at position p goes to:
//
//     not paged   block = b, which has `kept` slots, then a ring (StreamingLLM, Xiao et al. 2023): slot p before the ring,
//                 and slot kept + (p − kept) mod ring on it. Rows [head_rows, head_rows + gap) would be overwritten by
//                 later ones, and are left out.
//     PAGED       block = table[…], a page, and slot = p mod page size (PagedAttention, Kwon et al. 2023). The table has a
//                 row for each batch entry: the position of row 0, how many of the N rows are real, and the pages from
//                 that of row 0 on.
//
// One invocation writes one unit, a workgroup 64 of them, the keys first. A unit is one 32-bit word (one f32 or two f16), or one
// group of codes with its scale (see the part codes). A group is rounded to the nearest codes, halves to even:
//
//     scale = max |x| / L      code = round(x · (L / max |x|))      L = 127 of 8 bits, 7 of 4 bits
//
// With HADAMARD each group of a key is first multiplied by an orthonormal Hadamard matrix (QuaRot, Ashkboos et al. 2024), which
// spreads outliers over the group; if its length n is no power of two, it falls into blocks of the largest one that divides n.
// If max |x| < 2⁻¹⁰⁰, all codes and the scale are 0. If a number of the group is not finite, the scale is NaN, and so is
// everything that is read from the group. Bound by bandwidth.

const IN_F16: bool = false;      // k and v
const K_BITS: u32 = 32u;         // storage of keys: 32 (f32), 16 (f16), or codes of 8 or 4 bits
const V_BITS: u32 = 32u;         // and of values
const HADAMARD: bool = false;    // of keys of 4 bits
const PAGED: bool = false;
const RAW: bool = false;         // k and v are words that are copied, whatever they mean: no arithmetic may touch them

// k or v, and the storage that its rows go to.
struct RowParams {
  operand: Operand,         // [B, Hkv, N, D]
  dim: u32,                 // D
  row_words: u32,           // words of a row of storage
  row_units: u32,           // units of a row
}

// Read unless PAGED.
struct RingParams {
  position: u32,            // position of row 0
  kept: u32,                // slots before the ring
  slots: u32,               // of the ring
  head_rows: u32,           // rows before the gap
  gap: u32,                 // rows
}

// Read if PAGED.
struct PageParams {
  slots: u32,               // of a page
  table_at: u32,            // words
  table_row: u32,           // words of a row of the table
}

struct Params {
  units: u32,               // units of the rows written
  key_units: u32,           // of those the units of keys
  kv_heads: u32,
  rows: u32,                // rows written of each batch entry and head
  @align(16) ring: RingParams,
  @align(16) page: PageParams,
  k: RowParams,
  v: RowParams,
  rotary: RotaryParams,
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
  if PAGED {
    let page = params.page;
    let entry = page.table_at + batch * page.table_row;
    let first = table[entry];
    let position = first + r;
    if r >= table[entry + 1u] { return Place(vec3<u32>(batch, head, r), position, 0u, false); }
    let block = table[entry + 2u + position / page.slots - first / page.slots];
    let slot = position % page.slots;
    return Place(vec3<u32>(batch, head, r), position, (block * params.kv_heads + head) * page.slots + slot, true);
  }
  let ring = params.ring;
  let row = select(r + ring.gap, r, r < ring.head_rows);
  let position = ring.position + row;
  var slot = position;
  if position >= ring.kept { slot = ring.kept + (position - ring.kept) % ring.slots; }
  let target_row = (batch * params.kv_heads + head) * (ring.kept + ring.slots) + slot;
  return Place(vec3<u32>(batch, head, row), position, target_row, true);
}

fn load_key(element: u32) -> f32 {
  return decode_element(k[word_index(element, IN_F16)], element, IN_F16);
}

fn load_value(element: u32) -> f32 {
  return decode_element(v[word_index(element, IN_F16)], element, IN_F16);
}

// Element `column` of a key that begins at element `origin`, rotated.
fn rotated(origin: u32, column: u32, position: u32) -> f32 {
  let x = load_key(origin + column * params.k.operand.strides.w);
  if column >= params.rotary.dim { return x; }
  let at = rotary_column(column);
  let other = load_key(origin + at.other * params.k.operand.strides.w);
  return rotate(x, other, at.is_second, rotary_angle(position, at.pair));
}

// Element `column` of a row as it is stored; 0 in the row's padding.
fn stored(rows: RowParams, is_key: bool, to: Place, column: u32) -> f32 {
  if column >= rows.dim { return 0.0; }
  let origin = row_of_operand(rows.operand, to.origin);
  if is_key { return rotated(origin, column, to.position); }
  return load_value(origin + column * rows.operand.strides.w);
}

fn store_word(is_key: bool, word: u32, bits: u32) {
  if is_key { keys[word] = bits; } else { values[word] = bits; }
}

// A column of a row before it is rounded; `transformed` is it if groups are transformed, and 0 in the row's padding.
fn coded_number(rows: RowParams, is_key: bool, to: Place, column: u32, transformed: f32) -> f32 {
  if HADAMARD && is_key { return transformed; }
  return stored(rows, is_key, to, column);
}

// Multiplies the first `count` numbers by Hadamard matrices, in place (the fast Walsh-Hadamard transform).
fn transform(x: ptr<function, array<f32, CODE_GROUP>>, count: u32) {
  let block = count & (~count + 1u);
  for (var half = 1u; half < block; half *= 2u) {
    for (var pair = 0u; pair < count / 2u; pair++) {
      let one = pair / half * 2u * half + pair % half;
      let a = (*x)[one];
      let b = (*x)[one + half];
      (*x)[one] = a + b;
      (*x)[one + half] = a - b;
    }
  }
  let normaliser = 1.0 / sqrt(f32(block));
  for (var i = 0u; i < count; i++) { (*x)[i] *= normaliser; }
}

// Writes the group of codes that begins at a column.
fn store_group(rows: RowParams, is_key: bool, to: Place, first: u32, bits: u32) {
  let end = select(min(first + CODE_GROUP, rows.dim), rows.dim, bits == 8u);
  var held: array<f32, CODE_GROUP> = array<f32, CODE_GROUP>();  // a transformed group
  if HADAMARD && is_key {
    for (var i = 0u; i < end - first; i++) { held[i] = stored(rows, is_key, to, first + i); }
    transform(&held, end - first);
  }
  var largest = 0.0;
  var is_finite = true;
  for (var column = first; column < end; column++) {
    let x = coded_number(rows, is_key, to, column, held[column % CODE_GROUP]);
    largest = max(largest, abs(x));
    is_finite = is_finite && !is_special(x);
  }
  let limit = select(7.0, 127.0, bits == 8u);
  let is_zero = largest < SMALLEST;
  let inverse = select(limit / largest, 0.0, is_zero || !is_finite);
  let scale = select(largest / limit, 0.0, is_zero);
  let target_row = to.target_row * rows.row_words;
  store_word(is_key, target_row + scale_word(first, bits), select(NAN_BITS, bitcast<u32>(scale), is_finite));
  let codes = 32u / bits;  // in a word
  for (var column = first; column < end; column += codes) {
    var word = 0u;
    for (var i = 0u; i < codes; i++) {
      var code = 0;
      let x = coded_number(rows, is_key, to, column + i, held[(column + i) % CODE_GROUP]);
      if is_finite { code = i32(round(x * inverse)); }
      word |= (bitcast<u32>(code) & ((1u << bits) - 1u)) << (bits * i);
    }
    store_word(is_key, target_row + code_word(column, bits), word);
  }
}

const WORKGROUP: u32 = 64u;
const SMALLEST: f32 = 0x1p-100f;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  var unit = linear_group(group, groups) * WORKGROUP + lane;
  if unit >= params.units { return; }
  let is_key = unit < params.key_units;
  var rows = params.k;
  var bits = K_BITS;
  if !is_key {
    rows = params.v;
    bits = V_BITS;
    unit -= params.key_units;
  }
  let to = place(unit / rows.row_units);
  if !to.is_real { return; }
  let at = unit % rows.row_units;
  if (K_BITS < 16u || V_BITS < 16u) && bits < 16u {
    store_group(rows, is_key, to, at * CODE_GROUP, bits);
    return;
  }
  var word = 0u;
  if RAW {
    let element = row_of_operand(rows.operand, to.origin) + at * rows.operand.strides.w;
    if is_key { word = k[element]; } else { word = v[element]; }
  } else if bits == 16u {
    word = encode_pair(vec2<f32>(stored(rows, is_key, to, 2u * at), stored(rows, is_key, to, 2u * at + 1u)));
  } else {
    word = bitcast<u32>(stored(rows, is_key, to, at));
  }
  store_word(is_key, to.target_row * rows.row_words + at, word);
}
