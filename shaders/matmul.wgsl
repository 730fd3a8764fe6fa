// parts: element, store, launch
//
// Batched matrix product with a bias epilogue: output = A B + bias.
//
// a [batch…, M, K], b [batch…, K, N] at any strides (a transposed operand is a view), bias [N] → output [batch…, M, N].
// One workgroup owns a TILE × TILE block of the output: 64 invocations as 8 × 8, invocation (x, y) with the row quads
// y + 8·i and the column quads x + 8·j of the tile, accumulated in registers. K is walked STEP at a time; both operands
// are staged with their long axis innermost, so that a step of K reads one vec4 of rows and one of columns for 16
// multiply-adds (TILE = 32: 2 vec4 loads for 16; TILE = 64: 4 for 64). STEP · TILE = 1024, so each invocation stages
// exactly one 4 × 4 block of each operand, transposed in registers where its rows run along K.
//
// A tile is 2·TILE²·K floating-point operations for 8·TILE·K bytes read (f32): TILE / 4 operations a byte, from L2 where
// neighbouring tiles share operands.

const TILE: u32 = 32u;           // rows and columns of the output a workgroup: 32 or 64
const A_F16: bool = false;       // storage of a
const B_F16: bool = false;       // storage of b and bias
const OUT_F16: bool = false;     // storage of output
// An exact zero in A annihilates what it meets in B, be it NaN or infinite: attention weights of masked keys.
const ZERO_ANNIHILATES: bool = false;

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

const STEP: u32 = 1024u / TILE;     // K a step
const TILE_QUADS: u32 = TILE / 4u;
const STEP_QUADS: u32 = STEP / 4u;
const QUADS: u32 = TILE / 32u;      // row quads, and column quads, an invocation
const BY_COLUMNS: u32 = 1u;
const BY_ROWS: u32 = 2u;

var<workgroup> a_tile: array<vec4<f32>, STEP * TILE_QUADS>;  // [k][rows], rotated
var<workgroup> b_tile: array<vec4<f32>, STEP * TILE_QUADS>;  // [k][columns], rotated
// set for good once a staged value of b is not finite
var<workgroup> b_not_finite: atomic<u32>;

// Where quad number `quad` of the staged row `k` lies: each four rows are turned by one quad, so that neither lanes that
// stage along K nor lanes that stage along the row meet in a bank.
fn slot(k: u32, quad: u32) -> u32 {
  return k * TILE_QUADS + ((quad + k / 4u) & (TILE_QUADS - 1u));
}

fn a_element(base: u32, row: u32, column: u32) -> f32 {
  if row >= params.rows || column >= params.depth { return 0.0; }
  let element = base + row * params.a_strides.x + column * params.a_strides.y;
  let word = word_index(element, A_F16);
  return decode_element(a[word >> 2u][word & 3u], element, A_F16);
}

fn a_quad(element: u32) -> vec4<f32> {
  return decode_quad(a[quad_index(element, A_F16)], element, A_F16);
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
  let word = word_index(element, B_F16);
  return decode_element(b[word >> 2u][word & 3u], element, B_F16);
}

fn b_quad(element: u32) -> vec4<f32> {
  return decode_quad(b[quad_index(element, B_F16)], element, B_F16);
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

fn any_not_finite(block: mat4x4<f32>) -> bool {
  var found = false;
  for (var i = 0u; i < 4u; i++) {
    let exponents = bitcast<vec4<u32>>(block[i]) & vec4<u32>(0x7f800000u);
    found = found || any(exponents == vec4<u32>(0x7f800000u));
  }
  return found;
}

fn product(weight: f32, value: vec4<f32>, guarded: bool) -> vec4<f32> {
  if ZERO_ANNIHILATES && guarded { return select(weight * value, vec4<f32>(0.0), weight == 0.0); }
  return weight * value;
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups);
  if index >= params.groups { return; }
  let first_column = (index % params.column_tiles) * TILE;
  let first_row = ((index / params.column_tiles) % params.row_tiles) * TILE;
  let batch = index / (params.column_tiles * params.row_tiles);
  let batch_index = vec3<u32>(
    batch / (params.batch_shape.z * params.batch_shape.y),
    (batch / params.batch_shape.z) % params.batch_shape.y,
    batch % params.batch_shape.z);
  let a_base = params.a_offset + dot(batch_index, params.a_batch_strides.xyz);
  let b_base = params.b_offset + dot(batch_index, params.b_batch_strides.xyz);
  let output_base = dot(batch_index, params.output_batch_strides.xyz);

  // neighbouring lanes stage neighbouring memory: along K where that is the operand's contiguous axis
  let a_along_k = params.a_quads != BY_ROWS;
  let a_k = select(lane / TILE_QUADS, lane % STEP_QUADS, a_along_k);
  let a_row = select(lane % TILE_QUADS, lane / STEP_QUADS, a_along_k);
  let b_along_k = params.b_quads == BY_ROWS;
  let b_k = select(lane / TILE_QUADS, lane % STEP_QUADS, b_along_k);
  let b_column = select(lane % TILE_QUADS, lane / STEP_QUADS, b_along_k);

  let x = lane % 8u;
  let y = lane / 8u;
  var sums: array<vec4<f32>, 4u * QUADS * QUADS> = array<vec4<f32>, 4u * QUADS * QUADS>();

  for (var k = 0u; k < params.depth; k += STEP) {
    let a_values = a_block(a_base, first_row + 4u * a_row, k + 4u * a_k);
    let b_values = b_block(b_base, k + 4u * b_k, first_column + 4u * b_column);
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
      a_tile[slot(4u * a_k + i, a_row)] = a_values[i];
      b_tile[slot(4u * b_k + i, b_column)] = b_values[i];
    }
    if ZERO_ANNIHILATES && any_not_finite(b_values) { atomicStore(&b_not_finite, 1u); }
    workgroupBarrier();
    let guarded = ZERO_ANNIHILATES && atomicLoad(&b_not_finite) != 0u;
    for (var step = 0u; step < STEP; step++) {
      for (var i = 0u; i < QUADS; i++) {
        let rows = a_tile[slot(step, y + 8u * i)];
        for (var j = 0u; j < QUADS; j++) {
          let columns = b_tile[slot(step, x + 8u * j)];
          let at = 4u * (i * QUADS + j);
          sums[at] += product(rows.x, columns, guarded);
          sums[at + 1u] += product(rows.y, columns, guarded);
          sums[at + 2u] += product(rows.z, columns, guarded);
          sums[at + 3u] += product(rows.w, columns, guarded);
        }
      }
    }
  }

  for (var j = 0u; j < QUADS; j++) {
    let column = first_column + 4u * (x + 8u * j);
    if column >= params.columns { continue; }
    let count = min(params.columns - column, 4u);
    var addend = vec4<f32>(0.0);
    if params.has_bias != 0u {
      for (var c = 0u; c < count; c++) {
        let element = params.bias_offset + column + c;
        addend[c] = decode_element(bias[word_index(element, B_F16)], element, B_F16);
      }
    }
    for (var i = 0u; i < QUADS; i++) {
      for (var r = 0u; r < 4u; r++) {
        let row = first_row + 4u * (y + 8u * i) + r;
        if row >= params.rows { continue; }
        let element = output_base + row * params.output_row_stride + column;
        store_quad(element, sums[4u * (i * QUADS + j) + r] + addend, count, OUT_F16);
      }
    }
  }
}
