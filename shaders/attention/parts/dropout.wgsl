// parts: attention/visibility, random
// Dropout of attention's weights after the softmax, as in PyTorch (Srivastava et al., 2014): a weight becomes 0 with
// probability p, and is divided by 1 - p otherwise. Row sums and log-sum-exp are of all weights, before dropout.
//
// Only the seed and a weight's position decide whether it is kept, so every kernel, forward and backward, draws the
// same: word j mod 4 of Philox at ⌊j / 4⌋, i, b · H + h decides for query i and key j. Needs `params` (heads, dropout:
// DropoutParams) from the shader that uses it.

const HAS_DROPOUT: bool = false;

const DROPOUT_STREAM: u32 = 0x61747464u;  // keeps its numbers apart from those of other parts

// The factors of the weights of keys [key, key + 4). key is a multiple of four.
fn dropout_quad(sequence: Sequence, head: u32, query: u32, key: u32) -> vec4<f32> {
  if !HAS_DROPOUT { return vec4<f32>(1.0); }
  let counter = vec4<u32>(key >> 2u, query, sequence.index * params.heads + head, DROPOUT_STREAM);
  return drawn_factors(philox(counter, params.dropout.seed), params.dropout);
}

// The factor of one key, for the work of four.
fn dropout_factor(sequence: Sequence, head: u32, query: u32, key: u32) -> f32 {
  if !HAS_DROPOUT { return 1.0; }
  return dropout_quad(sequence, head, query, key & ~3u)[key & 3u];
}
