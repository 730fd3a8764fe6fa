// Matrices of 16 × 16 that the lanes of a subgroup hold together (tensor cores), and the workgroup memory that they are
// loaded from and stored to. Only this part uses the syntax of Dawn's `chromium_experimental_subgroup_matrix`. Matrices
// are loaded from arrays of vectors, so that a lane stages 16 bytes at once and rows are aligned for tensor cores. Offsets
// and pitches count octets (eight f16) and quads (four f32). subgroup-matrix-scalars does the same for an older Dawn. Needs HALF_OCTETS and FLOAT_QUADS from the shader that uses it.
//
// A pitch is the distance between rows in memory. All lanes of a subgroup must make each call together.

enable f16;
enable chromium_experimental_subgroup_matrix;

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

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

fn load_left(at: u32, pitch: u32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(&half_octets, at, pitch);
}

fn load_left_transposed(at: u32, pitch: u32) -> Left {
  return subgroupMatrixLoad<Left, col_major>(&half_octets, at, pitch);
}

fn load_right(at: u32, pitch: u32) -> Right {
  return subgroupMatrixLoad<Right, row_major>(&half_octets, at, pitch);
}

fn load_right_transposed(at: u32, pitch: u32) -> Right {
  return subgroupMatrixLoad<Right, col_major>(&half_octets, at, pitch);
}

fn load_result(at: u32, pitch: u32) -> Result {
  return subgroupMatrixLoad<Result, row_major>(&float_quads, at, pitch);
}

fn store_result(at: u32, pitch: u32, result: Result) {
  subgroupMatrixStore<row_major>(&float_quads, at, result, pitch);
}

// sum + left right
fn multiply_add(left: Left, right: Right, sum: Result) -> Result {
  return subgroupMatrixMultiplyAccumulate(left, right, sum);
}
