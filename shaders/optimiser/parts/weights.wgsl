// parts: element
// What the kernels that update parameters share. An invocation updates four neighbouring elements of a parameter, which is
// float32, or float16 with a float32 copy (Micikevicius et al., "Mixed precision training", 2018).

struct UpdateParams {
  quads: u32,
  size: u32,               // elements, the padding of f16 rows included
  parameter: u32,          // of the settings
  l2: f32,                 // λ, the share of p in its gradient
}

// Values of the fourth of a parameter's settings, which optimiser/step.wgsl writes.
const SKIPPED: f32 = 0.0;        // a gradient is not finite: everything stays as it is
const LATER: f32 = 2.0;

// The present values of `kept`, the quad of `weights` at `element`. If a copy does not round to its float16 parameter, the
// parameter was changed from outside, and its value counts.
fn weight_quad(element: u32, kept: vec4<f32>) -> vec4<f32> {
  if !F16 { return kept; }
  let second = select(0u, halves[element / 2u + 1u], element + 2u < params.update.size);
  let words = vec2<u32>(halves[element / 2u], second);
  let changed = words ^ vec2<u32>(encode_pair(kept.xy), encode_pair(kept.zw));
  let low = (changed & vec2<u32>(0xffffu)) != vec2<u32>(0u);
  let high = (changed >> vec2<u32>(16u)) != vec2<u32>(0u);
  let parameter = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
  return select(kept, parameter, vec4<bool>(low.x, high.x, low.y, high.y));
}

// Elements past the end stay as they are.
fn store_weights(quad: u32, updated: vec4<f32>) {
  let element = 4u * quad;
  weights[quad] = select(weights[quad], updated, vec4<u32>(0u, 1u, 2u, 3u) + element < vec4<u32>(params.update.size));
  if !F16 { return; }
  halves[element / 2u] = encode_pair(updated.xy);
  if element + 2u < params.update.size { halves[element / 2u + 1u] = encode_pair(updated.zw); }
}
