// parts: attention/sinks, launch, reduce, special
//
// The gradient of attention's sinks, which are logits that take weight but have no value. With each row's log-sum-exp L and
// D = rowsum(dO ∘ O) - dL,
//
//     dSink[h] = -Σ_rows exp(sink[h] - L) · D
//
// table: sinks [H], and from stats_at on L [B, H, N] and D → output [H], f32. One workgroup sums the rows of one head. Its
// invocations take rows in turn, and a tree adds their sums, so repeating it gives the same bits. One exponential and two
// operations for 8 bytes: bound by bandwidth.

struct Params {
  groups: u32,       // workgroups with work: H
  heads: u32,        // H
  length: u32,       // N
  rows: u32,         // of one head: B · N
  stats_at: u32,     // words of table
  stats_pitch: u32,
  @align(16) sinks: SinkParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;  // [H]

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let head = linear_group(group, groups);
  if head >= params.groups { return; }
  let sink = sink_of_head(head);
  var sum = 0.0;
  for (var i = lane; i < params.rows; i += WORKGROUP) {
    let row = params.stats_at + (i / params.length * params.heads + head) * params.length + i % params.length;
    let weight = swiftshader_exp(sink - bitcast<f32>(table[row]));
    sum -= select(weight * bitcast<f32>(table[row + params.stats_pitch]), 0.0, weight == 0.0);
  }
  sum = sum_over_lanes(sum, lane, lane, WORKGROUP);
  if lane == 0u { output[head] = sum; }
}
