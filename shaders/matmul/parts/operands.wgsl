// parts: element, special
// The inputs of every matrix product: parameters, bindings, the place of a batch entry, reading blocks of a and b, and the
// bias. Needs A_F16 and B_F16 from the shader that uses it.
//
// Both factors are read in the same way: i in element (k, i) is a row of a, or a column of b.

struct Factor {
  batch_strides: vec3<u32>,    // elements; 0 where broadcast
  offset: u32,                 // elements
  strides: vec2<u32>,          // elements: along K, along the rows of a or the columns of b
  vectors: u32,                // the axis along which four neighbours lie in one aligned vector: ALONG_K, ACROSS_K, or 0
}

struct Output {
  batch_strides: vec3<u32>,    // elements
  row_stride: u32,             // elements
}

struct Bias {
  offset: u32,                 // elements
  columns: u32,                // N, or 0 if there is no bias
}

struct Params {
  first_group: u32,            // where a divided launch begins
  end_group: u32,              // and ends
  rows: u32,                   // M
  columns: u32,                // N
  depth: u32,                  // K
  row_tiles: u32,
  column_tiles: u32,
  batch_shape: vec2<u32>,      // lengths of the two inner batch axes, of three
  a: Factor,
  b: Factor,
  output: Output,
  bias: Bias,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<u32>>;        // [batch…, M, K], f32 or f16
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;        // [batch…, K, N], f32 or f16
@group(0) @binding(3) var<storage, read> bias: array<u32>;           // [N], dtype of b
@group(0) @binding(4) var<storage, read_write> output: array<u32>;   // [batch…, M, N], f32 or f16

const ALONG_K: u32 = 1u;
const ACROSS_K: u32 = 2u;

// First elements of a, b and output of a batch entry.
fn batch_bases(batch: u32) -> vec3<u32> {
  let lengths = params.batch_shape;
  let index = vec3<u32>(batch / (lengths.y * lengths.x), (batch / lengths.y) % lengths.x, batch % lengths.y);
  return vec3<u32>(
    params.a.offset + dot(index, params.a.batch_strides),
    params.b.offset + dot(index, params.b.batch_strides),
    dot(index, params.output.batch_strides));
}

// Elements between the vectors of a block.
fn vector_step(factor: Factor) -> u32 {
  return select(factor.strides.x, factor.strides.y, factor.vectors == ALONG_K);
}

fn a_element(base: u32, k: u32, row: u32) -> f32 {
  if k >= params.depth || row >= params.rows { return 0.0; }
  let element = base + dot(vec2<u32>(k, row), params.a.strides);
  return decode_element(a[vector_of(element, A_F16)][component_of(element, A_F16)], element, A_F16);
}

fn a_vector(element: u32) -> vec4<f32> {
  return decode_quad(a[vector_of(element, A_F16)], element, A_F16);
}

// K's steps [k, k + 4) by rows [row, row + 4) of a, one vec4 of rows for each k; zero outside.
fn a_block(base: u32, k: u32, row: u32) -> mat4x4<f32> {
  if params.a.vectors != 0u && k + 4u <= params.depth && row + 4u <= params.rows {
    let first = base + dot(vec2<u32>(k, row), params.a.strides);
    let step = vector_step(params.a);
    let block = mat4x4<f32>(
      a_vector(first), a_vector(first + step), a_vector(first + 2u * step), a_vector(first + 3u * step));
    if params.a.vectors == ACROSS_K { return block; }
    return transpose(block);
  }
  var block = mat4x4<f32>();
  for (var i = 0u; i < 4u; i++) {
    block[i] = vec4<f32>(
      a_element(base, k + i, row), a_element(base, k + i, row + 1u),
      a_element(base, k + i, row + 2u), a_element(base, k + i, row + 3u));
  }
  return block;
}

fn b_element(base: u32, k: u32, column: u32) -> f32 {
  if k >= params.depth || column >= params.columns { return 0.0; }
  let element = base + dot(vec2<u32>(k, column), params.b.strides);
  return decode_element(b[vector_of(element, B_F16)][component_of(element, B_F16)], element, B_F16);
}

fn b_vector(element: u32) -> vec4<f32> {
  return decode_quad(b[vector_of(element, B_F16)], element, B_F16);
}

// K's steps [k, k + 4) by columns [column, column + 4) of b, one vec4 of columns for each k; zero outside.
fn b_block(base: u32, k: u32, column: u32) -> mat4x4<f32> {
  if params.b.vectors != 0u && k + 4u <= params.depth && column + 4u <= params.columns {
    let first = base + dot(vec2<u32>(k, column), params.b.strides);
    let step = vector_step(params.b);
    let block = mat4x4<f32>(
      b_vector(first), b_vector(first + step), b_vector(first + 2u * step), b_vector(first + 3u * step));
    if params.b.vectors == ACROSS_K { return block; }
    return transpose(block);
  }
  var block = mat4x4<f32>();
  for (var i = 0u; i < 4u; i++) {
    block[i] = vec4<f32>(
      b_element(base, k + i, column), b_element(base, k + i, column + 1u),
      b_element(base, k + i, column + 2u), b_element(base, k + i, column + 3u));
  }
  return block;
}

// The bias of columns [column, column + 4), zero past the last.
fn bias_quad(column: u32) -> vec4<f32> {
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.bias.columns); i++) {
    let element = params.bias.offset + i;
    quad[i - column] = decode_element(bias[word_index(element, B_F16)], element, B_F16);
  }
  return quad;
}

fn any_special(block: mat4x4<f32>) -> bool {
  return has_special(block[0]) || has_special(block[1]) || has_special(block[2]) || has_special(block[3]);
}
