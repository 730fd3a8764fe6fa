// parts: attention/operands, attention/score, attention/visibility, element, special
// What the kernels of attention's gradient share (Dao, FlashAttention-2, 2023, algorithm 2): scores are computed again
// from q and k, and weights from each row's log-sum-exp L, so that nothing of the score matrix's size is kept. With
//
//     P = exp(S - L)        dP = dO Vᵀ        D = rowsum(dO ∘ O) - dL        one D a row; dL: gradient of L
//     dS = P ∘ (M ∘ dP - D)                   M: dropout's factors, 0 or 1 / (1 - p); 1 without dropout
//     dS' = dS ∘ f'                           f': derivative of softcap, ALiBi and score_mod
//
// the gradients are dV = (P ∘ M)ᵀ dO, dQ = scale · dS' K, dK = scale · dS'ᵀ Q, that of a float mask dS, and that of a
// head's sink -Σ_rows exp(sink - L) · D. All are 0 where a key is hidden, and in rows that see no key. No atomics: every
// element is summed by one workgroup in a fixed order, a key's over all query heads of its group.
//
// A score weighed 0 leaves NaN and infinities of the key, of the query and of dO out of all gradients. One that is not 0
// carries those of k, q and v into dS, so a product with dS may take the finite part of its other operand; the product
// with P ∘ M may not.

@group(0) @binding(7) var<storage, read> d_output: array<vec4<u32>>;  // [B, H, Nq, Dv], dtype of q
@group(0) @binding(8) var<storage, read_write> output: array<u32>;    // dQ; or dK, and from value_gradient_at on dV

// What one query and one key add to the gradients.
struct Pair {
  weight: f32,    // P ∘ M
  d_masked: f32,  // dS
  d_score: f32,   // dS'
}

// `score` is scale · q · k, `d_weight` dO · v, `factor` dropout's. `is_visible` says that the query sees the key.
fn pair_of(
  sequence: Sequence, stats: vec2<f32>, slope: f32, head: u32, query: u32, key: u32,
  score: f32, d_weight: f32, factor: f32, is_visible: bool,
) -> Pair {
  var masked = modified_score(sequence, score, slope, head, query, key);
  if !is_visible { masked = masked_score(sequence, masked, head, query, key); }
  return pair_from(stats, masked, d_weight, factor, score_derivative(sequence, score, slope, head, query, key));
}

// From the score as the softmax saw it, and the derivative of that by scale · q · k.
fn pair_from(stats: vec2<f32>, masked: f32, d_weight: f32, factor: f32, derivative: f32) -> Pair {
  let above = masked - stats.x;
  // NaN itself, not its exponential, which SwiftShader makes a number
  let weight = select(select(exp(above), above, is_nan(above)), 0.0, masked == HIDDEN);
  let d_masked = weight * (select(factor * d_weight, 0.0, factor == 0.0) - stats.y);
  if weight == 0.0 { return Pair(0.0, 0.0, 0.0); }
  return Pair(select(weight * factor, 0.0, factor == 0.0), d_masked, d_masked * derivative);
}

// A row's log-sum-exp (0 where it saw no key) and D, which attention-gradient-rows has put into the table.
fn row_stats(sequence: Sequence, head: u32, query: u32) -> vec2<f32> {
  let row = (batch_of(sequence) * params.heads + head) * params.query_rows + sequence.first_query + query;
  let at = params.stats_at + row;
  return vec2<f32>(bitcast<f32>(table[at]), bitcast<f32>(table[at + params.stats_pitch]));
}

// Elements at which rows begin.
fn query_row(sequence: Sequence, head: u32, query: u32) -> u32 {
  return params.q_offset
    + dot(params.q_strides.xyz, vec3<u32>(batch_of(sequence), head, sequence.first_query + query));
}

fn d_output_row(sequence: Sequence, head: u32, query: u32) -> u32 {
  return params.d_output_offset
    + dot(params.d_output_strides.xyz, vec3<u32>(batch_of(sequence), head, sequence.first_query + query));
}

