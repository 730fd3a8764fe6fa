// parts: element, special
// What every matrix product is given: parameters, bindings, where a batch entry lies, reading blocks of a and b, and
// writing with the bias. Names A_F16, B_F16 and OUT_F16 of the shader that uses it.

struct Params {
  groups: u32,              // workgroups with work
  rows: u32,                // M
  columns: u32,             // N
  depth: u32,               // K
  row_tiles: u32,
  column_tiles: u32,
  batch_shape: vec4<u32>,      // the three innermost batch axes, outermost first; w unused
  a_batch_strides: vec4<u32>,  // elements; 0 where broadcast
  b_batch_strides: vec4<u32>,
  output_batch_strides: vec4<u32>,
  a_strides: vec2<u32>,        // elements: row, column
  b_strides: vec2<u32>,
  a_offset: u32,
  b_offset: u32,
  bias_offset: u32,
  has_bias: u32,
  a_quads: u32,             // 1: four columns of a lie in one aligned vector, 2: four rows do, 0: neither
  b_quads: u32,             // the same of b: 1 columns, 2 rows
  output_row_stride: u32,   // elements
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<u32>>;        // [batch…, M, K], f32 or f16
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;        // [batch…, K, N], f32 or f16
@group(0) @binding(3) var<storage, read> bias: array<u32>;           // [N], dtype of b
@group(0) @binding(4) var<storage, read_write> output: array<u32>;   // [batch…, M, N], f32 or f16

const BY_COLUMNS: u32 = 1u;
const BY_ROWS: u32 = 2u;

// First elements of a, b and output of a batch entry.
fn batch_bases(batch: u32) -> vec3<u32> {
  let index = vec3<u32>(
    batch / (params.batch_shape.z * params.batch_shape.y),
    (batch / params.batch_shape.z) % params.batch_shape.y,
    batch % params.batch_shape.z);
  return vec3<u32>(
    params.a_offset + dot(index, params.a_batch_strides.xyz),
    params.b_offset + dot(index, params.b_batch_strides.xyz),
    dot(index, params.output_batch_strides.xyz));
}

fn a_element(base: u32, row: u32, column: u32) -> f32 {
  if row >= params.rows || column >= params.depth { return 0.0; }
  let element = base + row * params.a_strides.x + column * params.a_strides.y;
  return decode_at(a[vector_of(element, A_F16)], element, A_F16);
}

fn a_quad(element: u32) -> vec4<f32> {
  return decode_quad(a[vector_of(element, A_F16)], element, A_F16);
}

// Rows [row, row + 4) by columns [column, column + 4) of a, one vec4 of rows for each column; zero outside.
fn a_block(base: u32, row: u32, column: u32) -> mat4x4<f32> {
  if params.a_quads != 0u && row + 4u <= params.rows && column + 4u <= params.depth {
    let element = base + row * params.a_strides.x + column * params.a_strides.y;
    let step = select(params.a_strides.x, params.a_strides.y, params.a_quads == BY_ROWS);
    let block = mat4x4<f32>(
      a_quad(element), a_quad(element + step), a_quad(element + 2u * step), a_quad(element + 3u * step));
    if params.a_quads == BY_ROWS { return block; }
    return transpose(block);
  }
  var block = mat4x4<f32>();
  for (var i = 0u; i < 4u; i++) {
    block[i] = vec4<f32>(
      a_element(base, row, column + i), a_element(base, row + 1u, column + i),
      a_element(base, row + 2u, column + i), a_element(base, row + 3u, column + i));
  }
  return block;
}

fn b_element(base: u32, row: u32, column: u32) -> f32 {
  if row >= params.depth || column >= params.columns { return 0.0; }
  let element = base + row * params.b_strides.x + column * params.b_strides.y;
  return decode_at(b[vector_of(element, B_F16)], element, B_F16);
}

fn b_quad(element: u32) -> vec4<f32> {
  return decode_quad(b[vector_of(element, B_F16)], element, B_F16);
}

// Rows [row, row + 4) by columns [column, column + 4) of b, one vec4 of columns for each row; zero outside.
fn b_block(base: u32, row: u32, column: u32) -> mat4x4<f32> {
  if params.b_quads != 0u && row + 4u <= params.depth && column + 4u <= params.columns {
    let element = base + row * params.b_strides.x + column * params.b_strides.y;
    let step = select(params.b_strides.x, params.b_strides.y, params.b_quads == BY_ROWS);
    let block = mat4x4<f32>(
      b_quad(element), b_quad(element + step), b_quad(element + 2u * step), b_quad(element + 3u * step));
    if params.b_quads == BY_ROWS { return transpose(block); }
    return block;
  }
  var block = mat4x4<f32>();
  for (var i = 0u; i < 4u; i++) {
    block[i] = vec4<f32>(
      b_element(base, row + i, column), b_element(base, row + i, column + 1u),
      b_element(base, row + i, column + 2u), b_element(base, row + i, column + 3u));
  }
  return block;
}

// The bias of columns [column, column + 4), zero past the last.
fn bias_quad(column: u32) -> vec4<f32> {
  var quad = vec4<f32>(0.0);
  if params.has_bias == 0u { return quad; }
  for (var i = column; i < min(column + 4u, params.columns); i++) {
    let element = params.bias_offset + i;
    quad[i - column] = decode_element(bias[word_index(element, B_F16)], element, B_F16);
  }
  return quad;
}

fn any_special(block: mat4x4<f32>) -> bool {
  return has_special(block[0]) || has_special(block[1]) || has_special(block[2]) || has_special(block[3]);
}
