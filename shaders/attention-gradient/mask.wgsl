// parts: attention-gradient/pair, attention-gradient/tile, attention/inputs, attention/keys, attention/score, attention/values, launch, operand, store
//
// The gradient of a float mask: dS of attention-gradient/pair, summed over the axes along which the mask is broadcast.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], d_output [B, H, Nq, Dv] → output in the mask's own shape: batch,
// head, query and key are each B, H, Nq, Nk or 1. One workgroup owns 32 × 32 elements of the mask (one along a broadcast
// axis). It computes dS of every tile of scores that they are added to, one after the other, and sums in a fixed order, in
// no more memory than the result. Tiles that no band reaches and empty blocks of a block mask are skipped.
//
// A head is 4·Nq·Nk·D floating-point operations: two products compute S and dP again. If a mask is broadcast along both
// queries and keys, one workgroup does all the work for each of its elements. Other masks keep a device busy.

const IS_F16: bool = false;     // storage of everything; arithmetic is f32
const WORKGROUP: u32 = 64u;     // invocations: 8 to a row

const OWN_ROWS: u32 = 32u;      // queries
const DIM: u32 = 32u;
const BLOCK_Q: u32 = OWN_ROWS;
const BLOCK_K: u32 = 32u;

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  batches: u32,        // batch entries, or sequences of a packed batch
  mask_heads: u32,     // the mask's own axes: its heads, and ⌈its queries / BLOCK_Q⌉, ⌈its keys / BLOCK_K⌉
  query_tiles: u32,
  key_tiles: u32,
  inputs: InputParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  gradient: GradientParams,
  d_mask_strides: vec4<u32>,  // elements: batch, head, query, key; 0 where broadcast
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(8) var<storage, read_write> output: array<u32>;    // the mask's own shape

// A tile of scores.
struct Place {
  sequence: Sequence,
  head: u32,
  first_query: u32,
  first_key: u32,
}

// Columns [first, first + 32) of q and k, or of dO and v.
fn stage(place: Place, are_values: bool, first: u32, lane: u32) {
  let batch = batch_of(place.sequence);
  let kv_head = place.head / params.inputs.group_size;
  for (var i = lane; i < 32u * LANES; i += WORKGROUP) {
    let column = first + 4u * (i % LANES);
    let query = place.first_query + i / LANES;
    let key = place.first_key + i / LANES;
    var own = vec4<f32>(0.0);
    if query < place.sequence.query_length {
      if are_values {
        own = d_output_quad(d_output_row(place.sequence, place.head, query), column);
      } else {
        own = q_quad(query_row(place.sequence, place.head, query), column);
      }
    }
    var other = vec4<f32>(0.0);
    if key < place.sequence.key_length {
      let row = vec3<u32>(batch, kv_head, place.sequence.first_key + key);
      if are_values {
        other = v_quad(row_of_operand(params.inputs.v, row), column);
      } else {
        other = k_quad(row_of_operand(params.inputs.k, row), column);
      }
    }
    own_chunk[(i / LANES) * PITCH + i % LANES] = own;
    other_chunk[interleaved(i / LANES) * PITCH + i % LANES] = other;
  }
}

// dS of four keys.
fn masked_quad(place: Place, row: u32, quad: u32) -> vec4<f32> {
  let query = place.first_query + row;
  if query >= place.sequence.query_length { return vec4<f32>(0.0); }
  let key = place.first_key + 4u * quad;
  let slope = slope_of(place.sequence, place.head);
  let stats = row_stats(place.sequence, place.head, query);
  let factors = dropout_quad(place.sequence, place.head, query, key);
  let scores = first_tile[row * PITCH + quad];
  let d_weights = own_chunk[row * PITCH + quad];
  var gradient = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) {
    gradient[i] = pair_of(
      place.sequence, stats, slope, place.head, query, key + i,
      params.options.score.scale * scores[i], d_weights[i], factors[i], false,
    ).d_masked;
  }
  return gradient;
}

