// parts: launch
//
// Merges neighbouring runs of ordered ids in pairs, stably. An id moves up by the number of ids in the other run of its pair
// that go before it. An equal id goes before it if it is in the first run.
//
// runs [2, N] of `run` ids each → merged [2, N] of 2 · run, the ids and where each came from. One invocation places one id by
// bisection: N · log₂ run loads.

struct Params {
  count: u32,   // N
  run: u32,     // ids of a run, the last of which may be shorter
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> runs: array<u32>;            // [2, N], see order-ids
@group(0) @binding(2) var<storage, read_write> merged: array<u32>;    // [2, N]

const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = linear_group(group, groups) * WORKGROUP + lane;
  if n >= params.count { return; }
  let id = runs[n];
  let number = n / params.run;
  let is_second = number % 2u == 1u;
  let other = (number ^ 1u) * params.run;
  // the part of the other run that is not yet known to go before or after it
  var low = min(other, params.count);
  var high = min(other + params.run, params.count);
  let begin = low;
  for (var step = 0u; step < 32u && low < high; step++) {
    let middle = (low + high) / 2u;
    let is_in_front = runs[middle] < id || (is_second && runs[middle] == id);
    low = select(low, middle + 1u, is_in_front);
    high = select(middle, high, is_in_front);
  }
  let place = n - select(0u, params.run, is_second) + (low - begin);
  merged[place] = id;
  merged[params.count + place] = runs[params.count + n];
}
