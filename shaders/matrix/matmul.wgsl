// parts: matmul/operands, matrix/entry, matrix/half-octet, matrix/subgroup-matrix, launch, store
//
// Batched matrix product with a bias epilogue on tensor cores: output = A B + bias. Operands are f16, sums are f32.
//
// a [batch…, M, K], b [batch…, K, N] at any strides (a transposed operand is a view), bias [N] → output [batch…, M,
// N]. One workgroup owns TILE_ROWS × TILE_COLUMNS of the output. Its ROW_GROUPS × COLUMN_GROUPS subgroups own equal blocks of
// it, as matrices in registers. K is processed STEP at a time. Both operands are staged in the order of storage, in lines along
// their contiguous axis, and matrices are loaded from them in either order. Two stages take turns: while one is multiplied, the
// next is loaded from storage, so that a step has one barrier.
//
// With TURNS_B b is staged as its transpose: an invocation reads eight rows of two columns, 4 bytes each, and writes them as two
// octets along K. Matrices of b are then loaded 16 bytes at a time.
//
// Workgroup memory: two stages of a's and b's lines, f16 with 8 elements of padding against bank conflicts, and 1 KiB
// a subgroup for writing the sums to the output. 64 × 64 is at most 24 KiB, 128 × 64 38 KiB, 128 × 128 48 KiB.
//
// A tile is 2·TILE_ROWS·TILE_COLUMNS·K operations for 2·(TILE_ROWS + TILE_COLUMNS)·K bytes, from L2 where
// neighbouring tiles share operands: 32 operations per byte for 64 × 64, 64 for 128 × 128. From workgroup memory a
// subgroup with R × C matrices reads R + C of 512 bytes for R·C products of 8192 operations: 16 operations per byte for
// 2 × 2, 21 for 4 × 2 (of 128 × 128). At 128 bytes a cycle that is 2048 and 2730 operations. An H100's tensor cores reach
// 4096, but only about 2540 without the asynchronous matrix instructions, which WGSL does not have. So 128 × 128 is bound by
// the tensor cores, and 64 × 64 by workgroup memory, at 470 TFLOP/s. Registers (about 150 per lane at 128 × 128) allow
// twelve subgroups or more on a multiprocessor. Half of that bound is expected: 0.6 ms for 4096³ (137 GFLOP). Not
// measured yet.

enable subgroups;

const TILE_ROWS: u32 = 32u;      // of the output a workgroup, a multiple of 16 · ROW_GROUPS
const TILE_COLUMNS: u32 = 32u;   // a multiple of 16 · COLUMN_GROUPS
const ROW_GROUPS: u32 = 2u;      // subgroups across the rows
const COLUMN_GROUPS: u32 = 2u;   // and across the columns
const SUBGROUP: u32 = 32u;       // lanes of a subgroup
const WORKGROUP: u32 = 128u;     // SUBGROUP · ROW_GROUPS · COLUMN_GROUPS
const A_BY_ROWS: bool = false;   // neighbours in storage are neighbours along the rows of a, not along K
const B_BY_ROWS: bool = false;   // the same along K of b, not along its columns
const TURNS_B: bool = false;     // b lies by columns and is turned while it is staged, for GPUs that load it 2 bytes at a time otherwise
const OUT_F16: bool = true;      // storage of output

const A_F16: bool = true;
const B_F16: bool = true;
const STEP: u32 = 32u;           // K per step

// matrices of a subgroup
const ROW_PARTS: u32 = TILE_ROWS / (16u * ROW_GROUPS);
const COLUMN_PARTS: u32 = TILE_COLUMNS / (16u * COLUMN_GROUPS);
const PARTS: u32 = ROW_PARTS * COLUMN_PARTS;

