// A function of x alone has no gradient with respect to y.

fn gradient_y(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(0.0);
}
