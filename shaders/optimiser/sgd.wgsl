// parts: optimiser/weights, element, launch
//
// One step of stochastic gradient descent with momentum (Sutskever et al., "On the importance of initialization and
// momentum in deep learning", 2013), in place, as torch.optim.SGD:
//
//     g ← g / scale + λ p
//     b ← g in the first step, later μ b + (1 − dampening) g                if there is momentum
//     p ← p − lr (g + μ b) with Nesterov's, p − lr b with plain momentum, p − lr g without
//
// p, g [size], float32 or float16; b and the stored copy of p [size] float32; settings from step.wgsl. One
// invocation updates four neighbours: 20 bytes an element (f32 with momentum) for some 6 operations. Bound by bandwidth.

const F16: bool = false;         // storage of p and g

struct Params {
  @align(16) update: UpdateParams,
  has_momentum: u32,
  is_nesterov: u32,
  momentum: f32,           // μ
  share: f32,              // 1 − dampening
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<u32>>;        // g [size], f32 or f16
@group(0) @binding(2) var<storage, read> settings: array<vec4<f32>>;        // [parameters]
@group(0) @binding(3) var<storage, read_write> weights: array<vec4<f32>>;   // p [size], or what it is kept in
@group(0) @binding(4) var<storage, read_write> halves: array<u32>;          // p [size] where f16
@group(0) @binding(5) var<storage, read_write> momenta: array<vec4<f32>>;   // b [size], where there is momentum

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let quad = linear_group(group, groups) * WORKGROUP + lane;
  if quad >= params.update.quads { return; }
  let setting = settings[params.update.parameter];
  if setting.w == SKIPPED { return; }
  let element = 4u * quad;
  let weight = weight_quad(element, weights[quad]);
  let slope = decode_quad(gradient[vector_of(element, F16)], element, F16) * setting.z + params.update.l2 * weight;
  var direction = slope;
  if params.has_momentum != 0u {
    var momentum = slope;
    if setting.w == LATER { momentum = params.momentum * momenta[quad] + params.share * slope; }
    momenta[quad] = momentum;
    direction = momentum;
    if params.is_nesterov != 0u { direction = slope + params.momentum * momentum; }
  }
  let updated = weight - setting.x * direction;
  store_weights(quad, updated);
}
