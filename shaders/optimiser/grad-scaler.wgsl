// parts: special
//
// Adapts the scale of a loss, depending on whether its gradients were finite (Micikevicius et al., "Mixed precision training",
// 2018), as torch.amp.GradScaler.update:
//
//     some gradient was not finite    scale ← backoff · scale, streak ← 0
//     otherwise                       streak ← streak + 1; at the interval scale ← growth · scale, streak ← 0
//
// The scale does not grow to infinity. found [optimisers] is cleared. One invocation.

struct Params {
  optimisers: u32,         // entries of found
  growth: f32,
  backoff: f32,
  interval: u32,           // steps
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scale: array<f32>;       // [1]
@group(0) @binding(2) var<storage, read_write> streak: array<u32>;      // [1], steps since the scale changed
@group(0) @binding(3) var<storage, read_write> found: array<u32>;       // not 0: not finite

@compute @workgroup_size(1)
fn main() {
  var any_found = false;
  for (var i = 0u; i < params.optimisers; i++) {
    any_found = any_found || found[i] != 0u;
    found[i] = 0u;
  }
  if any_found {
    scale[0] = params.backoff * scale[0];
    streak[0] = 0u;
    return;
  }
  let count = streak[0] + 1u;
  if count < params.interval {
    streak[0] = count;
    return;
  }
  let grown = params.growth * scale[0];
  if !is_special(grown) { scale[0] = grown; }
  streak[0] = 0u;
}
