// parts: attention/forward, attention/inputs, attention/keys, attention/score, attention/values, attention/work, drivers, launch, special, store
//
// Fused attention of few query rows against many keys (decoding): O = softmax(scale · Q Kᵀ + mask) V in O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [splits, B, H, Nq, Dv], log_sum_exp [splits, B, H, Nq].
// One workgroup owns ROWS rows (of one head, or of a group's heads, which share their keys) and one split of the keys.
// Its invocations take keys in turn, and each runs its own online softmax:
//
//     lane    0  1  2  …  7  0  1  …
//     key     0  1  2  …  7  8  9  …      m, l, O of a lane: over its own keys
//
// So nothing is exchanged until the end, where O = Σ_lane exp(m_lane - m) · O_lane and the same for l, through workgroup
// memory. O is rescaled for each key. Several keys at once would avoid that, but take compilers for CPUs too long (all loops
// over registers are unrolled), and the loads of k and v take most of the time anyway.
//
// A head is 4·Nq·Nk·D floating-point operations for 8·Nk·D bytes (f32): half an operation per byte and row, so it is
// bound by the bandwidth of k and v, which are read once for all rows of a group. A lane reads whole rows of k, sixteen bytes
// at a time. That suits CPU drivers, where lanes load separately. A GPU finds the rest of each cache line in its cache, and
// normally takes the tile kernels with split keys instead.
//
// Dao, Haziza, Massa & Sizov, "Flash-Decoding for long-context inference", 2023.

const IS_F16: bool = false;     // storage of q; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the larger of head dim and value dim: the registers of q and O
const ROWS: u32 = 1u;           // query rows per workgroup
const LANES: u32 = 8u;          // invocations

const BLOCK_Q: u32 = ROWS;
const QUADS: u32 = DIM / 4u;
const BLOCK_K: u32 = LANES;

var<workgroup> lane_max: array<f32, LANES>;
var<workgroup> lane_sum: array<f32, LANES>;
var<workgroup> lane_o: array<vec4<f32>, LANES * QUADS>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = tile_of(index);
  if tile.first_row >= tile.end_row { return; }

  var q_rows: array<array<vec4<f32>, QUADS>, ROWS> = array<array<vec4<f32>, QUADS>, ROWS>();
  var o: array<array<vec4<f32>, QUADS>, ROWS> = array<array<vec4<f32>, QUADS>, ROWS>();
  var row_max: array<f32, ROWS> = array<f32, ROWS>();  // over this lane's keys
  var row_sum: array<f32, ROWS> = array<f32, ROWS>();
  var slopes: array<f32, ROWS> = array<f32, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    let row = row_of(tile, r);
    let begin = q_row(tile, row);
    row_max[r] = select(HIDDEN, sink_of(tile, row), lane == 0u);
    row_sum[r] = select(1.0, 0.0, row_max[r] == HIDDEN);
    slopes[r] = slope_of(tile.sequence, head_of(tile, row));
    for (var c = 0u; c < QUADS; c++) { q_rows[r][c] = q_quad(begin, 4u * c); }
  }

  let last_key = tile.keys.y - 1u;
  for (var first_key = begin_key(tile, BLOCK_K); first_key < tile.keys.y; first_key = next_key(tile, first_key + BLOCK_K)) {
    let key = first_key + lane;
    let k_begin = k_row(tile, min(key, last_key));
    var sums: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
    for (var c = 0u; c < QUADS; c++) {
      let quad = k_quad(k_begin, 4u * c);
      for (var r = 0u; r < ROWS; r++) { sums[r] = fma(q_rows[r][c], quad, sums[r]); }
    }

    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    var weights: array<f32, ROWS> = array<f32, ROWS>();
    for (var r = 0u; r < ROWS; r++) {
      var score = params.options.score.scale * dot(sums[r], vec4<f32>(1.0));
      let row = row_of(tile, r);
      if MODIFIES_SCORES {
        score = modified_score(tile.sequence, score, slopes[r], head_of(tile, row), query_of(tile, row), key);
      }
      for (var i = llvmpipe_skip(!is_visible, 1u); i < 1u; i++) {
        score = masked_score(tile.sequence, score, head_of(tile, row), query_of(tile, row), key);
      }
      let highest = max(row_max[r], score);
      // a lane that has seen no key yet: exp(HIDDEN - 0) is 0, exp(HIDDEN - HIDDEN) would not be
      let shift = select(highest, 0.0, highest == HIDDEN);
      let rescale = exp(row_max[r] - shift);
      weights[r] = swiftshader_exp(score - shift);
      row_max[r] = highest;
      row_sum[r] = row_sum[r] * rescale + weights[r];
      if HAS_DROPOUT { weights[r] *= dropout_factor(tile.sequence, head_of(tile, row), query_of(tile, row), key); }
      for (var c = 0u; c < QUADS; c++) { o[r][c] *= rescale; }
    }

    let v_begin = v_row(tile, min(key, last_key));
    for (var c = 0u; c < QUADS; c++) {
      let quad = v_quad(v_begin, 4u * c);
      for (var r = 0u; r < ROWS; r++) { o[r][c] += weighted(weights[r], quad); }
    }
  }

  for (var r = 0u; r < ROWS; r++) {
    workgroupBarrier();
    lane_max[lane] = row_max[r];
    lane_sum[lane] = row_sum[r];
    for (var c = 0u; c < QUADS; c++) { lane_o[lane * QUADS + c] = o[r][c]; }
    workgroupBarrier();
    var highest = HIDDEN;
    for (var i = 0u; i < LANES; i++) { highest = max(highest, lane_max[i]); }
    let shift = select(highest, 0.0, highest == HIDDEN);
    var sum = 0.0;
    for (var i = 0u; i < LANES; i++) { sum += lane_sum[i] * exp(lane_max[i] - shift); }
    let row = tile.first_row + r;
    if row < tile.end_row {
      let is_empty = sum == 0.0;  // the largest score of any other row counts 1; NaN is not empty
      let base = output_row(tile, row);
      for (var c = lane; 4u * c < params.inputs.value_dim; c += LANES) {
        var quad = vec4<f32>(0.0);
        for (var i = 0u; i < LANES; i++) { quad += exp(lane_max[i] - shift) * lane_o[i * QUADS + c]; }
        let count = min(params.inputs.value_dim - 4u * c, 4u);
        store_quad(base + 4u * c, select(quad / sum, vec4<f32>(0.0), is_empty), count, OUT_F16);
      }
      if lane == 0u { store_log_sum_exp(tile, row, highest, sum); }
    }
  }
}
