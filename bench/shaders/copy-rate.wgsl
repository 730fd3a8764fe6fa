// The device's bandwidth: output[i] = x[i], sixteen bytes at a time. A workgroup copies VECTORS · 256 neighbours, its
// invocations side by side, so that accesses coalesce; several in flight an invocation hide the memory's latency.

const VECTORS: u32 = 4u;    // an invocation

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = group.x * 256u * VECTORS + lane;
  for (var i = 0u; i < VECTORS; i++) { output[first + 256u * i] = x[first + 256u * i]; }
}