// Workgroup memory, f16 in octets: lines along the contiguous axis.
const A_LINES: u32 = select(TILE_ROWS, STEP, A_BY_ROWS);
const A_OCTETS: u32 = select(STEP, TILE_ROWS, A_BY_ROWS) / 8u;  // of a line
const A_PITCH: u32 = A_OCTETS + 1u;
const B_ALONG_K: bool = B_BY_ROWS || TURNS_B;  // lines of b in workgroup memory
const B_LINES: u32 = select(STEP, TILE_COLUMNS, B_ALONG_K);
const B_OCTETS: u32 = select(TILE_COLUMNS, STEP, B_ALONG_K) / 8u;
const B_PITCH: u32 = B_OCTETS + 1u;
const B_AT: u32 = A_LINES * A_PITCH;
const STAGE: u32 = B_AT + B_LINES * B_PITCH;
const HALF_OCTETS: u32 = 2u * STAGE;
// f32 in quads: one matrix per subgroup
const FLOAT_QUADS: u32 = 64u * ROW_GROUPS * COLUMN_GROUPS;

// octets of a stage that an invocation moves
const A_SHARE: u32 = (A_LINES * A_OCTETS + WORKGROUP - 1u) / WORKGROUP;
const COLUMN_PAIRS: u32 = TILE_COLUMNS / 2u;  // of b that is turned; an invocation moves octets in pairs, those of two columns
const PAIR_SHARE: u32 = (STEP / 8u * COLUMN_PAIRS + WORKGROUP - 1u) / WORKGROUP;
const B_SHARE: u32 = select((B_LINES * B_OCTETS + WORKGROUP - 1u) / WORKGROUP, 2u * PAIR_SHARE, TURNS_B);

fn row_group(subgroup: u32) -> u32 {
  return subgroup / COLUMN_GROUPS;
}

fn column_group(subgroup: u32) -> u32 {
  return subgroup % COLUMN_GROUPS;
}

// One operand's lines in storage.
struct Lines {
  base: u32,        // element
  pitch: u32,       // elements
  step: u32,        // from element to element
  lines: u32,
  elements: u32,    // of a line
  are_octets: bool,
}

fn lines_of(base: u32, strides: vec2<u32>, extent: vec2<u32>) -> Lines {
  return Lines(
    base, strides.x, strides.y, extent.x, extent.y, reads_octets(base, strides.x, strides.y, extent.y));
}

fn a_lines(base: u32) -> Lines {
  if A_BY_ROWS { return lines_of(base, params.a.strides, vec2<u32>(params.depth, params.rows)); }
  return lines_of(base, params.a.strides.yx, vec2<u32>(params.rows, params.depth));
}

fn b_lines(base: u32) -> Lines {
  if B_BY_ROWS { return lines_of(base, params.b.strides.yx, vec2<u32>(params.columns, params.depth)); }
  return lines_of(base, params.b.strides, vec2<u32>(params.depth, params.columns));
}

// Octet number `number` of the stage that begins at (line, element) `first`; zeros outside of the matrix.
fn octet_in(
  buffer: ptr<storage, array<vec4<u32>>, read>, lines: Lines, first: vec2<u32>, number: u32, line_octets: u32,
) -> vec4<u32> {
  let line = first.x + number / line_octets;
  let element = first.y + 8u * (number % line_octets);
  if line >= lines.lines || element >= lines.elements { return vec4<u32>(0u); }
  return octet_of(buffer, lines.base + line * lines.pitch, lines.step, element, lines.elements, lines.are_octets);
}

// First line and element of K's steps [k, k + STEP).
fn a_first(k: u32, first_row: u32) -> vec2<u32> {
  return select(vec2<u32>(first_row, k), vec2<u32>(k, first_row), A_BY_ROWS);
}

fn b_first(k: u32, first_column: u32) -> vec2<u32> {
  return select(vec2<u32>(k, first_column), vec2<u32>(first_column, k), B_BY_ROWS);
}

// An invocation's share of a stage. Zeros if lines are not whole octets, which are staged when they are needed.
fn fetch_a(lines: Lines, first: vec2<u32>, invocation: u32) -> array<vec4<u32>, A_SHARE> {
  var octets: array<vec4<u32>, A_SHARE> = array<vec4<u32>, A_SHARE>();
  if !lines.are_octets { return octets; }
  for (var i = 0u; i < A_SHARE; i++) {
    octets[i] = octet_in(&a, lines, first, invocation + i * WORKGROUP, A_OCTETS);
  }
  return octets;
}

