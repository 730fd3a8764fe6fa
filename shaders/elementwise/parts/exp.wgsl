// parts: elementwise/sigmoid-function, elementwise/unary, special
// eˣ. NaN stays NaN; infinities give the limits.

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let finite = exp(clamp(x, vec4<f32>(FAR_LEFT), vec4<f32>(88.72283)));  // beyond, it is 0 or overflows
  let infinite = x > vec4<f32>(88.72283);
  return keep_nan(x, bitcast<vec4<f32>>(select(bitcast<vec4<u32>>(finite), vec4<u32>(INFINITY_BITS), infinite)));
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g * value(x, y);
}
