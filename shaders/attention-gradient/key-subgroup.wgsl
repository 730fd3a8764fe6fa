// parts: attention-gradient/key, attention-gradient/pair, attention-gradient/subgroup, attention-gradient/value-output, attention/inputs, attention/keys, attention/score, attention/values, drivers, launch, special, store
//
// The gradients of k and v without workgroup memory or barriers, for drivers where those are slow (CPUs):
// dK = scale · dS'ᵀ Q and dV = (P ∘ M)ᵀ dO, as in attention-gradient/pair, in O(length) memory.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], d_output [B, H, Nq, Dv] → output: dK [B, Hkv, Nk, D], and from
// d_value_at on dV [B, Hkv, Nk, Dv]. One workgroup is one subgroup. A lane owns ROWS keys, with their k, v, dK and dV in
// registers. For each query head that reads them, one after the other, it goes through the queries whose bands hold any of
// its keys, BLOCK_Q at a time (see attention-gradient/key). For each query, lane i loads the i-th quads of q and of dO, and
// shuffles pass them around (see attention/subgroup). A step has three parts, as in attention-gradient/query-subgroup:
//
//     scores    two queries per round: S = q · k         the queries' quads are kept for the last part
//     weights   two queries per round: dP = dO · v       dO's quads too
//     sums      all queries at once: dV += Σ P dO, dK += Σ dS' q
//
// A head is 8·Nq·Nk·D floating-point operations; BLOCK_K keys read q and dO once, 8·Nq·D bytes (f32).
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023.

enable subgroups;

const IS_F16: bool = false;     // storage of everything; arithmetic is f32
const DIM: u32 = 64u;           // bucket of the larger of head dim and value dim: the registers of k, v, dK and dV
const SUBGROUP: u32 = 8u;       // invocations of every subgroup of the device
const ROWS: u32 = 4u;           // keys per lane

const BLOCK_Q: u32 = 4u;               // queries per step
const BLOCK_K: u32 = SUBGROUP * ROWS;  // keys per workgroup
const ROUNDS: u32 = BLOCK_Q / 2u;

alias Scores = array<vec4<f32>, ROWS>;

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  inputs: InputParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  gradient: GradientParams,
  @align(16) keys: KeyGradientParams,
}

@group(0) @binding(0) var<uniform> params: Params;

// Dropout's factors of the key in place r of this lane, for four queries from `first_query` on. A draw is for the four keys
// of four neighbouring lanes. Each of these lanes draws for one of the queries.
fn dropout_factors(tile: KeyTile, head: u32, first_query: u32, r: u32, lane: u32) -> vec4<f32> {
  if !HAS_DROPOUT { return vec4<f32>(1.0); }
  let first_key = tile.first_key + r * SUBGROUP + (lane & ~3u);
  let drawn = dropout_quad(tile.sequence, head, first_query + (lane & 3u), first_key);
  var factors = vec4<f32>(0.0);
  for (var j = 0u; j < 4u; j++) { factors[j] = subgroupShuffle(drawn, (lane & ~3u) + j)[lane & 3u]; }
  return factors;
}

// Adds the values of dO that are not finite, and whose weight is not 0, to dV of one key. Slow, small code.
fn add_special_gradients(tile: KeyTile, key: u32) {
  let k_begin = tile.k_base + key * params.inputs.k.strides.z;
  let stored_row = d_value_row(tile.sequence, tile.kv_head, key);
  let first_head = tile.kv_head * params.inputs.group_size;
  for (var head = first_head; head < first_head + params.inputs.group_size; head++) {
    for (var query = tile.queries.x; query < tile.queries.y; query++) {
      let q_begin = query_row(tile.sequence, head, query);
      let d_begin = d_output_row(tile.sequence, head, query);
      var dots = 0.0;
      for (var d = 0u; d < params.inputs.head_dim; d += 4u) { dots += dot(q_quad(q_begin, d), k_quad(k_begin, d)); }
      let weight = pair_of(
        tile.sequence, row_stats(tile.sequence, head, query), slope_of(tile.sequence, head), head, query, key,
        params.options.score.scale * dots, 0.0, dropout_factor(tile.sequence, head, query, key), false,
      ).weight;
      for (var d = 0u; d < params.inputs.value_dim; d += 4u) {
        let values = weighted(weight, special_part(d_output_quad(d_begin, d)));
        let stored = stored_value_quad(stored_row + d, params.inputs.value_dim - d);
        store_value_quad(stored_row + d, stored + values, min(params.inputs.value_dim - d, 4u));
      }
    }
  }
}

