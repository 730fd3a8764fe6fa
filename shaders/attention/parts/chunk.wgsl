// parts: attention/inputs, element
//
// Chunks of dims: STEP_QUADS quads of each of OTHER_ROWS rows, which lie in workgroup memory while the lanes of a kernel in registers
// multiply them. Their order is [quad][row], turned by a row for each quad against bank conflicts. float16 stays packed.
//
// Functions take a remainder of each argument, so that Dawn proves the places. Compilers drop it where they know that it changes
// nothing. Needs OTHER_ROWS, STEP_QUADS, WORKGROUP, X, chunk_f32 and chunk_f16 from the shader that uses it.

// A lane loads 16 bytes at a time: one quad of f32 or two of f16.
const WIDTH: u32 = select(1u, 2u, KV_F16);
const STEP_VECTORS: u32 = STEP_QUADS / WIDTH;  // of a row in a chunk of dims
const STEP_LOADS: u32 = OTHER_ROWS * STEP_VECTORS / WORKGROUP;

// Stores vector lane + WORKGROUP · i of a chunk of dims, whose rows have STEP_VECTORS each.
fn put_dims(lane: u32, i: u32, words: vec4<u32>) {
  let at = lane % WORKGROUP + WORKGROUP * (i % STEP_LOADS);
  let row = at / STEP_VECTORS;
  let d = at % STEP_VECTORS * WIDTH;
  if KV_F16 {
    chunk_f16[d * OTHER_ROWS + row / X * X + (row + d) % X] = words.xy;
    chunk_f16[(d + 1u) * OTHER_ROWS + row / X * X + (row + d + 1u) % X] = words.zw;
  } else {
    chunk_f32[d * OTHER_ROWS + row / X * X + (row + d) % X] = bitcast<vec4<f32>>(words);
  }
}

// sum + a · b
fn add_dot(a: vec4<f32>, b: vec4<f32>, sum: f32) -> f32 {
  return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, sum))));
}

// Quad d of row x + X · j of a chunk of dims.
fn dims_quad(d: u32, x: u32, j: u32) -> vec4<f32> {
  let at = d % STEP_QUADS * OTHER_ROWS + X * (j % (OTHER_ROWS / X)) + (x + d) % X;
  if KV_F16 { return decode_f16_quad(chunk_f16[at]); }
  return chunk_f32[at];
}
