// The entry point of a kernel that must have subgroups of SUBGROUP invocations on a device that has several sizes, such as 32 and
// 64 on AMD. Needs SUBGROUP, WORKGROUP and `kernel` from the shader that uses it.

enable subgroup_size_control;

@compute @workgroup_size(WORKGROUP) @subgroup_size(SUBGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  kernel(group, groups, subgroup, lane);
}
