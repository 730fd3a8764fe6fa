// parts: optimiser/flat, element, launch, special
//
// Multiplies a gradient by a number that is on the GPU, in place, and notes whether all elements are finite:
//
//     x ← factor · x,  found[found_at] ← 1 if an element is infinite or NaN
//
// factor: numbers[0], or if DIVIDES 1 / numbers[0]. x [rows, columns], f32 or f16. One invocation takes one
// vector of 16 bytes. A read and a write for an operation: bound by bandwidth.

const F16: bool = false;         // storage of x
const SCALES: bool = true;       // x is written
const DIVIDES: bool = false;
const CHECKS: bool = false;      // found is written

struct Params {
  @align(16) x: FlatOperand,
  found_at: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> numbers: array<f32>;                // [1]
@group(0) @binding(2) var<storage, read_write> x: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> found: array<atomic<u32>>;

const WORKGROUP: u32 = 256u;

// Whether any of four elements from `element` on lies in a row and is not finite.
fn has_special_at(element: u32, values: vec4<f32>) -> bool {
  return any(lies_in_rows(params.x, element) & special_lanes(values));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let vector = linear_group(group, groups) * WORKGROUP + lane;
  if vector >= params.x.vectors { return; }
  let words = x[vector];
  let width = select(4u, 8u, F16);
  let low = decode_quad(words, 0u, F16);
  let high = decode_quad(words, 4u, F16);  // f16 alone has it
  if CHECKS {
    if has_special_at(width * vector, low) || (F16 && has_special_at(width * vector + 4u, high)) {
      atomicStore(&found[params.found_at], 1u);
    }
  }
  if !SCALES { return; }
  var factor = numbers[0];
  if factor == 1.0 { return; }
  if DIVIDES { factor = 1.0 / factor; }
  if F16 {
    let scaled = array<vec4<f32>, 2>(low * factor, high * factor);
    x[vector] = vec4<u32>(
      encode_pair(scaled[0].xy), encode_pair(scaled[0].zw), encode_pair(scaled[1].xy), encode_pair(scaled[1].zw)
    );
  } else {
    x[vector] = bitcast<vec4<u32>>(low * factor);
  }
}
