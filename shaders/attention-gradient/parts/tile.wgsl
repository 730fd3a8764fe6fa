// parts: special
// How a workgroup of the gradient's tile kernels multiplies. It owns OWN_ROWS rows (queries, or keys) and goes through the
// rows of the other side 32 at a time. Each such step computes
//
//     S  = own · otherᵀ, over head dims          [OWN_ROWS, 32], two tiles of scores: products of q and k, and of dO and v
//     G += tile · other, over the other's rows   [OWN_ROWS, columns], the sums of the gradients
//
// The invocations form rows of 8: (x, y) owns rows y + ROW_LANES·r, in a tile the columns 4·x … + 3, in G the columns
// 32·c + 4·x … + 3. Dims are staged 32 at a time, so workgroup memory does not depend on them:
//
//     own chunk [OWN_ROWS][8 + 1] vec4, other chunk [32][8 + 1] vec4, tile [OWN_ROWS][8 + 1] vec4
//
// with one vec4 of padding between rows against bank conflicts. The own chunk is not needed between two products, so the
// second tile is stored there. 13.5 KiB for 32 rows.

const OTHER_ROWS: u32 = 32u;
const LANES: u32 = 8u;                      // invocations along a row
const ROW_LANES: u32 = WORKGROUP / LANES;   // and across rows
const ROWS: u32 = OWN_ROWS / ROW_LANES;     // own rows per invocation
const DIM_STEP: u32 = 32u;                  // dims staged at a time
const CHUNKS: u32 = DIM / DIM_STEP;         // column chunks of G
const PITCH: u32 = 9u;                      // vec4s per row of all three

var<workgroup> own_chunk: array<vec4<f32>, OWN_ROWS * PITCH - 1u>;
var<workgroup> other_chunk: array<vec4<f32>, OTHER_ROWS * PITCH - 1u>;
var<workgroup> first_tile: array<vec4<f32>, OWN_ROWS * PITCH - 1u>;

// The order in which `multiply` reads the other's rows. The eight lanes read rows 4·x + i for one i at a time, so those are
// neighbours here.
fn interleaved(row: u32) -> u32 {
  return (row & 3u) * LANES + (row >> 2u);
}

// Adds the product of the first columns of the staged chunks to a tile.
fn multiply(tile: ptr<function, array<vec4<f32>, ROWS>>, columns: u32, lane: u32) {
  let x = lane % LANES;
  let y = lane / LANES;
  // the bound is known only at run time: no work past the dim, and compilers do not unroll the loop
  let steps = (min(columns, DIM_STEP) + 3u) / 4u;
  for (var step = 0u; step < steps; step++) {
    let other0 = other_chunk[x * PITCH + step];
    let other1 = other_chunk[(x + LANES) * PITCH + step];
    let other2 = other_chunk[(x + 2u * LANES) * PITCH + step];
    let other3 = other_chunk[(x + 3u * LANES) * PITCH + step];
    for (var r = 0u; r < ROWS; r++) {
      let own = own_chunk[(y + ROW_LANES * r) * PITCH + step];
      (*tile)[r] += vec4<f32>(dot(own, other0), dot(own, other1), dot(own, other2), dot(own, other3));
    }
  }
}

// G[row, column quad] += four weights of the row · four rows of the other's column quad. Where `guarded`, a weight of 0
// annihilates.
fn accumulated(g: vec4<f32>, weights: vec4<f32>, others: array<vec4<f32>, 4>, guarded: bool) -> vec4<f32> {
  if guarded {
    return g + weighted(weights.x, others[0]) + weighted(weights.y, others[1])
      + weighted(weights.z, others[2]) + weighted(weights.w, others[3]);
  }
  return fma(vec4<f32>(weights.w), others[3], fma(vec4<f32>(weights.z), others[2],
    fma(vec4<f32>(weights.y), others[1], fma(vec4<f32>(weights.x), others[0], g))));
}
