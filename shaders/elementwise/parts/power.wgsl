// parts: elementwise/logarithm, special
//
// x to the power y. WGSL's pow has no negative bases. A whole y up to 63 is a product of squares, and so nearly exact; any other
// is e to the power y ln |x|, whose relative error grows with |y ln |x||. As in C: x⁰ = 1, 1ʸ = 1, NaN for a negative x and a
// y that is not whole.

const WHOLE_BITS: u32 = 6u;
const MOST_WHOLE: f32 = 63.0;

fn product_of_squares(base: f32, exponent: u32) -> f32 {
  var result = 1.0;
  var square = base;
  for (var bit = 0u; bit < WHOLE_BITS; bit++) {
    if ((exponent >> bit) & 1u) != 0u { result *= square; }
    if (exponent >> (bit + 1u)) != 0u { square *= square; }
  }
  return result;
}

// The bits of e to the power `exponent`.
fn exponential_bits(exponent: f32) -> u32 {
  if is_nan(exponent) { return NAN_BITS; }
  if exponent > 88.72283 { return INFINITY_BITS; }
  return bitcast<u32>(exp(max(exponent, -200.0)));
}

fn power(x: f32, y: f32) -> f32 {
  if y == 0.0 || x == 1.0 { return 1.0; }
  if is_nan(x) { return x; }
  if is_nan(y) { return y; }
  let size = abs(y);
  let is_whole = floor(size) == size;
  if is_whole && size <= MOST_WHOLE {
    let product = product_of_squares(x, u32(size));
    if y > 0.0 { return product; }
    if product == 0.0 { return bitcast<f32>(INFINITY_BITS | (bitcast<u32>(product) & 0x80000000u)); }
    return 1.0 / product;
  }
  // numbers from 2²⁴ on are even
  let is_odd = is_whole && size < 16777216.0 && (u32(size) & 1u) == 1u;
  let magnitude = abs(x);
  var bits = 0u;
  if magnitude == 0.0 {
    if y < 0.0 { bits = INFINITY_BITS; }
  } else if x < 0.0 && !is_whole {
    bits = NAN_BITS;
  } else if magnitude == 1.0 {
    bits = bitcast<u32>(1.0);
  } else {
    bits = exponential_bits(y * logarithm(vec4<f32>(magnitude)).x);
  }
  if is_odd { bits |= bitcast<u32>(x) & 0x80000000u; }
  return bitcast<f32>(bits);
}

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  var result = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) { result[i] = power(x[i], y[i]); }
  return result;
}

// g y x to the power y - 1, and 0 where y is 0
fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return select(g * y * value(x, y - 1.0), vec4<f32>(0.0), y == vec4<f32>(0.0));
}

// g xʸ ln x, and 0 where x is 0 and y is not negative
fn gradient_y(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let is_flat = (x == vec4<f32>(0.0)) & (y >= vec4<f32>(0.0));
  return select(g * value(x, y) * logarithm(x), vec4<f32>(0.0), is_flat);
}
