// Random numbers without state: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// The same counter and key give the same four words on every device.

// The 64 bits of a · b: low word, high word.
fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2<u32>(a * b, (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u));
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
  var words = counter;
  var round_key = key;
  for (var round = 0u; round < 10u; round++) {
    let first = multiply_wide(0xd2511f53u, words.x);
    let second = multiply_wide(0xcd9e8d57u, words.z);
    words = vec4<u32>(second.y ^ words.y ^ round_key.x, second.x, first.y ^ words.w ^ round_key.y, first.x);
    round_key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return words;
}

// Dropout (Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014).
struct DropoutParams {
  p: f32,           // the probability with which a value becomes 0
  scale: f32,       // 1 / (1 - p), which multiplies the others
  seed: vec2<u32>,  // low and high 32 bits
}

// The factors, 0 or `scale`, of four values that have four random words.
fn drawn_factors(words: vec4<u32>, dropout: DropoutParams) -> vec4<f32> {
  var uniforms = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) { uniforms[i] = uniform_of(words[i]); }
  return select(vec4<f32>(0.0), vec4<f32>(dropout.scale), uniforms >= vec4<f32>(dropout.p));
}

// Uniform in the open interval (0, 1): an exact odd multiple of 2⁻²⁴, so that 1 - u is exact too.
fn uniform_of(bits: u32) -> f32 {
  return (f32(bits >> 9u) + 0.5) * 0x1p-23;
}
