// parts: elementwise/sigmoid-function, elementwise/unary, special
// √x: NaN below 0.

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  var bits = bitcast<vec4<u32>>(sqrt(clamp(x, vec4<f32>(0.0), vec4<f32>(LARGEST))));
  bits = select(bits, vec4<u32>(INFINITY_BITS), x > vec4<f32>(LARGEST));
  bits = select(bits, vec4<u32>(NAN_BITS), x < vec4<f32>(0.0));
  return keep_nan(x, bitcast<vec4<f32>>(bits));
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return 0.5 * g / value(x, y);
}
