// WebGPU promises 65,535 workgroups per dimension. A larger launch is folded into y (src/kernels/launch.ts), and the last
// row may hold workgroups without work.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
  return group.x + group.y * groups.x;
}
