// parts: element, launch, store
//
// Rotary position embedding (Su et al., "RoFormer", 2021): the first `rotary` columns of a row at position p are rotated
// in pairs by the angles whose cosines and sines the tables hold at p. The other columns pass through.
//
//     pair i:  a cos[p, i] - b sin[p, i],  b cos[p, i] + a sin[p, i]
//
// with a and b at columns i and i + rotary/2 (GPT-NeoX, Hugging Face), or if interleaved at 2i and 2i + 1 (llama2.c). A
// position past the tables gives NaN in the rotated columns. The gradient is rotated back, by the negative angles.
//
// x [B, H, N, D] at any strides, cos and sin [P, rotary/2] f32, positions [B, N] → output [B, H, N, D]. One invocation
// computes four columns of one row. Bound by bandwidth.

const F16: bool = false;         // storage of x and output

struct Params {
  quads: u32,               // of the output
  row_quads: u32,           // of an output row
  columns: u32,             // D
  rotary: u32,              // columns that are rotated, even
  length: u32,              // N
  heads: u32,               // H
  table_rows: u32,          // P
  offset: u32,              // position of row 0
  row_step: u32,            // positions from a row to the next: 1, or 0 where `positions` has them all
  has_positions: u32,       // `positions` is added
  interleaved: u32,
  is_inverse: u32,          // by the negative angles
  x_strides: vec4<u32>,     // elements: batch, head, row, column
  x_offset: u32,
  output_strides: vec4<u32>,  // the last is 1
  positions_strides: vec2<u32>,  // batch, row
  positions_offset: u32,
  cos_strides: vec2<u32>,   // position, pair
  sin_strides: vec2<u32>,
  cos_offset: u32,
  sin_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;             // [B, H, N, D], f32 or f16
@group(0) @binding(2) var<storage, read> cos_table: array<f32>;     // [P, rotary/2]
@group(0) @binding(3) var<storage, read> sin_table: array<f32>;     // [P, rotary/2]
@group(0) @binding(4) var<storage, read> positions: array<u32>;     // [B, N]; a negative number is a large one here
@group(0) @binding(5) var<storage, read_write> output: array<u32>;  // [B, H, N, D], f32 or f16

const WORKGROUP: u32 = 256u;
const NAN_BITS: u32 = 0x7fc00000u;

fn x_element(row: u32, column: u32) -> f32 {
  let element = row + column * params.x_strides.w;
  return decode_element(x[word_index(element, F16)], element, F16);
}

// The bits of column `column` < rotary of the row whose elements begin at `row`.
fn turned(row: u32, column: u32, position: u32) -> u32 {
  if position >= params.table_rows { return NAN_BITS; }
  let half = params.rotary / 2u;
  var pair = column % half;
  var is_first = column < half;
  var other = select(column - half, column + half, is_first);
  if params.interleaved != 0u {
    pair = column / 2u;
    is_first = (column & 1u) == 0u;
    other = column ^ 1u;
  }
  let cosine = cos_table[params.cos_offset + dot(vec2<u32>(position, pair), params.cos_strides)];
  let sine = sin_table[params.sin_offset + dot(vec2<u32>(position, pair), params.sin_strides)];
  let factor = select(sine, -sine, is_first != (params.is_inverse != 0u));
  return bitcast<u32>(x_element(row, column) * cosine + x_element(row, other) * factor);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let quad = linear_group(group, groups) * WORKGROUP + lane;
  if quad >= params.quads { return; }
  let column = 4u * (quad % params.row_quads);
  let n = (quad / params.row_quads) % params.length;
  let head = (quad / (params.row_quads * params.length)) % params.heads;
  let batch = quad / (params.row_quads * params.length * params.heads);
  let count = min(params.columns - column, 4u);

  var position = params.offset + n * params.row_step;
  if params.has_positions != 0u {
    position += positions[params.positions_offset + dot(vec2<u32>(batch, n), params.positions_strides)];
  }
  let row = params.x_offset + dot(vec3<u32>(batch, head, n), params.x_strides.xyz);
  var bits = vec4<u32>();
  for (var i = 0u; i < count; i++) {
    if column + i < params.rotary {
      bits[i] = turned(row, column + i, position);
    } else {
      bits[i] = bitcast<u32>(x_element(row, column + i));
    }
  }
  let first = dot(vec4<u32>(batch, head, n, column), params.output_strides);
  store_quad(first, bitcast<vec4<f32>>(bits), count, F16);
}