fn fetch_b(lines: Lines, first: vec2<u32>, invocation: u32) -> array<vec4<u32>, B_SHARE> {
  var octets: array<vec4<u32>, B_SHARE> = array<vec4<u32>, B_SHARE>();
  if !lines.are_octets { return octets; }
  if TURNS_B {
    for (var i = 0u; i < PAIR_SHARE; i++) {
      let pair = invocation + i * WORKGROUP;
      let k = first.x + 8u * (pair / COLUMN_PAIRS);
      let column = first.y + 2u * (pair % COLUMN_PAIRS);
      if pair < STEP / 8u * COLUMN_PAIRS && k < lines.lines && column < lines.elements {
        let turned = two_columns(&b, lines.base + k * lines.pitch + column, lines.pitch, lines.lines - k);
        octets[2u * i] = turned[0];
        octets[2u * i + 1u] = turned[1];
      }
    }
    return octets;
  }
  for (var i = 0u; i < B_SHARE; i++) {
    octets[i] = octet_in(&b, lines, first, invocation + i * WORKGROUP, B_OCTETS);
  }
  return octets;
}

// Octet `number` of b's stage, where it is not staged as octets of storage.
fn b_octet(lines: Lines, first: vec2<u32>, number: u32) -> vec4<u32> {
  if !TURNS_B { return octet_in(&b, lines, first, number, B_OCTETS); }
  let column = first.y + number / B_OCTETS;
  let k = first.x + 8u * (number % B_OCTETS);
  if column >= lines.elements || k >= lines.lines { return vec4<u32>(0u); }
  return octet_of(&b, lines.base + column * lines.step, lines.pitch, k, lines.lines, false);
}

// Number in the stage of octet `i` of an invocation's share.
fn b_number(i: u32, invocation: u32) -> u32 {
  if !TURNS_B { return invocation + i * WORKGROUP; }
  let pair = invocation + (i / 2u) * WORKGROUP;
  return select(
    B_LINES * B_OCTETS, (2u * (pair % COLUMN_PAIRS) + i % 2u) * B_OCTETS + pair / COLUMN_PAIRS,
    pair < STEP / 8u * COLUMN_PAIRS);
}

fn stage_a(octets: array<vec4<u32>, A_SHARE>, lines: Lines, first: vec2<u32>, at: u32, invocation: u32) {
  if !lines.are_octets {
    for (var number = invocation; number < A_LINES * A_OCTETS; number += WORKGROUP) {
      put_octet(at + (number / A_OCTETS) * A_PITCH + number % A_OCTETS, octet_in(&a, lines, first, number, A_OCTETS));
    }
    return;
  }
  for (var i = 0u; i < A_SHARE; i++) {
    let number = invocation + i * WORKGROUP;
    if number < A_LINES * A_OCTETS { put_octet(at + (number / A_OCTETS) * A_PITCH + number % A_OCTETS, octets[i]); }
  }
}

fn stage_b(octets: array<vec4<u32>, B_SHARE>, lines: Lines, first: vec2<u32>, at: u32, invocation: u32) {
  if !lines.are_octets {
    for (var number = invocation; number < B_LINES * B_OCTETS; number += WORKGROUP) {
      put_octet(at + B_AT + (number / B_OCTETS) * B_PITCH + number % B_OCTETS, b_octet(lines, first, number));
    }
    return;
  }
  for (var i = 0u; i < B_SHARE; i++) {
    let number = b_number(i, invocation);
    if number < B_LINES * B_OCTETS { put_octet(at + B_AT + (number / B_OCTETS) * B_PITCH + number % B_OCTETS, octets[i]); }
  }
}

