// parts: attention-gradient/pair, attention/inputs, attention/keys, attention/score, attention/values
//
// The contribution of one query and one key from nothing but the inputs. The register kernels compute a gradient that is not finite
// again with it, leaving out what a weight of 0 meets. The code is slow and small, because such values usually come from an error.
// Needs `params` (heads, gradient: GradientParams) from the shader that uses it.

// The rows of q, dO, k and v begin at these elements.
struct PairRows {
  q: u32,
  d_output: u32,
  k: u32,
  v: u32,
}

fn exact_pair(sequence: Sequence, head: u32, query: u32, key: u32, rows: PairRows) -> Pair {
  var dots = 0.0;
  for (var d = 0u; d < params.inputs.head_dim; d += 4u) { dots += dot(q_quad(rows.q, d), k_quad(rows.k, d)); }
  var d_weight = 0.0;
  for (var d = 0u; d < params.inputs.value_dim; d += 4u) {
    d_weight += dot(d_output_quad(rows.d_output, d), v_quad(rows.v, d));
  }
  return pair_of(
    sequence, row_stats(sequence, head, query), slope_of(sequence, head), head, query, key,
    params.options.score.scale * dots, d_weight, dropout_factor(sequence, head, query, key), false,
  );
}
