// The entry point of a kernel whose subgroups have one size on the device. required-size-entry asks for the size where there are
// several. Needs WORKGROUP and `kernel` from the shader that uses it.

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  kernel(group, groups, subgroup, lane);
}
