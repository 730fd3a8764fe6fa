// parts: attention/inputs, attention/score, element, operand, special
// What the kernels of attention's gradient share (Dao, FlashAttention-2, 2023, algorithm 2). Scores are computed again
// from q and k, and weights from each row's log-sum-exp L, so that nothing of the score matrix's size is kept. With
//
//     P = exp(S - L)        dP = dO Vᵀ        D = rowsum(dO ∘ O) - dL        one D per row; dL: gradient of L
//     dS = P ∘ (M ∘ dP - D)                   M: dropout's factors, 0 or 1 / (1 - p); 1 without dropout
//     dS' = dS ∘ f'                           f': derivative of softcap, ALiBi and score_mod
//
// the gradients are dV = (P ∘ M)ᵀ dO, dQ = scale · dS' K, dK = scale · dS'ᵀ Q, dS for a float mask, and
// -Σ_rows exp(sink - L) · D for a head's sink. All are 0 for hidden keys, and in rows that see no key. There are no atomics:
// one workgroup sums every element in a fixed order, a key's over all query heads of its group.
//
// A score whose weight is 0 keeps NaN and infinities of the key, the query and dO out of all gradients. If the weight is not
// 0, those of k, q and v are already in dS. So a product with dS may take the finite part of its other operand, but the
// product with P ∘ M may not. Needs `params` (heads, gradient: GradientParams) from the shader that uses it.

const D_OUTPUT_ALIGNED: bool = false;  // what ALIGNED is for q, k and v

struct GradientParams {
  d_output: Operand,
  stats_at: u32,     // in `table`: each row's log-sum-exp, [B, H, rows], and after that D
  stats_pitch: u32,  // words between the two
}

@group(0) @binding(7) var<storage, read> d_output: array<vec4<u32>>;  // [B, H, Nq, Dv], dtype of q

// The contribution of one query and one key to the gradients.
struct Pair {
  weight: f32,    // P ∘ M
  d_masked: f32,  // dS
  d_score: f32,   // dS'
}

// `score` is scale · q · k, `d_weight` is dO · v, `factor` is dropout's. `is_visible` says that the query sees the key.
fn pair_of(
  sequence: Sequence, stats: vec2<f32>, slope: f32, head: u32, query: u32, key: u32,
  score: f32, d_weight: f32, factor: f32, is_visible: bool,
) -> Pair {
  var masked = modified_score(sequence, score, slope, head, query, key);
  if !is_visible { masked = masked_score(sequence, masked, head, query, key); }
  return pair_from(stats, masked, d_weight, factor, score_derivative(sequence, score, slope, head, query, key));
}

// The same from the score that the softmax saw, and the derivative of that score by scale · q · k.
fn pair_from(stats: vec2<f32>, masked: f32, d_weight: f32, factor: f32, derivative: f32) -> Pair {
  let weight = select(swiftshader_exp(masked - stats.x), 0.0, masked == HIDDEN);
  let d_masked = weight * (select(factor * d_weight, 0.0, factor == 0.0) - stats.y);
  if weight == 0.0 { return Pair(0.0, 0.0, 0.0); }
  return Pair(select(weight * factor, 0.0, factor == 0.0), d_masked, d_masked * derivative);
}

// A row's log-sum-exp (0 if it saw no key) and D, which attention-gradient/row-statistics has put into the table.
fn row_stats(sequence: Sequence, head: u32, query: u32) -> vec2<f32> {
  let row = (batch_of(sequence) * params.heads + head) * params.inputs.query_rows + sequence.first_query + query;
  let at = params.gradient.stats_at + row;
  return vec2<f32>(bitcast<f32>(table[at]), bitcast<f32>(table[at + params.gradient.stats_pitch]));
}

// Elements at which rows begin.
fn query_row(sequence: Sequence, head: u32, query: u32) -> u32 {
  return row_of_operand(params.inputs.q, vec3<u32>(batch_of(sequence), head, sequence.first_query + query));
}

fn d_output_row(sequence: Sequence, head: u32, query: u32) -> u32 {
  return row_of_operand(params.gradient.d_output, vec3<u32>(batch_of(sequence), head, sequence.first_query + query));
}

fn d_output_element(element: u32) -> f32 {
  return decode_element(d_output[vector_of(element, IS_F16)][component_of(element, IS_F16)], element, IS_F16);
}

// Columns [column, column + 4) of the row that begins at element `row`; zero past the value dim.
fn d_output_quad(row: u32, column: u32) -> vec4<f32> {
  if D_OUTPUT_ALIGNED {
    let quad = decode_quad(d_output[vector_of(row + column, IS_F16)], row + column, IS_F16);
    return select(quad, vec4<f32>(0.0), column >= params.inputs.value_dim);
  }
  if params.gradient.d_output.vectors != 0u && column + 4u <= params.inputs.value_dim {
    return decode_quad(d_output[vector_of(row + column, IS_F16)], row + column, IS_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.inputs.value_dim); i++) {
    quad[i - column] = d_output_element(row + i * params.gradient.d_output.strides.w);
  }
  return quad;
}

