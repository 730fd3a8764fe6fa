// Sums over invocations of a workgroup, by a tree in workgroup memory. The order, and so the sum, is the same each time.
// Needs WORKGROUP from the shader that uses it.
//
// `lanes` invocations (a power of two) share a sum. This one is number `lane` among them, and `index` in the workgroup.
// Every invocation of the workgroup must call these functions.

var<workgroup> tree: array<f32, WORKGROUP>;
var<workgroup> quad_tree: array<vec4<f32>, WORKGROUP>;

// The sum over neighbouring invocations. All of them get it.
fn sum_over_lanes(value: f32, index: u32, lane: u32, lanes: u32) -> f32 {
  if lanes == 1u { return value; }
  var sum = value;
  workgroupBarrier();  // the result of an earlier call has been read
  tree[index] = sum;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      sum += tree[index + half];
      tree[index] = sum;
    }
  }
  workgroupBarrier();
  return tree[index - lane];
}

// The sum over invocations that are `step` apart. Lane 0 gets it. A barrier must stand before a second call.
fn quad_sum_for_first_lane(value: vec4<f32>, index: u32, lane: u32, lanes: u32, step: u32) -> vec4<f32> {
  if lanes == 1u { return value; }
  var sum = value;
  quad_tree[index] = sum;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      sum += quad_tree[index + half * step];
      quad_tree[index] = sum;
    }
  }
  return sum;
}
