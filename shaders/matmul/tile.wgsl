// parts: matmul/operands, launch, special, store
//
// Batched matrix product with a bias epilogue: output = A B + bias.
//
// a [batch…, M, K], b [batch…, K, N] at any strides (a transposed operand is a view), bias [N] → output [batch…, M, N].
// One workgroup owns TILE_ROWS × TILE_COLUMNS of the output. Invocation (x, y) has the row quads y + Y·i and the column
// quads x + X·j of the tile, QUADS of each, accumulated in registers. K is processed STEP at a time. Both operands are staged
// with their long axis innermost, so that a step of K reads QUADS vec4s of rows and as many of columns for 16·QUADS²
// multiply-adds (QUADS = 1: 2 vec4 loads for 16; QUADS = 2: 4 for 64). An invocation stages at most one 4 × 4 block of
// each operand, and transposes it in registers if its rows run along K. If there are fewer blocks than invocations, the
// first invocations stage a and the last stage b.
//
// A tile is 2·TILE_ROWS·TILE_COLUMNS·K floating-point operations for 4·(TILE_ROWS + TILE_COLUMNS)·K bytes read (f32), from
// L2 where neighbouring tiles share operands: 8 operations per byte for 32 × 32, 16 for 64 × 64, 32 for 128 × 128.

const TILE_ROWS: u32 = 32u;      // of the output a workgroup
const TILE_COLUMNS: u32 = 32u;
const QUADS: u32 = 1u;           // row quads, and column quads, per invocation
const STEP: u32 = 32u;           // K per step
const WORKGROUP: u32 = 64u;      // invocations: (TILE_ROWS / 4·QUADS) · (TILE_COLUMNS / 4·QUADS)
const A_F16: bool = false;       // storage of a
const B_F16: bool = false;       // storage of b and bias
const OUT_F16: bool = false;     // storage of output
// An exact zero in A times NaN or infinity in B gives 0, for attention weights of masked keys.
const ZERO_ANNIHILATES: bool = false;

const ROW_QUADS: u32 = TILE_ROWS / 4u;
const COLUMN_QUADS: u32 = TILE_COLUMNS / 4u;
const STEP_QUADS: u32 = STEP / 4u;
const X: u32 = COLUMN_QUADS / QUADS;  // invocations along a row of the tile, and across
const Y: u32 = ROW_QUADS / QUADS;
const A_BLOCKS: u32 = ROW_QUADS * STEP_QUADS;
const B_BLOCKS: u32 = COLUMN_QUADS * STEP_QUADS;

var<workgroup> a_tile: array<vec4<f32>, STEP * ROW_QUADS>;     // [k][rows], rotated
var<workgroup> b_tile: array<vec4<f32>, STEP * COLUMN_QUADS>;  // [k][columns], rotated
// set, and never cleared, once a staged value of b is not finite
var<workgroup> b_not_finite: atomic<u32>;

// The place of quad number `quad` in the staged row `k` of `quads` quads. Every four rows are rotated, so that lanes do not
// collide in a bank, whether they stage along K or along the row.
fn staged_at(k: u32, quad: u32, quads: u32) -> u32 {
  return k * quads + ((quad + k / 4u * (8u / STEP_QUADS)) & (quads - 1u));
}

fn product(weight: f32, value: vec4<f32>, guarded: bool) -> vec4<f32> {
  if ZERO_ANNIHILATES && guarded { return weighted(weight, value); }
  return weight * value;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups);
  if index >= params.groups { return; }
  let first_column = (index % params.column_tiles) * TILE_COLUMNS;
  let first_row = ((index / params.column_tiles) % params.row_tiles) * TILE_ROWS;
  let batch = index / (params.column_tiles * params.row_tiles);
  let bases = batch_bases(batch);

  // neighbouring lanes stage neighbouring memory: along K if that is the operand's contiguous axis
  let a_lane = lane;
  let b_lane = lane + B_BLOCKS - WORKGROUP;  // wraps around, past B_BLOCKS, for lanes that stage none of b
  let a_along_k = params.a.vectors != ACROSS_K;
  let a_k = select(a_lane / ROW_QUADS, a_lane % STEP_QUADS, a_along_k);
  let a_row = select(a_lane % ROW_QUADS, a_lane / STEP_QUADS, a_along_k);
  let b_along_k = params.b.vectors == ALONG_K;
  let b_k = select(b_lane / COLUMN_QUADS, b_lane % STEP_QUADS, b_along_k);
  let b_column = select(b_lane % COLUMN_QUADS, b_lane / STEP_QUADS, b_along_k);

  let x = lane % X;
  let y = lane / X;
  var sums: array<vec4<f32>, 4u * QUADS * QUADS> = array<vec4<f32>, 4u * QUADS * QUADS>();

  for (var k = 0u; k < params.depth; k += STEP) {
    var a_values = mat4x4<f32>();
    var b_values = mat4x4<f32>();
    if a_lane < A_BLOCKS { a_values = a_block(bases.x, k + 4u * a_k, first_row + 4u * a_row); }
    if b_lane < B_BLOCKS { b_values = b_block(bases.y, k + 4u * b_k, first_column + 4u * b_column); }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
      if a_lane < A_BLOCKS { a_tile[staged_at(4u * a_k + i, a_row, ROW_QUADS)] = a_values[i]; }
      if b_lane < B_BLOCKS { b_tile[staged_at(4u * b_k + i, b_column, COLUMN_QUADS)] = b_values[i]; }
    }
    if ZERO_ANNIHILATES && any_special(b_values) { atomicStore(&b_not_finite, 1u); }
    workgroupBarrier();
    let guarded = ZERO_ANNIHILATES && atomicLoad(&b_not_finite) != 0u;
    for (var step = 0u; step < STEP; step++) {
      var columns: array<vec4<f32>, QUADS> = array<vec4<f32>, QUADS>();
      for (var j = 0u; j < QUADS; j++) { columns[j] = b_tile[staged_at(step, x + X * j, COLUMN_QUADS)]; }
      for (var i = 0u; i < QUADS; i++) {
        let rows = a_tile[staged_at(step, y + Y * i, ROW_QUADS)];
        for (var j = 0u; j < QUADS; j++) {
          let at = 4u * (i * QUADS + j);
          sums[at] += product(rows.x, columns[j], guarded);
          sums[at + 1u] += product(rows.y, columns[j], guarded);
          sums[at + 2u] += product(rows.z, columns[j], guarded);
          sums[at + 3u] += product(rows.w, columns[j], guarded);
        }
      }
    }
  }

  for (var j = 0u; j < QUADS; j++) {
    let column = first_column + 4u * (x + X * j);
    if column >= params.columns { continue; }
    let count = min(params.columns - column, 4u);
    let addend = bias_quad(column);
    for (var i = 0u; i < QUADS; i++) {
      for (var r = 0u; r < 4u; r++) {
        let row = first_row + 4u * (y + Y * i) + r;
        if row >= params.rows { continue; }
        let element = bases.z + row * params.output.row_stride + column;
        store_quad(element, sums[4u * (i * QUADS + j) + r] + addend, count, OUT_F16);
      }
    }
  }
}
