// shaders/parts/subgroup-matrix.wgsl for drivers without matrices, with subgroups of 4, 8 or 16 lanes. The lanes
// share a matrix as they do on tensor cores, so that a kernel whose lanes disagree on what they load or store gives
// wrong numbers here too: of a left matrix a lane has the rows lane + i · SUBGROUP, of a right one and of a result
// such columns.
//
// Loops are counted at run time, since drivers for CPUs would unroll them, and compile for minutes.

const LANE_LINES: u32 = 16u / SUBGROUP;  // rows or columns a lane

alias Left = array<f32, 16u * LANE_LINES>;    // a row is four neighbours
alias Right = array<f32, 16u * LANE_LINES>;   // a column is
alias Result = array<f32, 16u * LANE_LINES>;

// Stands for what lies outside of the memory: large, so that no test overlooks it.
const OUTSIDE: f32 = 1.0e9;

var<workgroup> half_octets: array<vec4<u32>, HALF_OCTETS>;
var<workgroup> float_quads: array<vec4<f32>, FLOAT_QUADS>;

fn put_octet(at: u32, octet: vec4<u32>) {
  half_octets[at] = octet;
}

fn put_quad(at: u32, quad: vec4<f32>) {
  float_quads[at] = quad;
}

fn get_quad(at: u32) -> vec4<f32> {
  return float_quads[at];
}

fn emulated_lane() -> u32 {
  return subgroupExclusiveAdd(1u);
}

fn emulated_count() -> u32 {
  return 16u * LANE_LINES + (params.end_group >> 31u);
}

fn emulated_half(element: u32) -> f32 {
  if element >= 8u * HALF_OCTETS { return OUTSIDE; }
  let pair = unpack2x16float(half_octets[element >> 3u][(element >> 1u) & 3u]);
  return select(pair.x, pair.y, (element & 1u) == 1u);
}

// The lane's share of the sixteen lines that begin `pitch` halves apart.
fn emulated_load(first: u32, pitch: u32, step: u32) -> array<f32, 16u * LANE_LINES> {
  var lines: array<f32, 16u * LANE_LINES> = array<f32, 16u * LANE_LINES>();
  let lane = emulated_lane();
  for (var i = 0u; i < emulated_count(); i++) {
    lines[i] = emulated_half(first + (lane + (i / 16u) * SUBGROUP) * pitch + (i % 16u) * step);
  }
  return lines;
}

fn load_left(at: u32, pitch: u32) -> Left {
  return emulated_load(8u * at, 8u * pitch, 1u);
}

fn load_left_transposed(at: u32, pitch: u32) -> Left {
  return emulated_load(8u * at, 1u, 8u * pitch);
}

fn load_right(at: u32, pitch: u32) -> Right {
  return emulated_load(8u * at, 1u, 8u * pitch);
}

fn load_right_transposed(at: u32, pitch: u32) -> Right {
  return emulated_load(8u * at, 8u * pitch, 1u);
}

// Quad of the memory that holds a result's element (row, column), if there is one.
fn emulated_quad(at: u32, pitch: u32, row: u32, column: u32) -> u32 {
  return min(at + row * pitch + column / 4u, FLOAT_QUADS);
}

fn load_result(at: u32, pitch: u32) -> Result {
  var result: Result = Result();
  let lane = emulated_lane();
  for (var i = 0u; i < emulated_count(); i++) {
    let column = lane + (i / 16u) * SUBGROUP;
    let quad = emulated_quad(at, pitch, i % 16u, column);
    result[i] = OUTSIDE;
    if quad < FLOAT_QUADS { result[i] = float_quads[quad][column % 4u]; }
  }
  return result;
}

fn store_result(at: u32, pitch: u32, result: Result) {
  var columns = result;
  let lane = emulated_lane();
  for (var i = 0u; i < emulated_count(); i++) {
    let column = lane + (i / 16u) * SUBGROUP;
    let quad = emulated_quad(at, pitch, i % 16u, column);
    if quad < FLOAT_QUADS { float_quads[quad][column % 4u] = columns[i]; }
  }
}

fn multiply_add(left: Left, right: Right, sum: Result) -> Result {
  var rows = left;
  var columns = right;
  var result = sum;
  for (var i = 0u; i < emulated_count(); i++) {
    let row = i % 16u;
    for (var k = 0u; k < 16u + (params.end_group >> 31u); k++) {
      let factor = subgroupShuffle(rows[(row / SUBGROUP) * 16u + k], row % SUBGROUP);
      result[i] += factor * columns[i - row + k];
    }
  }
  return result;
}
