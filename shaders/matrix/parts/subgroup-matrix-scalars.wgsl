// subgroup-matrix in the syntax of Dawn before the middle of 2026. Memory order is an argument, and matrices are loaded only
// from arrays of scalars.

enable f16;
enable chromium_experimental_subgroup_matrix;
// a subgroup's number is the same in all of its lanes, which compilers of that time do not know
diagnostic(off, chromium.subgroup_matrix_uniformity);

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> halves: array<f16, 8u * HALF_OCTETS>;
var<workgroup> floats: array<f32, 4u * FLOAT_QUADS>;

fn put_octet(at: u32, octet: vec4<u32>) {
  for (var i = 0u; i < 4u; i++) {
    let pair = bitcast<vec2<f16>>(octet[i]);
    halves[8u * at + 2u * i] = pair.x;
    halves[8u * at + 2u * i + 1u] = pair.y;
  }
}

fn put_quad(at: u32, quad: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) { floats[4u * at + i] = quad[i]; }
}

fn get_quad(at: u32) -> vec4<f32> {
  return vec4<f32>(floats[4u * at], floats[4u * at + 1u], floats[4u * at + 2u], floats[4u * at + 3u]);
}

fn load_left(at: u32, pitch: u32) -> Left {
  return subgroupMatrixLoad<Left>(&halves, 8u * at, false, 8u * pitch);
}

fn load_left_transposed(at: u32, pitch: u32) -> Left {
  return subgroupMatrixLoad<Left>(&halves, 8u * at, true, 8u * pitch);
}

fn load_right(at: u32, pitch: u32) -> Right {
  return subgroupMatrixLoad<Right>(&halves, 8u * at, false, 8u * pitch);
}

fn load_right_transposed(at: u32, pitch: u32) -> Right {
  return subgroupMatrixLoad<Right>(&halves, 8u * at, true, 8u * pitch);
}

fn load_result(at: u32, pitch: u32) -> Result {
  return subgroupMatrixLoad<Result>(&floats, 4u * at, false, 4u * pitch);
}

fn store_result(at: u32, pitch: u32, result: Result) {
  subgroupMatrixStore(&floats, 4u * at, result, false, 4u * pitch);
}

fn multiply_add(left: Left, right: Right, sum: Result) -> Result {
  return subgroupMatrixMultiplyAccumulate(left, right, sum);
}
