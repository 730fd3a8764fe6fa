// parts: attention/modifiers, attention/visibility, special
//
// What happens to a score between scale · q · k and the mask:
//
//     softcap · tanh(s / softcap)                     Gemma 2, 2024
//     s - slope[b, h] · |i + query_offset - j|        ALiBi: Press, Smith & Lewis, 2022
//     score_mod(s, b, h, i, j)                        FlexAttention: Dong et al., 2024
//
// in this order. Needs `params` (score: ScoreParams) and `table` from the shader that uses it.

const MODIFIES_SCORES: bool = false;  // any of the three

struct ScoreParams {
  scale: f32,         // multiplies q · k
  softcap: f32,       // 0: none
  slopes_at: u32,     // in `table`, or ABSENT
  slopes_pitch: u32,  // elements between batch entries
}

// tanh by the exponential of a number that is not positive, because a driver's own tanh may be NaN where e^2x is infinite.
// Near 0, where that cancels, it uses the series. NaN stays NaN.
fn bounded_tanh(x: f32) -> f32 {
  let t = exp(-2.0 * abs(x));
  let far = select(1.0, -1.0, x < 0.0) * (1.0 - t) / (1.0 + t);
  let square = x * x;
  let near = x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 - square * (17.0 / 315.0))));
  return select(select(far, near, abs(x) < 0.25), x, is_nan(x));
}

// ALiBi's slope of a head, or 0 if there is none.
fn slope_of(sequence: Sequence, head: u32) -> f32 {
  if params.score.slopes_at == ABSENT { return 0.0; }
  return bitcast<f32>(table[params.score.slopes_at + sequence.index * params.score.slopes_pitch + head]);
}

fn capped_score(score: f32) -> f32 {
  if params.score.softcap == 0.0 { return score; }
  return params.score.softcap * bounded_tanh(score / params.score.softcap);
}

fn modified_score(sequence: Sequence, score: f32, slope: f32, head: u32, query: u32, key: u32) -> f32 {
  if !MODIFIES_SCORES { return score; }
  let distance = abs(f32(i32(query) + sequence.query_offset - i32(key)));
  let modified = capped_score(score) - slope * distance;
  if HAS_SCORE_MOD { return score_mod(modified, sequence.index, head, query, key); }
  return modified;
}

// The derivative of modified_score by its score.
fn score_derivative(sequence: Sequence, score: f32, slope: f32, head: u32, query: u32, key: u32) -> f32 {
  if !MODIFIES_SCORES { return 1.0; }
  let capped = capped_score(score);
  var derivative = 1.0;
  if params.score.softcap != 0.0 { derivative = 1.0 - (capped / params.score.softcap) * (capped / params.score.softcap); }
  if HAS_SCORE_MOD {
    let distance = abs(f32(i32(query) + sequence.query_offset - i32(key)));
    derivative *= d_score_mod(capped - slope * distance, sequence.index, head, query, key);
  }
  return derivative;
}
