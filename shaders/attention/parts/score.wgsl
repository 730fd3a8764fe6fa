// parts: attention/visibility, special
// What happens to a score between scale · q · k and the mask:
//
//     softcap · tanh(s / softcap)                     Gemma 2, 2024
//     s - slope[b, h] · |i + query_offset - j|        ALiBi: Press, Smith & Lewis, 2022
//     score_mod(s, b, h, i, j)                        FlexAttention: Dong et al., 2024
//
// in this order. The marked functions may be replaced by a user's own. Names `params` and `table` of the shader that
// uses it.

const MODIFIES_SCORES: bool = false;  // any of the three
const HAS_SCORE_MOD: bool = false;

// replaceable
fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 { return score; }

// replaceable
fn d_score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 { return 1.0; }

// By the exponential of what is not positive, since a driver's own tanh may be NaN where e^2x is infinite; near 0, where
// that cancels, by its series. NaN itself is kept.
fn bounded_tanh(x: f32) -> f32 {
  let t = exp(-2.0 * abs(x));
  let far = select(1.0, -1.0, x < 0.0) * (1.0 - t) / (1.0 + t);
  let square = x * x;
  let near = x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 - square * (17.0 / 315.0))));
  return select(select(far, near, abs(x) < 0.25), x, is_nan(x));
}

// ALiBi's; 0 where there is none.
fn slope_of(sequence: Sequence, head: u32) -> f32 {
  if params.slopes_at == ABSENT { return 0.0; }
  return bitcast<f32>(table[params.slopes_at + sequence.index * params.slopes_pitch + head]);
}

fn capped_score(score: f32) -> f32 {
  if params.softcap == 0.0 { return score; }
  return params.softcap * bounded_tanh(score / params.softcap);
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
  if params.softcap != 0.0 { derivative = 1.0 - (capped / params.softcap) * (capped / params.softcap); }
  if HAS_SCORE_MOD {
    let distance = abs(f32(i32(query) + sequence.query_offset - i32(key)));
    derivative *= d_score_mod(capped - slope * distance, sequence.index, head, query, key);
  }
  return derivative;
}