// Adds dS of a tile of scores to this invocation's share of the sum.
fn add_tile(place: Place, sums: ptr<function, array<vec4<f32>, ROWS>>, lane: u32) {
  let x = lane % LANES;
  let y = lane / LANES;
  var scores: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
  var d_weights: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
  for (var d = 0u; d < params.inputs.head_dim; d += DIM_STEP) {
    workgroupBarrier();
    stage(place, false, d, lane);
    workgroupBarrier();
    multiply(&scores, params.inputs.head_dim - d, lane);
  }
  for (var d = 0u; d < params.inputs.value_dim; d += DIM_STEP) {
    workgroupBarrier();
    stage(place, true, d, lane);
    workgroupBarrier();
    multiply(&d_weights, params.inputs.value_dim - d, lane);
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    first_tile[(y + ROW_LANES * r) * PITCH + x] = scores[r];
    own_chunk[(y + ROW_LANES * r) * PITCH + x] = d_weights[r];
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) { (*sums)[r] += masked_quad(place, y + ROW_LANES * r, x); }
}

// The sum of the first tile over its rows from `row` to `end`.
fn column_sums(row: u32, end: u32, quad: u32) -> vec4<f32> {
  var sum = vec4<f32>(0.0);
  for (var i = row; i < end; i++) { sum += first_tile[i * PITCH + quad]; }
  return sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  // element of the mask at which its own begin; 0 along broadcast axes, whose strides are 0
  let repeats = params.d_mask_strides == vec4<u32>(0u);
  let own_key = (index % params.key_tiles) * BLOCK_K;
  var rest = index / params.key_tiles;
  let own_query = (rest % params.query_tiles) * BLOCK_Q;
  rest /= params.query_tiles;
  let own_head = rest % params.mask_heads;
  let own_batch = rest / params.mask_heads;

  var sums: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
  let end_batch = select(own_batch + 1u, params.batches, repeats.x);
  for (var batch = own_batch; batch < end_batch; batch++) {
    let sequence = sequence_at(batch);
    let end_head = select(own_head + 1u, params.heads, repeats.y);
    for (var head = own_head; head < end_head; head++) {
      var queries = vec2<u32>(own_query, min(own_query + BLOCK_Q, sequence.query_length));
      if repeats.z {
        queries = vec2<u32>(0u, sequence.query_length);
        if !repeats.w { queries = query_range(sequence, own_key, own_key + BLOCK_K - 1u); }
      }
      // whole tiles, so that no tile straddles blocks of a block mask
      for (var first_query = queries.x - queries.x % BLOCK_Q; first_query < queries.y; first_query += BLOCK_Q) {
        let last_query = min(first_query + BLOCK_Q, sequence.query_length) - 1u;
        var keys = key_range(sequence, first_query, last_query);
        if !repeats.w { keys = vec2<u32>(max(keys.x, own_key), min(keys.y, own_key + BLOCK_K)); }
        for (var first_key = keys.x - keys.x % BLOCK_K; first_key < keys.y; first_key += BLOCK_K) {
          if HAS_BLOCK_MASK {
            if block_kind_at(sequence, head, first_query, first_key) == 0u { continue; }
          }
          add_tile(Place(sequence, head, first_query, first_key), &sums, lane);
        }
      }
    }
  }

  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) { first_tile[(lane / LANES + ROW_LANES * r) * PITCH + lane % LANES] = sums[r]; }
  workgroupBarrier();
  let rows = select(min(params.options.sequences.query_length - own_query, BLOCK_Q), 1u, repeats.z);
  let columns = select(min(params.options.sequences.key_length - own_key, BLOCK_K), 1u, repeats.w);
  let quads = (columns + 3u) / 4u;
  let base = dot(params.d_mask_strides, vec4<u32>(own_batch, own_head, own_query, own_key));
  for (var i = lane; i < rows * quads; i += WORKGROUP) {
    let row = i / quads;
    let quad = i % quads;
    let end_row = select(row + 1u, BLOCK_Q, repeats.z);
    var sum = vec4<f32>(0.0);
    if repeats.w {
      for (var j = 0u; j < LANES; j++) { sum.x += dot(column_sums(row, end_row, j), vec4<f32>(1.0)); }
    } else {
      sum = column_sums(row, end_row, quad);
    }
    store_quad(base + row * params.d_mask_strides.z + 4u * quad, sum, min(columns - 4u * quad, 4u), IS_F16);
  }
}
