// parts: elementwise/sigmoid-function, special
// The natural logarithm with its limits, which WGSL leaves to the driver: NaN below 0, -∞ at 0, ∞ at ∞.

fn logarithm(x: vec4<f32>) -> vec4<f32> {
  var bits = bitcast<vec4<u32>>(log(clamp(x, vec4<f32>(0x1p-126f), vec4<f32>(LARGEST))));
  bits = select(bits, vec4<u32>(INFINITY_BITS), x > vec4<f32>(LARGEST));
  bits = select(bits, vec4<u32>(MINUS_INFINITY_BITS), x == vec4<f32>(0.0));
  bits = select(bits, vec4<u32>(NAN_BITS), x < vec4<f32>(0.0));
  return keep_nan(x, bitcast<vec4<f32>>(bits));
}
