// parts: elementwise/activation, element, launch, rows, store
//
// One function of the elements of x, or of x and y:
//
//     gelu       x Φ(x)                                       Hendrycks & Gimpel, "Gaussian error linear units", 2016
//     gelu_tanh  x σ(2u), u = √(2/π) (x + 0.044715 x³)           the same by its tanh: ½ (1 + tanh u) = σ(2u)
//     silu       x σ(x), σ(x) = 1 / (1 + exp(-x))
//     relu       max(x, 0)
//     add        x + y
//     multiply   x y
//     swiglu     silu(x) y                                       Shazeer, "GLU variants improve transformer", 2020
//
// x, y broadcast to rows of `columns` by strides (0 repeats) → output of as many rows. One invocation computes four
// columns of one row. Bound by bandwidth.

// 0 gelu, 1 gelu_tanh, 2 silu, 3 relu, 4 add, 5 multiply, 6 swiglu
const OP: u32 = 4u;
const F16: bool = false;         // storage of x, y and output

struct Params {
  quads: u32,             // of the output
  row_quads: u32,         // of an output row
  columns: u32,
  shape: vec4<u32>,       // axes before the row, the innermost first
  x_strides: vec4<u32>,   // elements
  y_strides: vec4<u32>,
  x_outer_stride: u32,    // of a fifth axis before the row
  y_outer_stride: u32,
  x_column_stride: u32,
  y_column_stride: u32,
  x_offset: u32,
  y_offset: u32,
  output_pitch: u32,      // elements between output rows
  x_vector_loads: u32,    // may be read four columns at a time
  y_vector_loads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // f32 or f16
@group(0) @binding(2) var<storage, read> y: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> output: array<u32>;

const WORKGROUP: u32 = 256u;

fn apply(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
  switch OP {
    case 0u: { return gelu(a); }
    case 1u: { return gelu_tanh(a); }
    case 2u: { return silu(a); }
    case 3u: { return select(a, vec4<f32>(0.0), a <= vec4<f32>(0.0)); }
    case 4u: { return a + b; }
    case 5u: { return a * b; }
    default: { return silu(a) * b; }
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
  var b = vec4<f32>(0.0);
  if OP >= 4u {
    let y_first = params.y_offset + row_start(index, params.y_strides, params.y_outer_stride);
    b = y_quad(y_first, column, count);
  }
  store_quad(row * params.output_pitch + column, apply(a, b), count, F16);
}
