// x / y

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return x / y;
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return g / y;
}

// -g x / y², as two quotients, so that y² cannot overflow
fn gradient_y(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return -g * (x / y) / y;
}
