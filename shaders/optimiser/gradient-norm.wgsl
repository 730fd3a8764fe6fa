// parts: optimiser/flat, element, launch, reduce, special
//
// The norm of all gradients together (Pascanu et al., "On the difficulty of training recurrent neural networks", 2013),
// in two stages, in an order that depends on the sizes alone:
//
//     sums[first + w] = Σ x², over the vectors w, w + W, w + 2W, … of one gradient, W workgroups          each gradient
//     norm = √(Σ sums) / scale,  coefficient = min(1, max_norm / (norm + 1e-6))                  COMBINES, one workgroup
//
// as torch.nn.utils.clip_grad_norm_ with its defaults: the coefficient is 0 for an infinite norm, and NaN for a NaN norm.
//
// x: a gradient [rows, columns], f32 or f16; or the sums. One read for two operations: bound by
// bandwidth.

const WORKGROUP: u32 = 256u;     // a power of two
const COMBINES: bool = false;
const F16: bool = false;         // storage of x

struct Params {
  @align(16) x: FlatOperand,
  groups: u32,             // workgroups with work
  first: u32,              // of the sums
  max_norm: f32,
  is_scaled: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;                // [1], what all gradients were multiplied by
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> norm: array<f32>;           // [1]
@group(0) @binding(5) var<storage, read_write> coefficient: array<f32>;    // [1]

// Four elements from `element` on; 0 past the end and between rows.
fn values_at(element: u32, words: vec4<u32>) -> vec4<f32> {
  return select(vec4<f32>(0.0), decode_quad(words, element, F16), lies_in_rows(params.x, element));
}

fn term(value: vec4<f32>) -> f32 {
  if COMBINES { return dot(value, vec4<f32>(1.0)); }
  return dot(value, value);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups);
  if index >= params.groups { return; }
  var sum = 0.0;
  for (var vector = index * WORKGROUP + lane; vector < params.x.vectors; vector += params.groups * WORKGROUP) {
    let words = x[vector];
    if F16 {
      sum += term(values_at(8u * vector, words)) + term(values_at(8u * vector + 4u, words));
    } else {
      sum += term(values_at(4u * vector, words));
    }
  }
  sum = sum_over_lanes(sum, lane, lane, WORKGROUP);
  if lane > 0u { return; }
  if !COMBINES {
    sums[params.first + index] = sum;
    return;
  }
  var length = sqrt(sum);
  if is_special(sum) { length = sum; }  // a root may lose NaN
  if params.is_scaled != 0u { length /= scale[0]; }
  norm[0] = length;
  var share = params.max_norm / (length + 1e-6);
  if share > 1.0 { share = 1.0; }
  if is_special(length) { share = select(0.0, length, is_nan(length)); }
  coefficient[0] = share;
}
