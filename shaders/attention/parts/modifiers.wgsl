// The functions of FlexAttention (Dong et al., 2024) that a user may supply, and what they capture. Each is on one line below
// a mark. A user's function replaces it, with functions that read `params.options.captures` and `table`
// (src/kernels/modifiers.ts).
// Needs `params` (options, with captures: CaptureParams) and `table` from the shader that uses it.

const HAS_SCORE_MOD: bool = false;
const HAS_MASK_MOD: bool = false;

struct CaptureParams {
  offsets: vec4<u32>,             // words of `table` at which captured tensors begin
  shapes: array<vec4<u32>, 4>,    // axes of each
  numbers: array<vec4<f32>, 2>,
}

// replaceable
fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 { return score; }

// replaceable
fn d_score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 { return 1.0; }

// replaceable
fn mask_mod(batch: u32, head: u32, query: u32, key: u32) -> bool { return true; }
