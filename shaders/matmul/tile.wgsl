// parts: matmul/operands, drivers, element, launch, special, store
//
// Batched matrix product with a bias epilogue: output = A B + bias.
//
// a [batch…, M, K], b [batch…, K, N] at any strides (a transposed operand is a view), bias [N] → output [batch…, M, N].
// One workgroup owns TILE_ROWS × TILE_COLUMNS of the output. Lane (x, y) has its rows y + Y·i and column quads x + X·j, ROWS
// by QUADS of them, accumulated in registers. K is processed STEP at a time. Workgroup memory has two buffers, each for one
// step of both operands: a by rows of K quads, b by rows of column quads, and a vec4 of padding after each row against bank
// conflicts. A lane loads its share of the next step into registers, computes the present step from one buffer, stores the
// next step in the other, and waits at the step's only barrier. No lane reads that other buffer meanwhile, because its step
// was computed before the last barrier.
//
// A tile is 2·TILE_ROWS·TILE_COLUMNS·K floating-point operations for 4·(TILE_ROWS + TILE_COLUMNS)·K bytes read (f32), from
// L2 where neighbouring tiles share operands: 8 operations per byte for 32 × 32, 16 for 64 × 64, 32 for 128 × 128. For each of
// K, a lane reads 4·ROWS + 16·QUADS bytes of workgroup memory for 4·ROWS·QUADS multiply-adds: 1 byte a multiply-add with 8
// rows and 2 quads, 2 bytes with 4 rows and 1 quad. A GPU that reads a byte for each multiply-add, as AMD's do, is bound by
// arithmetic in the former, and by workgroup memory at half its speed in the latter.
//
// All places in workgroup memory are made of constants, lanes and loop variables with constant bounds by + * / %, so that
// Dawn proves them in range and adds no clamps; see docs/performance.md.

const TILE_ROWS: u32 = 32u;      // of the output a workgroup
const TILE_COLUMNS: u32 = 32u;
const ROWS: u32 = 4u;            // of the output a lane
const QUADS: u32 = 1u;           // of columns of the output a lane
const STEP: u32 = 16u;           // K per step
const WORKGROUP: u32 = 64u;      // lanes: X · Y
const A_F16: bool = false;       // storage of a
const B_F16: bool = false;       // storage of b and bias
const OUT_F16: bool = false;     // storage of output
// The axis of an operand along which four neighbours lie in one aligned vector: ALONG_K, ACROSS_K, or 0.
const A_VECTORS: u32 = 0u;
const B_VECTORS: u32 = 0u;
// An exact zero in A times NaN or infinity in B gives 0, for attention weights of masked keys.
const ZERO_ANNIHILATES: bool = false;

const X: u32 = TILE_COLUMNS / (4u * QUADS);  // lanes along the columns of the tile
const Y: u32 = TILE_ROWS / ROWS;             // and along its rows
const STEP_QUADS: u32 = STEP / 4u;
// All lanes together load A_ROWS rows of a's step at once, and B_QUADS column quads of b's.
const A_ROWS: u32 = WORKGROUP / STEP_QUADS;
const A_LOADS: u32 = TILE_ROWS / A_ROWS;
const B_QUADS: u32 = WORKGROUP / STEP;
const B_LOADS: u32 = TILE_COLUMNS / (4u * B_QUADS);
const A_PITCH: u32 = STEP_QUADS + 1u;
const B_PITCH: u32 = TILE_COLUMNS / 4u + 1u;
const A_BUFFER: u32 = TILE_ROWS * A_PITCH;
const B_BUFFER: u32 = STEP * B_PITCH;

var<workgroup> a_tile: array<vec4<f32>, 2u * A_BUFFER>;  // [buffer][row][K quad]
var<workgroup> b_tile: array<vec4<f32>, 2u * B_BUFFER>;  // [buffer][k][column quad]

// Without vectors in the order of staging, elements are read one by one. If f32 vectors lie in the other order, all elements
// have the same place in their vectors, that of the first one, which need not be found again.

