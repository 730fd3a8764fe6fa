// Sums over invocations of a workgroup, by a tree in workgroup memory. The order, and so the sum, is the same each time.
// Needs WORKGROUP from the shader that uses it.

var<workgroup> tree: array<vec4<f32>, WORKGROUP>;

// The sum of `value` over `lanes` invocations (a power of two) that are `step` apart. This invocation is number `lane`. Only
// lane 0 gets the sum. Every invocation of the workgroup must call it, after a barrier if it is not the first sum.
fn sum_for_first_lane(value: vec4<f32>, index: u32, lane: u32, lanes: u32, step: u32) -> vec4<f32> {
  var sum = value;
  tree[index] = sum;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      sum += tree[index + half * step];
      tree[index] = sum;
    }
  }
  return sum;
}

// The same, but all of them get the sum. Every invocation of the workgroup must call it.
fn sum_over_lanes(value: vec4<f32>, index: u32, lane: u32, lanes: u32, step: u32) -> vec4<f32> {
  workgroupBarrier();  // an earlier sum has been read
  _ = sum_for_first_lane(value, index, lane, lanes, step);
  workgroupBarrier();
  return tree[index - lane * step];
}
