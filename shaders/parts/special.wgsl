// Finds NaN and infinities, and keeps those of masked keys out of sums. It tests bits, because WGSL lets a compiler assume that
// there are no such values.

const INFINITY_BITS: u32 = 0x7f800000u;
const MINUS_INFINITY_BITS: u32 = 0xff800000u;
const NAN_BITS: u32 = 0x7fc00000u;
const LARGEST: f32 = 0x1.fffffep+127f;
// Stands in maxima for -∞, which WGSL does not promise to support. exp(LOWEST - any other score) is 0, although its argument may
// overflow on the way. No other number is as low, so only a number that is equal to it needs care.
const LOWEST: f32 = -0x1.fffffep+127f;
const ABOVE_LOWEST: f32 = -0x1.fffffcp+127f;  // the next number

fn special_lanes(quad: vec4<f32>) -> vec4<bool> {
  return (bitcast<vec4<u32>>(quad) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
}

fn nan_lanes(quad: vec4<f32>) -> vec4<bool> {
  return (bitcast<vec4<u32>>(quad) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// Whether it is NaN or infinite.
fn is_special(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u;
}

fn has_special(quad: vec4<f32>) -> bool {
  return any(special_lanes(quad));
}

fn finite_part(quad: vec4<f32>) -> vec4<f32> {
  return select(quad, vec4<f32>(0.0), special_lanes(quad));
}

fn special_part(quad: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(0.0), quad, special_lanes(quad));
}

// A weight of 0 gives 0, even times NaN or infinity.
fn weighted(weight: f32, value: vec4<f32>) -> vec4<f32> {
  return select(weight * value, vec4<f32>(0.0), weight == 0.0);
}

// SwiftShader turns the exponential and the logarithm of NaN into a number. Here NaN stays NaN.
fn swiftshader_exp(x: f32) -> f32 {
  return select(exp(x), x, is_nan(x));
}

fn swiftshader_exp_quad(x: vec4<f32>) -> vec4<f32> {
  return select(exp(x), x, nan_lanes(x));
}

fn swiftshader_log(x: f32) -> f32 {
  return select(log(x), x, is_nan(x));
}
