// WebGPU promises 65,535 workgroups per dimension. A larger launch is folded into y (src/gpu/divide.ts), and the last
// row may hold workgroups without work.
//
// A long launch is divided into several, so that none runs for long (src/gpu/divide.ts). Kernels that do so much work add
// `params.first_group`, where theirs begins, and end before `params.end_group`.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
  return group.x + group.y * groups.x;
}
