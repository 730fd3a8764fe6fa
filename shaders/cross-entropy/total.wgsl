// parts: cross-entropy/targets, reduce, special
//
// The sum of the losses of rows, or their mean over the rows that are not ignored. If all are ignored the mean is NaN, as 0 / 0.
//
// losses [rows], targets [rows] → total [1], and for the gradient share [1], a row's weight in the total: 1, 1 / count, or 0.
// One workgroup does all, in a fixed order. That is little work, because the logits are hundreds of times as much to read.

struct Params {
  rows: u32,
  is_mean: u32,
  @align(16) targets: TargetParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;           // [rows]
@group(0) @binding(2) var<storage, read> targets: array<u32>;          // [rows]
@group(0) @binding(3) var<storage, read_write> total: array<u32>;      // [1], f32
@group(0) @binding(4) var<storage, read_write> share: array<f32>;      // [1]

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var count = 0u;
  for (var row = lane; row < params.rows; row += WORKGROUP) {
    count += select(1u, 0u, is_ignored(target_of(row)));
    sum += losses[row];
  }
  sum = sum_over_lanes(sum, lane, lane, WORKGROUP);
  let counted = sum_over_lanes(f32(count), lane, lane, WORKGROUP);
  if lane != 0u { return; }
  if params.is_mean == 0u {
    total[0] = bitcast<u32>(sum);
    share[0] = 1.0;
    return;
  }
  total[0] = select(bitcast<u32>(sum / counted), NAN_BITS, counted == 0.0);
  share[0] = select(1.0 / counted, 0.0, counted == 0.0);
}
