// parts: attention-operands, score, visibility, special, element, store, launch
//
// Fused attention of few query rows against many keys (decoding): O = softmax(scale · Q Kᵀ + mask) V in O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv] → output [splits, B, H, Nq, Dv], log_sum_exp [splits, B, H, Nq].
// One workgroup owns ROWS rows (of one head, or of a group's heads, which share their keys) and one split of the keys.
// Its invocations divide the keys among them, one each in turn, and each runs an online softmax of its own:
//
//     lane    0  1  2  …  7  0  1  …
//     key     0  1  2  …  7  8  9  …      m, l, O of a lane: over its own keys
//
// so that nothing is exchanged until the end, where O = Σ_lane exp(m_lane - m) · O_lane and l likewise, through
// workgroup memory. STEP keys of a lane are scored before O is rescaled once for all of them.
//
// A head is 4·Nq·Nk·D floating-point operations for 8·Nk·D bytes (f32): half an operation a byte and row, so it is
// bound by the bandwidth of k and v, read once for all rows of a group. A lane reads whole rows of k, sixteen bytes at a
// time: right for CPU drivers, where a lane's loads are its own; a GPU finds the rest of each line in its cache, and has
// the tile kernels with split keys otherwise.
//
// Dao, Haziza, Massa & Sizov, "Flash-Decoding for long-context inference", 2023.

const IS_F16: bool = false;     // storage of q; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the larger of head dim and value dim: the registers of q and O
const ROWS: u32 = 1u;           // query rows a workgroup
const LANES: u32 = 8u;          // invocations

const BLOCK_Q: u32 = ROWS;
const QUADS: u32 = DIM / 4u;
const STEP: u32 = 4u;           // keys of a lane between two rescalings
const BLOCK_K: u32 = LANES * STEP;

var<workgroup> lane_max: array<f32, LANES>;
var<workgroup> lane_sum: array<f32, LANES>;
var<workgroup> lane_o: array<vec4<f32>, LANES * QUADS>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups);
  if index >= params.groups { return; }
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
    var s: array<array<f32, STEP>, ROWS> = array<array<f32, STEP>, ROWS>();
    for (var j = 0u; j < STEP; j++) {
      let begin = k_row(tile, min(first_key + j * LANES + lane, last_key));
      var sums: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
      for (var c = 0u; c < QUADS; c++) {
        let quad = k_quad(begin, 4u * c);
        for (var r = 0u; r < ROWS; r++) { sums[r] = fma(q_rows[r][c], quad, sums[r]); }
      }
      for (var r = 0u; r < ROWS; r++) { s[r][j] = params.scale * dot(sums[r], vec4<f32>(1.0)); }
    }

    // no rounds where every row sees every key
    let is_visible = tile_sees(tile, first_key, first_key + BLOCK_K - 1u);
    for (var r = 0u; r < ROWS; r++) {
      let row = row_of(tile, r);
      let head = head_of(tile, row);
      let query = query_of(tile, row);
      if MODIFIES_SCORES {
        for (var j = 0u; j < STEP; j++) {
          let key = first_key + j * LANES + lane;
          s[r][j] = modified_score(tile.sequence, s[r][j], slopes[r], head, query, key);
        }
      }
      for (var j = select(0u, STEP, is_visible); j < STEP; j++) {
        s[r][j] = masked_score(tile.sequence, s[r][j], head, query, first_key + j * LANES + lane);
      }
    }

    for (var r = 0u; r < ROWS; r++) {
      var highest = row_max[r];
      for (var j = 0u; j < STEP; j++) { highest = max(highest, s[r][j]); }
      // a lane that has seen no key yet: exp(HIDDEN - 0) is 0, exp(HIDDEN - HIDDEN) would not be
      let shift = select(highest, 0.0, highest == HIDDEN);
      let rescale = exp(row_max[r] - shift);
      row_max[r] = highest;
      row_sum[r] *= rescale;
      for (var c = 0u; c < QUADS; c++) { o[r][c] *= rescale; }
      for (var j = 0u; j < STEP; j++) {
        // NaN itself, not its exponential, which SwiftShader makes a number
        let p = select(exp(s[r][j] - shift), s[r][j], is_nan(s[r][j]));
        s[r][j] = p;
        row_sum[r] += p;
      }
    }

    for (var j = 0u; j < STEP; j++) {
      let begin = v_row(tile, min(first_key + j * LANES + lane, last_key));
      for (var c = 0u; c < QUADS; c++) {
        let quad = v_quad(begin, 4u * c);
        for (var r = 0u; r < ROWS; r++) { o[r][c] += weighted(s[r][j], quad); }
      }
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
      for (var c = lane; 4u * c < params.value_dim; c += LANES) {
        var quad = vec4<f32>(0.0);
        for (var i = 0u; i < LANES; i++) { quad += exp(lane_max[i] - shift) * lane_o[i * QUADS + c]; }
        let count = min(params.value_dim - 4u * c, 4u);
        store_quad(base + 4u * c, select(quad / sum, vec4<f32>(0.0), is_empty), count, OUT_F16);
      }
      if lane == 0u { store_log_sum_exp(tile, row, highest, sum); }
    }
  }
}
