// parts: attention-gradient/pair, attention-gradient/query, attention-gradient/subgroup, attention/inputs, attention/keys, attention/score, attention/values, attention/work, drivers, launch, special, store
//
// The gradient of q without workgroup memory or barriers, for drivers where those are slow (CPUs):
// dQ = scale · dS' K, with dS' as in attention-gradient/pair, in O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], d_output [B, H, Nq, Dv] → output dQ [B, H, Nq, D].
// One workgroup is one subgroup. A lane owns ROWS query rows, with their q, dO and dQ in registers. It goes through the keys
// of their bands, BLOCK_K at a time, and skips empty blocks of a block mask, as the forward kernels do. For each key, lane i
// loads the i-th quads of k and of v, and shuffles pass them around (see attention/subgroup). A step has three parts:
//
//     scores    two keys per round: S = q · k            the keys' quads are kept for the last part
//     weights   two keys per round: dP = dO · v
//     sums      all keys at once: dQ += Σ dS' k        dQ is read and written once for four keys
//
// A head is 6·Nq·Nk·D floating-point operations; BLOCK_Q rows read K and V once, 8·Nk·D bytes (f32). The parts are separate
// loops for two reasons. Each streams through an array of rows as large as a quarter of a first-level cache. And if all three
// are in one loop, LLVM sends every shuffled value through memory. docs/performance.md has the figures.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

enable subgroups;

const IS_F16: bool = false;     // storage of everything; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the larger of head dim and value dim: the registers of q, dO and dQ
const SUBGROUP: u32 = 8u;       // invocations of every subgroup of the device
const ROWS: u32 = 4u;           // query rows per lane

const BLOCK_Q: u32 = SUBGROUP * ROWS;  // query rows per workgroup
const BLOCK_K: u32 = 4u;               // keys per step
const ROUNDS: u32 = BLOCK_K / 2u;

