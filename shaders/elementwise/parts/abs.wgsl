// parts: elementwise/sigmoid-function, elementwise/unary
// |x|

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu));
}

// g sign(x), 0 at 0
fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g * keep_nan(x, sign(x));
}
