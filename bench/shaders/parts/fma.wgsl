// The arithmetic that `fma-f32` and `fma-f16` time, in their Element.
//
// Each invocation runs 4 · CHAINS independent recurrences x ← factor · x + addend, eight steps a round. Numbers that the
// compiler does not know keep it from shortening them. With factor = addend = ½ each of them ends exactly at 1 after some
// thirty steps, whatever it began from, so the sum that is stored is 4 · CHAINS.

const CHAINS: u32 = 4u;     // vectors of recurrences: 2, 4 or 8; how many hide an instruction's latency is the device's matter

struct Params {
  rounds: u32,
  factor: f32,
  addend: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;  // [invocations]

struct Chains {
  a: vec4<Element>, b: vec4<Element>, c: vec4<Element>, d: vec4<Element>,
  e: vec4<Element>, f: vec4<Element>, g: vec4<Element>, h: vec4<Element>,
}

// Written out, since an array in a loop stays in memory on drivers that do not unroll the loop.
fn step(x: Chains, factor: vec4<Element>, addend: vec4<Element>) -> Chains {
  var y = x;
  y.a = fma(x.a, factor, addend);
  y.b = fma(x.b, factor, addend);
  if CHAINS > 2u {
    y.c = fma(x.c, factor, addend);
    y.d = fma(x.d, factor, addend);
  }
  if CHAINS > 4u {
    y.e = fma(x.e, factor, addend);
    y.f = fma(x.f, factor, addend);
    y.g = fma(x.g, factor, addend);
    y.h = fma(x.h, factor, addend);
  }
  return y;
}

fn four_steps(x: Chains, factor: vec4<Element>, addend: vec4<Element>) -> Chains {
  return step(step(step(step(x, factor, addend), factor, addend), factor, addend), factor, addend);
}

fn sum(x: Chains) -> f32 {
  var total = x.a + x.b;
  if CHAINS > 2u { total += x.c + x.d; }
  if CHAINS > 4u { total += x.e + x.f + x.g + x.h; }
  return f32(total.x + total.y + total.z + total.w);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let factor = vec4<Element>(Element(params.factor));
  let addend = vec4<Element>(Element(params.addend));
  let first = vec4<Element>(Element(id.x & 7u)) + vec4<Element>(0, 8, 16, 24);
  var x = Chains(first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7);
  for (var round = 0u; round < params.rounds; round++) {
    x = four_steps(four_steps(x, factor, addend), factor, addend);
  }
  output[id.x] = sum(x);
}
