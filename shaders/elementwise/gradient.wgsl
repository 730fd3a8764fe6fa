// parts: elementwise/activation, element, launch, rows, store
//
// The gradient of a function of the elements of x (see elementwise), of what is given for its result, g:
//
//     gelu       g (Φ(x) + x φ(x)), φ = Φ'
//     gelu_tanh  g σ(2u) (1 + 2 x u' σ(-2u)), u = √(2/π) (x + 0.044715 x³)
//     silu       g σ(x) (1 + x σ(-x))
//     relu       g where x > 0, else 0
//     swiglu     g y σ(x) (1 + x σ(-x)), with respect to the gate x; y's is swiglu of x and g
//
// x, y, g broadcast to rows of `columns` by strides (0 repeats) → output of as many rows. One invocation computes four
// columns of one row. Some 40 operations and 12 bytes (f32) an element: bound by bandwidth.

const OP: u32 = 0u;              // as in elementwise: 0 gelu, 1 gelu_tanh, 2 silu, 3 relu, 6 swiglu
const F16: bool = false;         // storage of all

struct Params {
  quads: u32,             // of the output
  row_quads: u32,         // of an output row
  columns: u32,
  shape: vec4<u32>,       // axes before the row, the innermost first
  x_strides: vec4<u32>,   // elements
  y_strides: vec4<u32>,
  gradient_strides: vec4<u32>,
  x_outer_stride: u32,    // of a fifth axis before the row
  y_outer_stride: u32,
  gradient_outer_stride: u32,
  x_column_stride: u32,
  y_column_stride: u32,
  gradient_column_stride: u32,
  x_offset: u32,
  y_offset: u32,
  gradient_offset: u32,
  output_pitch: u32,      // elements between output rows
  x_vector_loads: u32,    // may be read four columns at a time
  y_vector_loads: u32,
  gradient_vector_loads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // f32 or f16
@group(0) @binding(2) var<storage, read> y: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> output: array<u32>;

const WORKGROUP: u32 = 256u;

fn derivative(value: vec4<f32>) -> vec4<f32> {
  switch OP {
    case 0u: { return gelu_derivative(value); }
    case 1u: { return gelu_tanh_derivative(value); }
    default: { return silu_derivative(value); }
  }
}

fn x_quad(first: u32, column: u32, count: u32) -> vec4<f32> {
  if params.x_vector_loads != 0u && count == 4u {
    return decode_quad(x[vector_of(first + column, F16)], first + column, F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < count; i++) {
    let element = first + (column + i) * params.x_column_stride;
    quad[i] = decode_at(x[vector_of(element, F16)], element, F16);
  }
  return quad;
}

fn y_quad(first: u32, column: u32, count: u32) -> vec4<f32> {
  if params.y_vector_loads != 0u && count == 4u {
    return decode_quad(y[vector_of(first + column, F16)], first + column, F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < count; i++) {
    let element = first + (column + i) * params.y_column_stride;
    quad[i] = decode_at(y[vector_of(element, F16)], element, F16);
  }
  return quad;
}

fn gradient_quad(first: u32, column: u32, count: u32) -> vec4<f32> {
  if params.gradient_vector_loads != 0u && count == 4u {
    return decode_quad(gradient[vector_of(first + column, F16)], first + column, F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < count; i++) {
    let element = first + (column + i) * params.gradient_column_stride;
    quad[i] = decode_at(gradient[vector_of(element, F16)], element, F16);
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
  let count = min(params.columns - column, 4u);
  let index = row_index(row, params.shape);
  let x_first = params.x_offset + row_start(index, params.x_strides, params.x_outer_stride);
  let a = x_quad(x_first, column, count);
  let first = params.gradient_offset + row_start(index, params.gradient_strides, params.gradient_outer_stride);
  var g = gradient_quad(first, column, count);
  if OP == 6u {
    let y_first = params.y_offset + row_start(index, params.y_strides, params.y_outer_stride);
    g *= y_quad(y_first, column, count);
  }
  var result = select(g, vec4<f32>(0.0), a <= vec4<f32>(0.0));
  if OP != 3u { result = g * derivative(a); }
  store_quad(row * params.output_pitch + column, result, count, F16);
}
