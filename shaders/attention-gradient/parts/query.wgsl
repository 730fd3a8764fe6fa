// parts: attention-gradient/pair, attention/inputs, attention/score, attention/work
//
// What the kernels of q's gradient share: where rows of k, v and dQ begin. Needs `params` (queries:
// QueryGradientParams) from the shader that uses it.

struct QueryGradientParams {
  d_query_strides: vec4<u32>,  // elements
}

@group(0) @binding(8) var<storage, read_write> output: array<u32>;    // dQ [B, H, Nq, D]

// Elements at which rows begin.
fn k_row(tile: Tile, key: u32) -> u32 {
  return tile.k_base + key * params.inputs.k.strides.z;
}

fn v_row(tile: Tile, key: u32) -> u32 {
  return tile.v_base + key * params.inputs.v.strides.z;
}

fn d_query_row(tile: Tile, row: u32) -> u32 {
  let sequence = tile.sequence;
  return dot(params.queries.d_query_strides.xyz, vec3<u32>(batch_of(sequence), tile.head, sequence.first_query + row));
}
