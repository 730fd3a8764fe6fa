// parts: attention/modifiers, launch
//
// Which blocks of scores a mask leaves at least partly visible, so that attention can skip the others:
//
//     kinds[b, h, I, J] = 0   if mask_mod(b, h, i, j) is false for every query i of block row I and key j of column J
//                         2   if it is true for all of them
//                         1   otherwise
//
// output kinds [B, H, ⌈Nq / S⌉, ⌈Nk / S⌉] with blocks of S × S; the last ones end with the queries and keys. One workgroup
// evaluates one block, up to S² calls of mask_mod; a lane takes every WORKGROUP-th of them, row by row, and stops once it
// has seen both answers.
//
// Dong et al., "Flex Attention: A Programming Model for Generating Optimized Attention Kernels", 2024.

struct Params {
  groups: u32,           // workgroups with work: blocks
  heads: u32,            // H
  rows: u32,             // of blocks: ⌈Nq / S⌉
  columns: u32,          // ⌈Nk / S⌉
  query_length: u32,     // Nq
  key_length: u32,       // Nk
  block_size: u32,       // S, queries and keys
  options: MaskOptionParams,
}

struct MaskOptionParams {
  captures: CaptureParams,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;         // what mask_mod captured
@group(0) @binding(2) var<storage, read_write> output: array<u32>;  // [B, H, ⌈Nq / S⌉, ⌈Nk / S⌉]

const WORKGROUP: u32 = 64u;
const SOME_SEEN: u32 = 1u;
const SOME_HIDDEN: u32 = 2u;

var<workgroup> answers: atomic<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = linear_group(group, groups);
  if block >= params.groups { return; }
  let first_key = (block % params.columns) * params.block_size;
  let row = block / params.columns;
  let first_query = (row % params.rows) * params.block_size;
  let head = (row / params.rows) % params.heads;
  let batch = row / (params.rows * params.heads);
  let width = min(params.block_size, params.key_length - first_key);
  let area = width * min(params.block_size, params.query_length - first_query);

  var own = 0u;
  for (var i = lane; i < area; i += WORKGROUP) {
    own |= select(SOME_HIDDEN, SOME_SEEN, mask_mod(batch, head, first_query + i / width, first_key + i % width));
    if own == (SOME_SEEN | SOME_HIDDEN) { break; }
  }
  atomicOr(&answers, own);
  workgroupBarrier();
  if lane == 0u {
    let all = atomicLoad(&answers);
    output[block] = select(select(1u, 0u, all == SOME_HIDDEN), 2u, all == SOME_SEEN);
  }
}
