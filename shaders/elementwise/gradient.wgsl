// parts: elementwise/multiply, element, launch, operand, rows, store
//
// The gradient of a function of the elements of x, or of x and y (see elementwise), from the gradient g of its result:
// gradient_x(g, x, y) or gradient_y(g, x, y) of the part that the host names.
//
// x, y, g broadcast to rows of `columns` by strides (0 repeats) → output of as many rows. One invocation computes four
// columns of one row, or on GPUs a vector of 16 bytes if all rows are such vectors. At most some 40 operations, and 12 or 16 bytes (f32) per element: bound by bandwidth.

const OF_Y: bool = false;        // the gradient with respect to y, else to x
const READS_X: bool = true;      // an operand that is not read is 0
const READS_Y: bool = true;
const F16: bool = false;         // storage of all
const WHOLE: bool = false;       // rows are whole vectors of 16 bytes in all operands, and an invocation computes one

struct Params {
  quads: u32,             // of the output; if WHOLE, vectors
  row_quads: u32,         // of an output row
  columns: u32,
  output_pitch: u32,      // elements between output rows
  shape: vec4<u32>,       // axes before the row, the innermost first
  x: RowOperand,
  y: RowOperand,
  gradient: RowOperand,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // f32 or f16
@group(0) @binding(2) var<storage, read> y: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> output: array<u32>;

const WORKGROUP: u32 = 256u;
const WIDTH: u32 = select(4u, 8u, F16);  // columns of a vector
const QUADS: u32 = WIDTH / 4u;

fn x_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(x[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(x[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

fn y_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(y[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(y[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

fn gradient_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(gradient[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(gradient[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let quad = linear_group(group, groups) * WORKGROUP + lane;
  if quad >= params.quads { return; }
  let row = quad / params.row_quads;
  let column = 4u * (quad % params.row_quads);
  let index = row_index(row, params.shape);
  if WHOLE {
    let at = quad % params.row_quads;
    let words_g = gradient[row_vector(params.gradient, index, WIDTH) + at];
    var words_x = vec4<u32>(0u);
    if READS_X { words_x = x[row_vector(params.x, index, WIDTH) + at]; }
    var words_y = vec4<u32>(0u);
    if READS_Y { words_y = y[row_vector(params.y, index, WIDTH) + at]; }
    var results = array<vec4<f32>, QUADS>();
    for (var i = 0u; i < QUADS; i++) {
      let a = decode_quad(words_x, 4u * i, F16);
      let b = decode_quad(words_y, 4u * i, F16);
      let g = decode_quad(words_g, 4u * i, F16);
      results[i] = gradient_x(g, a, b);
      if OF_Y { results[i] = gradient_y(g, a, b); }
    }
    let vector = row * (params.output_pitch / WIDTH) + at;
    store_vector(vector, encode_vector(results[0], results[QUADS - 1u], F16));
    return;
  }
  let g = gradient_quad(row_quad(params.gradient, index, column, params.columns));
  var a = vec4<f32>(0.0);
  if READS_X { a = x_quad(row_quad(params.x, index, column, params.columns)); }
  var b = vec4<f32>(0.0);
  if READS_Y { b = y_quad(row_quad(params.y, index, column, params.columns)); }
  var result = gradient_x(g, a, b);
  if OF_Y { result = gradient_y(g, a, b); }
  store_quad(row * params.output_pitch + column, result, min(params.columns - column, 4u), F16);
}
