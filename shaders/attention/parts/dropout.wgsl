// parts: attention/visibility, random
// Dropout of attention's weights, after the softmax (Srivastava et al., 2014; where and how PyTorch does it): a weight is
// 0 with probability p, and divided by 1 - p where it is kept. Row sums and log-sum-exp are of all weights.
//
// Whether a weight is kept is a function of the seed and of where it stands, so that every kernel, forward and backward,
// draws the same: word j mod 4 of Philox at ⌊j / 4⌋, i, b · H + h decides for query i and key j. Names `params` (heads, dropout:
// DropoutParams) of the shader that uses it.

const HAS_DROPOUT: bool = false;

struct DropoutParams {
  p: f32,
  scale: f32,       // 1 / (1 - p)
  seed: vec2<u32>,
}

const DROPOUT_STREAM: u32 = 0x61747464u;  // keeps its numbers apart from those of other parts

// What the weights of keys [key, key + 4) are multiplied by; key is a multiple of four.
fn dropout_quad(sequence: Sequence, head: u32, query: u32, key: u32) -> vec4<f32> {
  if !HAS_DROPOUT { return vec4<f32>(1.0); }
  let counter = vec4<u32>(key >> 2u, query, sequence.index * params.heads + head, DROPOUT_STREAM);
  let bits = philox(counter, params.dropout.seed);
  var uniforms = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) { uniforms[i] = uniform_of(bits[i]); }
  return select(vec4<f32>(0.0), vec4<f32>(params.dropout.scale), uniforms >= vec4<f32>(params.dropout.p));
}

// The factor of one key, at four times the work.
fn dropout_factor(sequence: Sequence, head: u32, query: u32, key: u32) -> f32 {
  if !HAS_DROPOUT { return 1.0; }
  return dropout_quad(sequence, head, query, key & ~3u)[key & 3u];
}
