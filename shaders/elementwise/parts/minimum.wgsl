// parts: special
// The smaller of x and y, which keeps NaN of either. Equal numbers share the gradient; NaN gives it to both, as in PyTorch.

fn value(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return select(select(y, x, (x < y) | nan_lanes(x)), y, nan_lanes(y));
}

fn gradient_x(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  let part = select(select(vec4<f32>(0.0), g, x < y), 0.5 * g, x == y);
  return select(part, g, nan_lanes(x) | nan_lanes(y));
}

fn gradient_y(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
  return gradient_x(g, y, x);
}
