// parts: special
//
// The sum of the losses of rows, or their mean over those that are not ignored: NaN where all are, as 0 / 0.
//
// losses [rows], targets [rows] → total [1]; share [1], what a row counts in it, for the gradient: 1, 1 / count, or 0.
// One workgroup does all, in a fixed order: the logits of a row are hundreds of times as much to read.

struct Params {
  rows: u32,
  is_mean: u32,
  ignores: u32,           // there is a target that is ignored
  ignored: u32,
  targets_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;           // [rows]
@group(0) @binding(2) var<storage, read> targets: array<u32>;          // [rows]
@group(0) @binding(3) var<storage, read_write> total: array<u32>;      // [1], f32
@group(0) @binding(4) var<storage, read_write> share: array<f32>;      // [1]

const WORKGROUP: u32 = 256u;

var<workgroup> partial_sum: array<f32, WORKGROUP>;
var<workgroup> partial_count: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var count = 0u;
  for (var row = lane; row < params.rows; row += WORKGROUP) {
    let is_ignored = params.ignores != 0u && targets[params.targets_offset + row] == params.ignored;
    count += select(1u, 0u, is_ignored);
    sum += losses[row];
  }
  partial_sum[lane] = sum;
  partial_count[lane] = count;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if lane < half {
      sum += partial_sum[lane + half];
      count += partial_count[lane + half];
      partial_sum[lane] = sum;
      partial_count[lane] = count;
    }
  }
  if lane != 0u { return; }
  if params.is_mean == 0u {
    total[0] = bitcast<u32>(sum);
    share[0] = 1.0;
    return;
  }
  total[0] = select(bitcast<u32>(sum / f32(count)), NAN_BITS, count == 0u);
  share[0] = select(1.0 / f32(count), 0.0, count == 0u);
}
