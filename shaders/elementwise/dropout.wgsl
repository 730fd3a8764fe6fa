// parts: element, launch, operand, random, rows, store
//
// Dropout: an element becomes 0 with probability p, and is divided by 1 - p otherwise. The gradient is the same function of the
// output's gradient.
//
// Only the seed and an element's row-major index n decide whether it is kept: word n mod 4 of Philox at ⌊n / 4⌋.
//
// x at any strides (0 repeats) → output of its shape, row-major. One invocation computes four columns of one row. Some 100
// operations and 8 bytes (f32) per element. A GPU hides the operations behind the memory access, a CPU driver does not.

const F16: bool = false;         // storage of x and output

struct Params {
  quads: u32,             // of the output
  row_quads: u32,         // of an output row
  columns: u32,
  output_pitch: u32,      // elements between output rows
  shape: vec4<u32>,       // axes before the row, the innermost first
  x: RowOperand,
  dropout: DropoutParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;         // f32 or f16
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const WORKGROUP: u32 = 256u;
const STREAM: u32 = 0x64726f70u;  // keeps its numbers apart from those of other parts

fn x_quad(at: Quad) -> vec4<f32> {
  if at.is_vector { return decode_quad(x[vector_of(at.first, F16)], at.first, F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(x[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

// The factors of the four elements that share a draw with element `index`.
fn factors_at(index: u32) -> vec4<f32> {
  return drawn_factors(philox(vec4<u32>(index >> 2u, 0u, 0u, STREAM), params.dropout.seed), params.dropout);
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
  let at = row_quad(params.x, row_index(row, params.shape), column, params.columns);
  let values = x_quad(at);

  var index = row * params.columns + column;
  var factors = factors_at(index);
  var kept = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    if i > 0u && (index & 3u) == 0u { factors = factors_at(index); }  // in rows that begin within four
    let factor = factors[index & 3u];
    if factor != 0.0 { kept[i] = factor * values[i]; }  // a dropped NaN is 0
    index += 1u;
  }
  store_quad(row * params.output_pitch + column, kept, at.count, F16);
}
