// parts: matmul/operands, drivers, launch, special, store
//
// Batched matrix product with a bias epilogue, without workgroup memory or barriers, for drivers where those are slow
// (CPUs): output = A B + bias.
//
// a [batch…, M, K], b [batch…, K, N] at any strides (a transposed operand is a view), bias [N] → output [batch…, M, N].
// One workgroup is one subgroup and owns 4·SUBGROUP rows by 4·QUADS columns of the output. A lane has four of the rows,
// accumulated in registers. K is processed four at a time. A lane loads its rows' 4 × 4 block of a and its own four columns'
// block of b, and shuffles pass the blocks of b around:
//
//     lane i loads   a [rows 4i … 4i+3, k … k+3]     b [k … k+3, columns 4i … 4i+3]
//     quad c: all lanes read lane c's block of b, 16 multiply-adds on vec4 for 4 shuffles of vec4
//
// A tile is 32·SUBGROUP·QUADS·K floating-point operations for 16·(SUBGROUP + QUADS)·K bytes read (f32), from a CPU's
// cache. attention/subgroup explains why rare work is in loops that usually run no iteration, and how arrays are indexed.

enable subgroups;

const SUBGROUP: u32 = 8u;        // invocations of every subgroup of the device
const A_F16: bool = false;       // storage of a
const B_F16: bool = false;       // storage of b and bias
const OUT_F16: bool = false;     // storage of output
// An exact zero in A times NaN or infinity in B gives 0, for attention weights of masked keys.
const ZERO_ANNIHILATES: bool = false;

const QUADS: u32 = min(SUBGROUP, 8u);  // column quads of the tile

@compute @workgroup_size(SUBGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let first_column = (index % params.column_tiles) * 4u * QUADS;
  let first_row = ((index / params.column_tiles) % params.row_tiles) * 4u * SUBGROUP + 4u * lane;
  let bases = batch_bases(index / (params.column_tiles * params.row_tiles));

  var sums: array<array<vec4<f32>, 4>, QUADS> = array<array<vec4<f32>, 4>, QUADS>();
  var saw_special = false;
  for (var k = 0u; k < params.depth; k += 4u) {
    let x = a_block(bases.x, k, first_row);
    var y = b_block(bases.y, k, first_column + 4u * (lane % QUADS));
    if ZERO_ANNIHILATES {
      saw_special = saw_special || any_special(y);
      y = mat4x4<f32>(finite_part(y[0]), finite_part(y[1]), finite_part(y[2]), finite_part(y[3]));
    }
    for (var c = 0u; c < QUADS; c++) {
      let y0 = subgroupShuffle(y[0], c);
      let y1 = subgroupShuffle(y[1], c);
      let y2 = subgroupShuffle(y[2], c);
      let y3 = subgroupShuffle(y[3], c);
      for (var r = 0u; r < 4u; r++) {
        sums[c][r] = fma(vec4<f32>(x[3][r]), y3, fma(vec4<f32>(x[2][r]), y2,
          fma(vec4<f32>(x[1][r]), y1, fma(vec4<f32>(x[0][r]), y0, sums[c][r]))));
      }
    }
  }

  // here, where all lanes still run: the lane that loaded such a value need not own the columns that meet it
  let leaves_special = subgroupAny(saw_special);

  for (var c = 0u; c < QUADS; c++) {
    let column = first_column + 4u * c;
    if column >= params.columns { break; }
    let addend = bias_quad(column);
    for (var r = 0u; r < 4u; r++) {
      if first_row + r >= params.rows { break; }
      let element = bases.z + (first_row + r) * params.output.row_stride + column;
      store_quad(element, sums[c][r] + addend, min(params.columns - column, 4u), OUT_F16);
    }
  }

  // NaN and infinities of b were left out. Now multiply them with the elements of a that are not 0. Slow, small code.
  if !ZERO_ANNIHILATES { return; }
  for (var k = llvmpipe_skip(leaves_special, params.depth); k < params.depth; k++) {
    for (var i = 0u; i < 4u * QUADS; i++) {
      let row = first_row + i % 4u;
      let column = first_column + i / 4u * 4u;
      if row >= params.rows || column >= params.columns { continue; }
      var values = vec4<f32>(0.0);
      for (var d = 0u; d < 4u; d++) { values[d] = b_element(bases.y, k, column + d); }
      let count = min(params.columns - column, 4u);
      let element = bases.z + row * params.output.row_stride + column;
      let stored = stored_quad(element, count, OUT_F16);
      store_quad(element, stored + weighted(a_element(bases.x, k, row), special_part(values)), count, OUT_F16);
    }
  }
}