alias Scores = array<vec4<f32>, ROWS>;

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  inputs: InputParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  gradient: GradientParams,
  @align(16) work: WorkParams,
  queries: QueryGradientParams,
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(SUBGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = tile_of(index);
  if tile.first_row >= tile.end_row { return; }

  var q_rows: array<Row, ROWS> = array<Row, ROWS>();
  var d_rows: array<Row, ROWS> = array<Row, ROWS>();  // of dO
  var sums: array<Row, ROWS> = array<Row, ROWS>();
  var stats: array<vec2<f32>, ROWS> = array<vec2<f32>, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    let row = row_of(tile, r * SUBGROUP + lane);
    stats[r] = row_stats(tile.sequence, tile.head, row);
    let q_begin = q_row(tile, row);
    let d_begin = d_output_row(tile.sequence, tile.head, row);
    for (var c = 0u; 4u * c < params.inputs.head_dim; c++) { q_rows[r][c / STEP][c % STEP] = q_quad(q_begin, 4u * c); }
    for (var c = 0u; 4u * c < params.inputs.value_dim; c++) {
      d_rows[r][c / STEP][c % STEP] = d_output_quad(d_begin, 4u * c);
    }
  }

  let last_key = tile.keys.y - 1u;
  for (var first_key = begin_key(tile, BLOCK_K); first_key < tile.keys.y; first_key = next_key(tile, first_key + BLOCK_K)) {
    var scores: Scores = Scores();     // dS' from the second part on
    var d_weights: Scores = Scores();
    var keys: array<Shares, BLOCK_K> = array<Shares, BLOCK_K>();
    for (var round = 0u; round < ROUNDS; round++) {
      let row0 = k_row(tile, min(first_key + 2u * round, last_key));
      let row1 = k_row(tile, min(first_key + 2u * round + 1u, last_key));
      var share0: Shares = Shares();
      var share1: Shares = Shares();
      for (var h = 0u; h < SHARES; h++) {
        share0[h] = k_quad(row0, 4u * (lane + h * STEP));
        share1[h] = k_quad(row1, 4u * (lane + h * STEP));
      }
      var sums0: array<f32, ROWS> = array<f32, ROWS>();
      var sums1: array<f32, ROWS> = array<f32, ROWS>();
      for (var h = 0u; h < SHARES; h++) {
        for (var c = 0u; c < STEP; c++) {
          let a = subgroupShuffle(share0[h], c);
          let b = subgroupShuffle(share1[h], c);
          for (var r = 0u; r < ROWS; r++) {
            let x = q_rows[r][h][c];
            sums0[r] = fma(x.w, a.w, fma(x.z, a.z, fma(x.y, a.y, fma(x.x, a.x, sums0[r]))));
            sums1[r] = fma(x.w, b.w, fma(x.z, b.z, fma(x.y, b.y, fma(x.x, b.x, sums1[r]))));
          }
        }
      }
      // the arrays are queues, because a variable index would send them through memory
      for (var r = 0u; r < ROWS; r++) { scores[r] = vec4<f32>(scores[r].zw, sums0[r], sums1[r]); }
      for (var h = 0u; h < SHARES; h++) {
        keys[0][h] = keys[2][h];
        keys[1][h] = keys[3][h];
        keys[2][h] = finite_part(share0[h]);
        keys[3][h] = finite_part(share1[h]);
      }
    }

    for (var round = 0u; round < ROUNDS; round++) {
      let row0 = v_row(tile, min(first_key + 2u * round, last_key));
      let row1 = v_row(tile, min(first_key + 2u * round + 1u, last_key));
      var share0: Shares = Shares();
      var share1: Shares = Shares();
      for (var h = 0u; h < SHARES; h++) {
        share0[h] = v_quad(row0, 4u * (lane + h * STEP));
        share1[h] = v_quad(row1, 4u * (lane + h * STEP));
      }
      var sums0: array<f32, ROWS> = array<f32, ROWS>();
      var sums1: array<f32, ROWS> = array<f32, ROWS>();
      for (var h = 0u; h < SHARES; h++) {
        for (var c = 0u; c < STEP; c++) {
          let a = subgroupShuffle(share0[h], c);
          let b = subgroupShuffle(share1[h], c);
          for (var r = 0u; r < ROWS; r++) {
            let x = d_rows[r][h][c];
            sums0[r] = fma(x.w, a.w, fma(x.z, a.z, fma(x.y, a.y, fma(x.x, a.x, sums0[r]))));
            sums1[r] = fma(x.w, b.w, fma(x.z, b.z, fma(x.y, b.y, fma(x.x, b.x, sums1[r]))));
          }
        }
      }
      for (var r = 0u; r < ROWS; r++) { d_weights[r] = vec4<f32>(d_weights[r].zw, sums0[r], sums1[r]); }
    }

    var factors: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
    for (var r = 0u; r < ROWS; r++) {
      factors[r] = dropout_quad(tile.sequence, tile.head, row_of(tile, r * SUBGROUP + lane), first_key);
    }
    var d_scores: Scores = Scores();
    for (var r = 0u; r < ROWS; r++) {
      let row = row_of(tile, r * SUBGROUP + lane);
      for (var j = 0u; j < BLOCK_K; j++) {
        let score = select(HIDDEN, params.options.score.scale * scores[r][j], in_band(tile.sequence, row, first_key + j));
        d_scores[r][j] = pair_from(stats[r], score, d_weights[r][j], factors[r][j], 1.0).d_score;
      }
    }
    // if more than the band decides, or scores are modified, go through memory
    let is_plain = band_decides(tile.sequence, tile.head, tile.first_query, first_key);
    for (var rare = llvmpipe_skip(!is_plain, 1u); rare < 1u; rare++) {
      var from_scores: Scores = scores;
      var from_weights: Scores = d_weights;
      var from_factors: array<vec4<f32>, ROWS> = factors;
      for (var i = 0u; i < min(ROWS * BLOCK_K, tile.end_row * BLOCK_K); i++) {
        let r = i / BLOCK_K;
        let j = i % BLOCK_K;
        let row = row_of(tile, r * SUBGROUP + lane);
        from_scores[r][j] = pair_of(
          tile.sequence, row_stats(tile.sequence, tile.head, row), slope_of(tile.sequence, tile.head), tile.head, row,
          first_key + j, params.options.score.scale * from_scores[r][j], from_weights[r][j], from_factors[r][j], false,
        ).d_score;
      }
      for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCK_K; j++) { d_scores[r][j] = from_scores[r][j]; }
      }
    }

    for (var c = 0u; c < STEP; c++) {
      for (var h = 0u; h < SHARES; h++) {
        let k0 = subgroupShuffle(keys[0][h], c);
        let k1 = subgroupShuffle(keys[1][h], c);
        let k2 = subgroupShuffle(keys[2][h], c);
        let k3 = subgroupShuffle(keys[3][h], c);
        for (var r = 0u; r < ROWS; r++) {
          sums[r][h][c] = fma(vec4<f32>(d_scores[r][3]), k3, fma(vec4<f32>(d_scores[r][2]), k2,
            fma(vec4<f32>(d_scores[r][1]), k1, fma(vec4<f32>(d_scores[r][0]), k0, sums[r][h][c]))));
        }
      }
    }
  }

  for (var r = 0u; r < ROWS; r++) {
    let row = tile.first_row + r * SUBGROUP + lane;
    if row >= tile.end_row { continue; }
    let base = d_query_row(tile, row);
    for (var c = 0u; 4u * c < params.inputs.head_dim; c++) {
      let quad = params.options.score.scale * sums[r][c / STEP][c % STEP];
      store_quad(base + 4u * c, quad, min(params.inputs.head_dim - 4u * c, 4u), IS_F16);
    }
  }
}
