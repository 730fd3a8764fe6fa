// parts: launch
//
// Sorts the ids within each run of RUN, stably: equal ids become neighbours, in their original order. A rank sort:
//
//     rank of n = #{m: id_m < id_n} + #{m < n: id_m = id_n}        m in n's run
//
// ids [N] → sorted [2, N], the ids in that order and where each came from. merge-ids joins the runs. One invocation ranks one
// id against its run. That is N · RUN comparisons without a barrier or an atomic: 4 million for 4,096 ids, each a load that
// neighbours share.

const RUN: u32 = 1024u;

struct Params {
  count: u32,        // N
  ids_offset: u32,   // elements
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;             // [N]; a negative number is a large one here
@group(0) @binding(2) var<storage, read_write> sorted: array<u32>;    // [2, N]

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = linear_group(group, groups) * WORKGROUP + lane;
  if n >= params.count { return; }
  let id = ids[params.ids_offset + n];
  let begin = n - n % RUN;
  let end = min(begin + RUN, params.count);
  var place = begin;
  for (var m = begin; m < end; m++) {
    let other = ids[params.ids_offset + m];
    place += select(0u, 1u, other < id || (other == id && m < n));
  }
  sorted[place] = id;
  sorted[params.count + place] = n;
}
