// parts: attention/score, element, operand
//
// The inputs of every fused attention kernel, forward and backward: bindings, and reading q. The parts attention/keys and
// attention/values read k and v. Needs IS_F16 and `params` (inputs: InputParams, blocks: BlockParams) from the shader that uses it.

const KV_F16: bool = false;         // storage of k and v, which a cache may keep in f16 under an f32 q
const HAS_BLOCK_MASK: bool = false;
const ALIGNED: bool = false;        // q, k and v may be read four columns at a time, and their dims are multiples of four

struct InputParams {
  q: Operand,
  k: Operand,
  v: Operand,
  group_size: u32,     // query heads that share a key head
  head_dim: u32,       // D
  value_dim: u32,      // Dv
  query_rows: u32,     // rows of q along its third axis: Nq, or those of all packed sequences
}

// Which blocks of scores a block mask leaves at least partly visible.
struct BlockParams {
  at: u32,             // in `table`
  shift: u32,          // log₂ of a block's queries, and of its keys
  columns: u32,        // blocks in a row
  batch_pitch: u32,    // elements
  head_pitch: u32,
}

@group(0) @binding(1) var<storage, read> q: array<vec4<u32>>;         // [B, H, Nq, D], f32 or f16
@group(0) @binding(2) var<storage, read> k: array<vec4<u32>>;         // [B, Hkv, Nk, D], or if KV_PAGED [pages, Hkv, size, D]
@group(0) @binding(3) var<storage, read> v: array<vec4<u32>>;         // [B, Hkv, Nk, Dv], likewise
@group(0) @binding(4) var<storage, read> mask: array<u32>;            // broadcast to [B, H, Nq, Nk]: bool, f32 or f16
@group(0) @binding(5) var<storage, read> key_mask: array<u32>;        // [B, Nk], bool
@group(0) @binding(6) var<storage, read> table: array<u32>;           // small inputs joined, see src/ops/internal/table.ts

// The block mask's entry for the block of a query and a key: 0 no query in it sees a key in it, 1 some do, 2 all see all.
fn block_kind_at(sequence: Sequence, head: u32, query: u32, key: u32) -> u32 {
  let row = params.blocks.at + sequence.index * params.blocks.batch_pitch + head * params.blocks.head_pitch
    + (query >> params.blocks.shift) * params.blocks.columns;
  return table[row + (key >> params.blocks.shift)];
}

// *_quad: columns [column, column + 4) of the row that begins at element `row`; zero past the dim. Unaligned rows take a loop
// rather than four calls, so that the body is compiled once for each use. If ALIGNED, there is no branch: llvmpipe would run both
// sides, which doubles the time of a whole decoding kernel.
fn q_element(element: u32) -> f32 {
  return decode_element(q[vector_of(element, IS_F16)][component_of(element, IS_F16)], element, IS_F16);
}

fn q_quad(row: u32, column: u32) -> vec4<f32> {
  if ALIGNED {
    let quad = decode_quad(q[vector_of(row + column, IS_F16)], row + column, IS_F16);
    return select(quad, vec4<f32>(0.0), column >= params.inputs.head_dim);
  }
  if params.inputs.q.vectors != 0u && column + 4u <= params.inputs.head_dim {
    return decode_quad(q[vector_of(row + column, IS_F16)], row + column, IS_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = column; i < min(column + 4u, params.inputs.head_dim); i++) {
    quad[i - column] = q_element(row + i * params.inputs.q.strides.w);
  }
  return quad;
}