fn query_gradient_row(sequence: Sequence, head: u32, query: u32) -> u32 {
  return dot(params.gradient_strides.xyz, vec3<u32>(batch_of(sequence), head, sequence.first_query + query));
}

fn key_gradient_row(sequence: Sequence, kv_head: u32, key: u32) -> u32 {
  return dot(params.gradient_strides.xyz, vec3<u32>(batch_of(sequence), kv_head, sequence.first_key + key));
}

fn value_gradient_row(sequence: Sequence, kv_head: u32, key: u32) -> u32 {
  return params.value_gradient_at
    + dot(params.value_gradient_strides.xyz, vec3<u32>(batch_of(sequence), kv_head, sequence.first_key + key));
}

fn d_output_element(element: u32) -> f32 {
  return decode_at(d_output[vector_of(element, IS_F16)], element, IS_F16);
}

// Columns [column, column + 4) of the row that begins at element `row`; zero past the value dim.
fn d_output_quad(row: u32, column: u32) -> vec4<f32> {
  if (params.vector_loads & 8u) != 0u && column + 4u <= params.value_dim {
    return decode_quad(d_output[vector_of(row + column, IS_F16)], row + column, IS_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.value_dim); i++) {
    quad[i - column] = d_output_element(row + i * params.d_output_strides.w);
  }
  return quad;
}

// Where the work of a workgroup that owns keys lies: BLOCK_K of them, for all query heads of their group.
struct KeyTile {
  sequence: Sequence,
  kv_head: u32,
  first_key: u32,      // its rows are [first_key, end_key) of the sequence's
  end_key: u32,        // those past sequence.key_length, which nobody sees, have gradients too: 0
  queries: vec2<u32>,  // the first whose band holds any of its keys, and one past the last
  k_base: u32,         // element of k[batch, kv_head, first key of the sequence, 0]
  v_base: u32,
}

fn key_tile_of(group: u32) -> KeyTile {
  let first_key = (group % params.key_tiles) * BLOCK_K;  // with a causal mask the first have the most queries
  let rest = group / params.key_tiles;
  let kv_heads = params.heads / params.group_size;
  let kv_head = rest % kv_heads;
  let sequence = sequence_at(rest / kv_heads);
  let end_key = min(first_key + BLOCK_K, stored_keys(sequence));
  let batch = batch_of(sequence);
  var tile = KeyTile(
    sequence, kv_head, first_key, end_key, vec2<u32>(0u),
    params.k_offset + dot(params.k_strides.xyz, vec3<u32>(batch, kv_head, sequence.first_key)),
    params.v_offset + dot(params.v_strides.xyz, vec3<u32>(batch, kv_head, sequence.first_key)),
  );
  let last_key = min(end_key, sequence.key_length);
  if first_key < last_key { tile.queries = query_range(sequence, first_key, last_key - 1u); }
  return tile;
}

// Keys of a sequence in k and v, those past its key length too.
fn stored_keys(sequence: Sequence) -> u32 {
  if params.sequences_at == ABSENT { return params.key_length; }
  let keys = params.sequences_at + params.sequences + 1u + sequence.index;
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

// The first query of a tile's walk for a head: with a block mask its steps of BLOCK_Q do not straddle blocks.
fn begin_query(tile: KeyTile, head: u32) -> u32 {
  if HAS_BLOCK_MASK { return next_query(tile, head, tile.queries.x - tile.queries.x % BLOCK_Q); }
  return tile.queries.x;
}

// The first query from `query` on in a block that is not empty, or the end.
fn next_query(tile: KeyTile, head: u32, query: u32) -> u32 {
  var next = query;
  if HAS_BLOCK_MASK {
    for (; next < tile.queries.y; next = ((next >> params.block_shift) + 1u) << params.block_shift) {
      if block_kind_at(tile.sequence, head, next, tile.first_key) != 0u { break; }
    }
  }
  return next;
}
