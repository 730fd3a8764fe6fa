// parts: attention/inputs, attention/modifiers, attention/score
// What the gradient's kernels without workgroup memory share. A lane owns ROWS rows of one side (queries, or keys) in its
// registers. For each row of the other side lane i loads quads i, i + STEP, …, and shuffles pass them around.
//
// Needs DIM, SUBGROUP and ROWS from the shader that uses it.

const QUADS: u32 = DIM / 4u;
const STEP: u32 = min(SUBGROUP, QUADS);          // quads of a vector of shares
const SHARES: u32 = (QUADS + STEP - 1u) / STEP;  // quads of a row of the other side that a lane loads

// Nested, so that every loop has as many iterations as its array has elements, and at most 32, because Mesa unrolls only
// such loops. It also depends on which of two loops is the outer one. The only way to find out is to count the products in
// Mesa's output.
alias Row = array<array<vec4<f32>, STEP>, SHARES>;
alias Shares = array<vec4<f32>, SHARES>;

// Whether the band of a query holds a key.
fn in_band(sequence: Sequence, query: u32, key: u32) -> bool {
  let distance = i32(key) - i32(query) - sequence.query_offset;
  return key < sequence.key_length
    && distance >= -params.options.visibility.band_left && distance <= params.options.visibility.band_right;
}

// Whether nothing but the band decides what is seen in the block of a query and a key, and scores are not modified.
fn band_decides(sequence: Sequence, head: u32, query: u32, key: u32) -> bool {
  if HAS_BLOCK_MASK {
    if block_kind_at(sequence, head, query, key) != 2u { return false; }
  } else if HAS_MASK_MOD {
    return false;
  }
  return !MODIFIES_SCORES && params.options.visibility.mask_kind == NO_MASK && params.options.visibility.has_key_mask == 0u;
}
