// What every fused attention kernel is given: parameters, bindings, where a tile's work lies, and reading q, k and v.
// Names IS_F16 and BLOCK_Q of the shader that uses it.

struct Params {
  groups: u32,            // workgroups with work
  query_tiles: u32,       // ⌈Nq / BLOCK_Q⌉
  heads: u32,             // H, of the query
  group_size: u32,        // query heads that share a key head
  query_length: u32,      // Nq
  key_length: u32,        // Nk
  head_dim: u32,          // D
  value_dim: u32,         // Dv ≤ VALUE_DIM
  scale: f32,             // multiplies the scores
  band_left: i32,         // keys, see visibility
  band_right: i32,
  query_offset: i32,
  q_strides: vec4<u32>,   // elements: batch, head, row, column
  k_strides: vec4<u32>,
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
  vector_loads: u32,      // bits 0, 1, 2: q, k, v may be read four columns at a time
  writes_log_sum_exp: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<u32>>;         // [B, H, Nq, D], f32 or f16
@group(0) @binding(2) var<storage, read> k: array<vec4<u32>>;         // [B, Hkv, Nk, D]
@group(0) @binding(3) var<storage, read> v: array<vec4<u32>>;         // [B, Hkv, Nk, Dv]
@group(0) @binding(4) var<storage, read> mask: array<u32>;            // broadcast to [B, H, Nq, Nk]: bool, f32 or f16
@group(0) @binding(5) var<storage, read> key_mask: array<u32>;        // [B, Nk], bool
@group(0) @binding(6) var<storage, read_write> output: array<u32>;    // [B, H, Nq, Dv], dtype of q
@group(0) @binding(7) var<storage, read_write> log_sum_exp: array<u32>;  // [B, H, Nq], f32

// Where a tile's work lies.
struct Tile {
  batch: u32,
  head: u32,
  first_query: u32,
  q_base: u32,  // element of q[batch, head, 0, 0]
  k_base: u32,
  v_base: u32,
}

fn tile_of(group: u32) -> Tile {
  // the last first: with a causal mask those are the longest, and none is left over at the end
  let first_query = (params.query_tiles - 1u - group % params.query_tiles) * BLOCK_Q;
  let head = (group / params.query_tiles) % params.heads;
  let batch = group / (params.query_tiles * params.heads);
  let kv_head = head / params.group_size;
  return Tile(
    batch, head, first_query,
    params.q_offset + batch * params.q_strides.x + head * params.q_strides.y,
    params.k_offset + batch * params.k_strides.x + kv_head * params.k_strides.y,
    params.v_offset + batch * params.v_strides.x + kv_head * params.v_strides.y,
  );
}

// *_quad: columns [column, column + 4) of the row that begins at element `row`; zero past the dim. A loop rather than
// four calls for unaligned rows: it is compiled once for each use.
fn q_element(element: u32) -> f32 {
  let word = word_index(element, IS_F16);
  return decode_element(q[word >> 2u][word & 3u], element, IS_F16);
}

fn q_quad(row: u32, column: u32) -> vec4<f32> {
  if (params.vector_loads & 1u) != 0u && column + 4u <= params.head_dim {
    return decode_quad(q[quad_index(row + column, IS_F16)], row + column, IS_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.head_dim); i++) {
    quad[i - column] = q_element(row + i * params.q_strides.w);
  }
  return quad;
}

fn k_element(element: u32) -> f32 {
  let word = word_index(element, IS_F16);
  return decode_element(k[word >> 2u][word & 3u], element, IS_F16);
}

fn k_quad(row: u32, column: u32) -> vec4<f32> {
  if (params.vector_loads & 2u) != 0u && column + 4u <= params.head_dim {
    return decode_quad(k[quad_index(row + column, IS_F16)], row + column, IS_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.head_dim); i++) {
    quad[i - column] = k_element(row + i * params.k_strides.w);
  }
  return quad;
}

fn v_element(element: u32) -> f32 {
  let word = word_index(element, IS_F16);
  return decode_element(v[word >> 2u][word & 3u], element, IS_F16);
}

fn v_quad(row: u32, column: u32) -> vec4<f32> {
  if (params.vector_loads & 4u) != 0u && column + 4u <= params.value_dim {
    return decode_quad(v[quad_index(row + column, IS_F16)], row + column, IS_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.value_dim); i++) {
    quad[i - column] = v_element(row + i * params.v_strides.w);
  }
  return quad;
}