@compute @workgroup_size(SUBGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = key_tile_of(index);
  if tile.first_key >= tile.end_key { return; }

  var k_rows: array<Row, ROWS> = array<Row, ROWS>();
  var v_rows: array<Row, ROWS> = array<Row, ROWS>();
  var k_sums: array<Row, ROWS> = array<Row, ROWS>();
  var v_sums: array<Row, ROWS> = array<Row, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    let key = min(tile.first_key + r * SUBGROUP + lane, tile.end_key - 1u);
    let k_begin = tile.k_base + key * params.inputs.k.strides.z;
    let v_begin = tile.v_base + key * params.inputs.v.strides.z;
    for (var c = 0u; 4u * c < params.inputs.head_dim; c++) { k_rows[r][c / STEP][c % STEP] = k_quad(k_begin, 4u * c); }
    for (var c = 0u; 4u * c < params.inputs.value_dim; c++) { v_rows[r][c / STEP][c % STEP] = v_quad(v_begin, 4u * c); }
  }

  var saw_special = false;
  let first_head = tile.kv_head * params.inputs.group_size;
  for (var head = first_head; head < first_head + params.inputs.group_size; head++) {
    let begin = begin_query(tile, head);
    let end = tile.queries.y;
    for (var first_query = begin; first_query < end; first_query = next_query(tile, head, first_query + BLOCK_Q)) {
      let last_query = tile.queries.y - 1u;
      var scores: Scores = Scores();
      var d_weights: Scores = Scores();
      var queries: array<Shares, BLOCK_Q> = array<Shares, BLOCK_Q>();
      var gradients: array<Shares, BLOCK_Q> = array<Shares, BLOCK_Q>();  // of dO
      for (var round = 0u; round < ROUNDS; round++) {
        let row0 = query_row(tile.sequence, head, min(first_query + 2u * round, last_query));
        let row1 = query_row(tile.sequence, head, min(first_query + 2u * round + 1u, last_query));
        var share0: Shares = Shares();
        var share1: Shares = Shares();
        for (var h = 0u; h < SHARES; h++) {
          share0[h] = q_quad(row0, 4u * (lane + h * STEP));
          share1[h] = q_quad(row1, 4u * (lane + h * STEP));
        }
        var sums0: array<f32, ROWS> = array<f32, ROWS>();
        var sums1: array<f32, ROWS> = array<f32, ROWS>();
        for (var h = 0u; h < SHARES; h++) {
          for (var c = 0u; c < STEP; c++) {
            let a = subgroupShuffle(share0[h], c);
            let b = subgroupShuffle(share1[h], c);
            for (var r = 0u; r < ROWS; r++) {
              let x = k_rows[r][h][c];
              sums0[r] = fma(x.w, a.w, fma(x.z, a.z, fma(x.y, a.y, fma(x.x, a.x, sums0[r]))));
              sums1[r] = fma(x.w, b.w, fma(x.z, b.z, fma(x.y, b.y, fma(x.x, b.x, sums1[r]))));
            }
          }
        }
        // the arrays are queues, because a variable index would send them through memory
        for (var r = 0u; r < ROWS; r++) { scores[r] = vec4<f32>(scores[r].zw, sums0[r], sums1[r]); }
        for (var h = 0u; h < SHARES; h++) {
          queries[0][h] = queries[2][h];
          queries[1][h] = queries[3][h];
          queries[2][h] = finite_part(share0[h]);
          queries[3][h] = finite_part(share1[h]);
        }
      }

      for (var round = 0u; round < ROUNDS; round++) {
        let row0 = d_output_row(tile.sequence, head, min(first_query + 2u * round, last_query));
        let row1 = d_output_row(tile.sequence, head, min(first_query + 2u * round + 1u, last_query));
        var share0: Shares = Shares();
        var share1: Shares = Shares();
        for (var h = 0u; h < SHARES; h++) {
          share0[h] = d_output_quad(row0, 4u * (lane + h * STEP));
          share1[h] = d_output_quad(row1, 4u * (lane + h * STEP));
          saw_special = saw_special || has_special(share0[h]) || has_special(share1[h]);
        }
        var sums0: array<f32, ROWS> = array<f32, ROWS>();
        var sums1: array<f32, ROWS> = array<f32, ROWS>();
        for (var h = 0u; h < SHARES; h++) {
          for (var c = 0u; c < STEP; c++) {
            let a = subgroupShuffle(share0[h], c);
            let b = subgroupShuffle(share1[h], c);
            for (var r = 0u; r < ROWS; r++) {
              let x = v_rows[r][h][c];
              sums0[r] = fma(x.w, a.w, fma(x.z, a.z, fma(x.y, a.y, fma(x.x, a.x, sums0[r]))));
              sums1[r] = fma(x.w, b.w, fma(x.z, b.z, fma(x.y, b.y, fma(x.x, b.x, sums1[r]))));
            }
          }
        }
        for (var r = 0u; r < ROWS; r++) { d_weights[r] = vec4<f32>(d_weights[r].zw, sums0[r], sums1[r]); }
        for (var h = 0u; h < SHARES; h++) {
          gradients[0][h] = gradients[2][h];
          gradients[1][h] = gradients[3][h];
          gradients[2][h] = finite_part(share0[h]);
          gradients[3][h] = finite_part(share1[h]);
        }
      }

      // a lane reads the statistics of one of the four queries
      let own_stats = row_stats(tile.sequence, head, min(first_query + (lane & 3u), last_query));
      var factors: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
      for (var r = 0u; r < ROWS; r++) { factors[r] = dropout_factors(tile, head, first_query, r, lane); }
      var weights: Scores = Scores();
      var d_scores: Scores = Scores();
      for (var j = 0u; j < BLOCK_Q; j++) {
        let stats = subgroupShuffle(own_stats, j);
        let query = first_query + j;
        for (var r = 0u; r < ROWS; r++) {
          let is_seen = query <= last_query && in_band(tile.sequence, query, tile.first_key + r * SUBGROUP + lane);
          let masked = select(HIDDEN, params.options.score.scale * scores[r][j], is_seen);
          let pair = pair_from(stats, masked, d_weights[r][j], factors[r][j], 1.0);
          weights[r][j] = pair.weight;
          d_scores[r][j] = pair.d_score;
        }
      }
      // if more than the band decides, or scores are modified, go through memory
      let is_plain = band_decides(tile.sequence, head, first_query, tile.first_key);
      for (var rare = llvmpipe_skip(!is_plain, 1u); rare < 1u; rare++) {
        var from_scores: Scores = scores;
        var from_weights: Scores = d_weights;
        var from_factors: array<vec4<f32>, ROWS> = factors;
        for (var i = 0u; i < min(ROWS * BLOCK_Q, tile.end_key * BLOCK_Q); i++) {
          let r = i / BLOCK_Q;
          let j = i % BLOCK_Q;
          let query = first_query + j;
          let pair = pair_of(
            tile.sequence, row_stats(tile.sequence, head, min(query, last_query)), slope_of(tile.sequence, head), head,
            query, tile.first_key + r * SUBGROUP + lane, params.options.score.scale * from_scores[r][j], from_weights[r][j],
            from_factors[r][j], false,
          );
          from_scores[r][j] = select(pair.weight, 0.0, query > last_query);
          from_weights[r][j] = select(pair.d_score, 0.0, query > last_query);
        }
        for (var r = 0u; r < ROWS; r++) {
          for (var j = 0u; j < BLOCK_Q; j++) {
            weights[r][j] = from_scores[r][j];
            d_scores[r][j] = from_weights[r][j];
          }
        }
      }

      for (var h = 0u; h < SHARES; h++) {
        for (var c = 0u; c < STEP; c++) {
          let d0 = subgroupShuffle(gradients[0][h], c);
          let d1 = subgroupShuffle(gradients[1][h], c);
          let d2 = subgroupShuffle(gradients[2][h], c);
          let d3 = subgroupShuffle(gradients[3][h], c);
          for (var r = 0u; r < ROWS; r++) {
            v_sums[r][h][c] = fma(vec4<f32>(weights[r][3]), d3, fma(vec4<f32>(weights[r][2]), d2,
              fma(vec4<f32>(weights[r][1]), d1, fma(vec4<f32>(weights[r][0]), d0, v_sums[r][h][c]))));
          }
        }
      }
      for (var h = 0u; h < SHARES; h++) {
        for (var c = 0u; c < STEP; c++) {
          let q0 = subgroupShuffle(queries[0][h], c);
          let q1 = subgroupShuffle(queries[1][h], c);
          let q2 = subgroupShuffle(queries[2][h], c);
          let q3 = subgroupShuffle(queries[3][h], c);
          for (var r = 0u; r < ROWS; r++) {
            k_sums[r][h][c] = fma(vec4<f32>(d_scores[r][3]), q3, fma(vec4<f32>(d_scores[r][2]), q2,
              fma(vec4<f32>(d_scores[r][1]), q1, fma(vec4<f32>(d_scores[r][0]), q0, k_sums[r][h][c]))));
          }
        }
      }
    }
  }

  // here, where all lanes still run: the lane that loaded such a value need not own the keys that meet it
  let leaves_special = subgroupAny(saw_special);
  for (var r = 0u; r < ROWS; r++) {
    let key = tile.first_key + r * SUBGROUP + lane;
    if key >= tile.end_key { continue; }
    let key_base = d_key_row(tile.sequence, tile.kv_head, key);
    let value_base = d_value_row(tile.sequence, tile.kv_head, key);
    for (var c = 0u; 4u * c < params.inputs.head_dim; c++) {
      let quad = params.options.score.scale * k_sums[r][c / STEP][c % STEP];
      store_quad(key_base + 4u * c, quad, min(params.inputs.head_dim - 4u * c, 4u), IS_F16);
    }
    for (var c = 0u; 4u * c < params.inputs.value_dim; c++) {
      store_value_quad(value_base + 4u * c, v_sums[r][c / STEP][c % STEP], min(params.inputs.value_dim - 4u * c, 4u));
    }
  }
  for (var r = llvmpipe_skip(leaves_special, ROWS); r < ROWS; r++) {
    let key = tile.first_key + r * SUBGROUP + lane;
    if key < tile.end_key { add_special_gradients(tile, key); }
  }
}
