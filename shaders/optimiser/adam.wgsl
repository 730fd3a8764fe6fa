// parts: optimiser/weights, element, launch
//
// One step of Adam (Kingma & Ba, "Adam: a method for stochastic optimization", 2014), or of AdamW, which separates the decay from
// the gradient (Loshchilov & Hutter, "Decoupled weight decay regularization", 2019), in place, as torch.optim's:
//
//     g ← g / scale + λ p
//     m ← m + (1 − β₁) (g − m),   v ← β₂ v + (1 − β₂) g²
//     p ← κ p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//
// Adam: κ = 1; AdamW: λ = 0, κ = 1 − lr · decay. p, g [size], float32 or float16; m, v and the stored copy of p [size]
// float32; settings from step.wgsl. One invocation updates four neighbours: 28 bytes an element (f32) for some 15
// operations. Bound by bandwidth.

const F16: bool = false;         // storage of p and g

struct Params {
  @align(16) update: UpdateParams,
  decay: f32,              // κ
  mean_share: f32,         // 1 − β₁
  square_kept: f32,        // β₂
  square_share: f32,       // 1 − β₂
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<u32>>;        // g [size], f32 or f16
@group(0) @binding(2) var<storage, read> settings: array<vec4<f32>>;        // [parameters]
@group(0) @binding(3) var<storage, read_write> weights: array<vec4<f32>>;   // p [size], or its float32 copy
@group(0) @binding(4) var<storage, read_write> halves: array<u32>;          // p [size] where f16
@group(0) @binding(5) var<storage, read_write> means: array<vec4<f32>>;     // m [size]
@group(0) @binding(6) var<storage, read_write> squares: array<vec4<f32>>;   // v [size]

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
  let mean = means[quad] + params.mean_share * (slope - means[quad]);
  let square = params.square_kept * squares[quad] + params.square_share * slope * slope;
  let spread = sqrt(square) * setting.y + params.epsilon;
  let updated = params.decay * weight - setting.x * mean / spread;
  means[quad] = mean;
  squares[quad] = square;
  store_weights(quad, updated);
}