// K's steps [k, k + 4) of a row of a: `first` is the element of step 0.
fn a_quad(first: u32, k: u32) -> vec4<f32> {
  let begin = first + k * params.a.strides.x;
  if A_VECTORS == ALONG_K { return a_vector(begin); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) {
    let element = begin + i * params.a.strides.x;
    let place = select(element, first, A_VECTORS == ACROSS_K && !A_F16);
    quad[i] = decode_element(a[vector_of(element, A_F16)][word_index(place, A_F16) % 4u], element, A_F16);
  }
  return quad;
}

// Four columns of row k of b: `first` is the element of row 0.
fn b_quad(first: u32, k: u32) -> vec4<f32> {
  let begin = first + k * params.b.strides.x;
  if B_VECTORS == ACROSS_K { return b_vector(begin); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) {
    let element = begin + i * params.b.strides.y;
    let place = select(element, first, B_VECTORS == ALONG_K && !B_F16);
    quad[i] = decode_element(b[vector_of(element, B_F16)][word_index(place, B_F16) % 4u], element, B_F16);
  }
  return quad;
}

// True for those of K's steps [k, k + 4) that exist.
fn within_depth(k: u32) -> vec4<bool> {
  return vec4<u32>(k) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.depth);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let first_column = (index % params.column_tiles) * TILE_COLUMNS;
  let first_row = ((index / params.column_tiles) % params.row_tiles) * TILE_ROWS;
  let bases = batch_bases(index / (params.column_tiles * params.row_tiles));

  // The share of a lane: neighbouring lanes load neighbouring memory. Each remainder is there for Dawn, which cannot see
  // through `select`.
  let a_along_k = params.a.strides.x <= params.a.strides.y;
  let a_row = select(lane % A_ROWS, lane / STEP_QUADS, a_along_k) % A_ROWS;
  let a_k = select(lane / A_ROWS, lane % STEP_QUADS, a_along_k) % STEP_QUADS;
  let b_along_k = params.b.strides.x < params.b.strides.y;
  let b_column = select(lane % B_QUADS, lane / STEP, b_along_k) % B_QUADS;
  let b_k = select(lane / B_QUADS, lane % STEP, b_along_k) % STEP;

  // Lanes past the last row or column load the last one's elements, and their sums are not stored.
  var a_first: array<u32, A_LOADS> = array<u32, A_LOADS>();
  var b_first: array<u32, B_LOADS> = array<u32, B_LOADS>();
  for (var i = 0u; i < A_LOADS; i++) {
    let row = min(first_row + a_row + i * A_ROWS, params.rows - 1u);
    a_first[i] = bases.x + dot(vec2<u32>(4u * a_k, row), params.a.strides);
  }
  for (var i = 0u; i < B_LOADS; i++) {
    let column = min(first_column / 4u + b_column + i * B_QUADS, (params.columns - 1u) / 4u) * 4u;
    b_first[i] = bases.y + dot(vec2<u32>(b_k, column), params.b.strides);
  }

  for (var i = 0u; i < A_LOADS; i++) {
    a_tile[(a_row + i * A_ROWS) * A_PITCH + a_k] = select(vec4<f32>(0.0), a_quad(a_first[i], 0u), within_depth(4u * a_k));
  }
  for (var i = 0u; i < B_LOADS; i++) {
    b_tile[b_k * B_PITCH + b_column + i * B_QUADS] = select(vec4<f32>(0.0), b_quad(b_first[i], 0u), b_k < params.depth);
  }
  workgroupBarrier();

  let x = lane % X;
  let y = lane / X;
  var sums: array<array<vec4<f32>, QUADS>, ROWS> = array<array<vec4<f32>, QUADS>, ROWS>();
  let last_step = (params.depth - 1u) / STEP * STEP;
  for (var k = 0u; k < params.depth; k += STEP) {
    // Loads are unconditional, the last step's twice: a branch between them and their use would let compilers move them down.
    var next_a: array<vec4<f32>, A_LOADS> = array<vec4<f32>, A_LOADS>();
    var next_b: array<vec4<f32>, B_LOADS> = array<vec4<f32>, B_LOADS>();
    let next = k + STEP;
    let loaded = min(next, last_step);
    for (var i = 0u; i < A_LOADS; i++) { next_a[i] = a_quad(a_first[i], loaded); }
    for (var i = 0u; i < B_LOADS; i++) { next_b[i] = b_quad(b_first[i], loaded); }

    let buffer = k / STEP % 2u;
    for (var quad = 0u; quad < STEP_QUADS; quad++) {
      var rows: array<vec4<f32>, ROWS> = array<vec4<f32>, ROWS>();
      for (var i = 0u; i < ROWS; i++) { rows[i] = a_tile[buffer * A_BUFFER + (y + Y * i) * A_PITCH + quad]; }
      for (var e = 0u; e < 4u; e++) {
        let row_of_b = buffer * B_BUFFER + (4u * quad + e) * B_PITCH;
        var columns: array<vec4<f32>, QUADS> = array<vec4<f32>, QUADS>();
        for (var j = 0u; j < QUADS; j++) { columns[j] = b_tile[row_of_b + x + X * j]; }
        for (var i = 0u; i < ROWS; i++) {
          for (var j = 0u; j < QUADS; j++) { sums[i][j] = fma(vec4<f32>(rows[i][e]), columns[j], sums[i][j]); }
        }
      }
    }

    if next + STEP > params.depth {  // past the depth, everything is zero
      for (var i = 0u; i < A_LOADS; i++) { next_a[i] = select(vec4<f32>(0.0), next_a[i], within_depth(next + 4u * a_k)); }
      for (var i = 0u; i < B_LOADS; i++) { next_b[i] = select(vec4<f32>(0.0), next_b[i], next + b_k < params.depth); }
    }
    for (var i = 0u; i < A_LOADS; i++) {
      a_tile[(1u - buffer) * A_BUFFER + (a_row + i * A_ROWS) * A_PITCH + a_k] = next_a[i];
    }
    for (var i = 0u; i < B_LOADS; i++) {
      b_tile[(1u - buffer) * B_BUFFER + b_k * B_PITCH + b_column + i * B_QUADS] = next_b[i];
    }
    workgroupBarrier();
  }

  // If a sum is not finite, the lane's sums are computed again, in the same order, without what a zero of a meets.
  if ZERO_ANNIHILATES {
    var is_spoilt = false;
    for (var i = 0u; i < ROWS; i++) {
      for (var j = 0u; j < QUADS; j++) { is_spoilt = is_spoilt || has_special(sums[i][j]); }
    }
    for (var i = 0u; i < ROWS; i++) {
      for (var j = 0u; j < QUADS; j++) { sums[i][j] = select(sums[i][j], vec4<f32>(0.0), is_spoilt); }
    }
    for (var k = llvmpipe_skip(is_spoilt, params.depth); k < params.depth; k++) {
      for (var j = 0u; j < QUADS; j++) {
        var columns = vec4<f32>(0.0);
        for (var c = 0u; c < 4u; c++) { columns[c] = b_element(bases.y, k, first_column + 4u * (x + X * j) + c); }
        for (var i = 0u; i < ROWS; i++) {
          let weight = a_element(bases.x, k, first_row + y + Y * i);
          sums[i][j] = select(fma(vec4<f32>(weight), columns, sums[i][j]), sums[i][j], weight == 0.0);
        }
      }
    }
  }

  for (var j = 0u; j < QUADS; j++) {
    let column = first_column + 4u * (x + X * j);
    if column >= params.columns { continue; }
    let count = min(params.columns - column, 4u);
    let addend = bias_quad(column);
    for (var i = 0u; i < ROWS; i++) {
      let row = first_row + y + Y * i;
      if row >= params.rows { continue; }
      store_quad(bases.z + row * params.output.row_stride + column, sums[i][j] + addend, count, OUT_F16);
    }
  }
}
