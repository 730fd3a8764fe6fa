// parts: element, launch, operand, rotary, special, store
//
// Rotary position embedding (see the part rotary): the first columns of a row are rotated in pairs by the angles that the
// tables hold at its position. The other columns pass through. A position past the tables gives NaN in the rotated columns.
// The gradient is rotated back, by the negative angles.
//
// x [B, H, N, D] at any strides, cos and sin [P, rotary dim / 2] f32, positions [B, N] → output [B, H, N, D]. One
// invocation computes four columns of one row. Bound by bandwidth.

const F16: bool = false;         // storage of x and output

struct PositionParams {
  first: u32,               // position of row 0
  row_step: u32,            // positions from a row to the next: 1, or 0 where `positions` has them all
  is_given: u32,            // `positions` is added
  @align(16) given: MatrixOperand,
}

struct Params {
  quads: u32,               // of the output
  row_quads: u32,           // of an output row
  columns: u32,             // D
  length: u32,              // N
  heads: u32,               // H
  table_rows: u32,          // P
  is_inverse: u32,          // by the negative angles
  x: Operand,
  output: Operand,          // its columns are neighbours
  rotary: RotaryParams,
  positions: PositionParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;             // [B, H, N, D], f32 or f16
@group(0) @binding(2) var<storage, read> cos_table: array<f32>;     // [P, rotary dim / 2]
@group(0) @binding(3) var<storage, read> sin_table: array<f32>;     // [P, rotary dim / 2]
@group(0) @binding(4) var<storage, read> positions: array<u32>;     // [B, N]; a negative number is a large one here
@group(0) @binding(5) var<storage, read_write> output: array<u32>;  // [B, H, N, D], f32 or f16

const WORKGROUP: u32 = 256u;

fn x_element(row: u32, column: u32) -> f32 {
  let element = row + column * params.x.strides.w;
  return decode_element(x[word_index(element, F16)], element, F16);
}

// The bits of a rotated column of the row whose elements begin at `row`.
fn turned(row: u32, column: u32, position: u32) -> u32 {
  if position >= params.table_rows { return NAN_BITS; }
  let at = rotary_column(column);
  var angle = rotary_angle(position, at.pair);
  if params.is_inverse != 0u { angle.y = -angle.y; }
  return bitcast<u32>(rotate(x_element(row, column), x_element(row, at.other), at.is_second, angle));
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

  var position = params.positions.first + n * params.positions.row_step;
  if params.positions.is_given != 0u {
    let given = params.positions.given;
    position += positions[given.offset + dot(vec2<u32>(batch, n), given.strides)];
  }
  let row = row_of_operand(params.x, vec3<u32>(batch, head, n));
  var bits = vec4<u32>();
  for (var i = 0u; i < count; i++) {
    if column + i < params.rotary.dim {
      bits[i] = turned(row, column + i, position);
    } else {
      bits[i] = bitcast<u32>(x_element(row, column + i));
    }
  }
  let first = row_of_operand(params.output, vec3<u32>(batch, head, n)) + column;
  store_quad(first, bitcast<vec4<f32>>(bits), count, F16);
}
