// parts: elementwise/unary
// max(x, 0), which keeps NaN

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return select(x, vec4<f32>(0.0), x <= vec4<f32>(0.0));
}

// g where x > 0 or NaN, else 0
fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return select(g, vec4<f32>(0.0), x <= vec4<f32>(0.0));
}