fn load_a(at: u32, row: u32, k: u32) -> Left {
  if A_BY_ROWS { return load_left_transposed(at + k * A_PITCH + row / 8u, A_PITCH); }
  return load_left(at + row * A_PITCH + k / 8u, A_PITCH);
}

fn load_b(at: u32, k: u32, column: u32) -> Right {
  if B_ALONG_K { return load_right_transposed(at + B_AT + column * B_PITCH + k / 8u, B_PITCH); }
  return load_right(at + B_AT + k * B_PITCH + column / 8u, B_PITCH);
}

// sums += A B of a stage
fn accumulate(sums: ptr<function, array<Result, PARTS>>, at: u32, subgroup: u32) {
  for (var k = 0u; k < STEP; k += 16u) {
    var rows: array<Left, ROW_PARTS> = array<Left, ROW_PARTS>();
    for (var r = 0u; r < ROW_PARTS; r++) { rows[r] = load_a(at, 16u * (row_group(subgroup) * ROW_PARTS + r), k); }
    for (var c = 0u; c < COLUMN_PARTS; c++) {
      let columns = load_b(at, k, 16u * (column_group(subgroup) * COLUMN_PARTS + c));
      for (var r = 0u; r < ROW_PARTS; r++) {
        (*sums)[r * COLUMN_PARTS + c] = multiply_add(rows[r], columns, (*sums)[r * COLUMN_PARTS + c]);
      }
    }
  }
}

// Writes one matrix of every subgroup through workgroup memory to the output, whose tile begins at (row, column) `first`.
fn write_part(
  sums: ptr<function, array<Result, PARTS>>, part: u32, base: u32, first: vec2<u32>, subgroup: u32, lane: u32,
) {
  if part >= PARTS { return; }
  store_result(64u * subgroup, 4u, (*sums)[part]);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += SUBGROUP) {
    let row = first.x + 16u * (row_group(subgroup) * ROW_PARTS + part / COLUMN_PARTS) + i / 4u;
    let column = first.y + 16u * (column_group(subgroup) * COLUMN_PARTS + part % COLUMN_PARTS) + 4u * (i % 4u);
    if row < params.rows && column < params.columns {
      let element = base + row * params.output.row_stride + column;
      let quad = get_quad(64u * subgroup + i) + bias_quad(column);
      store_quad(element, quad, min(params.columns - column, 4u), OUT_F16);
    }
  }
  workgroupBarrier();
}

fn kernel(group: vec3<u32>, groups: vec3<u32>, subgroup: u32, lane: u32) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let bases = batch_bases(index / (params.column_tiles * params.row_tiles));
  let first_row = ((index / params.column_tiles) % params.row_tiles) * TILE_ROWS;
  let first_column = (index % params.column_tiles) * TILE_COLUMNS;
  let invocation = subgroup * SUBGROUP + lane;
  let a_place = a_lines(bases.x);
  let b_place = b_lines(bases.y);

  // k is one step ahead of the stage that is multiplied
  var sums: array<Result, PARTS> = array<Result, PARTS>();
  var at = 0u;
  for (var k = 0u; k < params.depth + STEP; k += STEP) {
    let a_octets = fetch_a(a_place, a_first(k, first_row), invocation);
    let b_octets = fetch_b(b_place, b_first(k, first_column), invocation);
    if k > 0u { accumulate(&sums, at, subgroup); }
    at = STAGE - at;
    stage_a(a_octets, a_place, a_first(k, first_row), at, invocation);
    stage_b(b_octets, b_place, b_first(k, first_column), at, invocation);
    workgroupBarrier();
  }

  // Unrolled by hand: matrices stay in registers only where their index is a constant, and compilers may leave a loop
  // around a barrier as it is.
  write_part(&sums, 0u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
  write_part(&sums, 1u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
  write_part(&sums, 2u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
  write_part(&sums, 3u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
  write_part(&sums, 4u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
  write_part(&sums, 5u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
  write_part(&sums, 6u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
  write_part(&sums, 7u, bases.z, vec2<u32>(first_row, first_column), subgroup, lane);
}
