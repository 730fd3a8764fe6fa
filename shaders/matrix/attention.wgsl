// parts: attention/forward, attention/inputs, attention/score, attention/special, attention/work, matrix/entry, matrix/half-octet, matrix/subgroup-matrix, launch, store
//
// Fused attention on tensor cores: O = softmax(scale · Q Kᵀ + mask) V with an online softmax, in O(length) memory,
// over the keys of the rows' band only. Operands are f16; scores, softmax and sums are f32. Weights are rounded to f16
// before they are multiplied with V, which changes each by up to 5e-4 of itself.
//
// q [B, H, Nq, D], k [B, Hkv, Nk, D], v [B, Hkv, Nk, Dv], f16 → output [B, H, Nq, Dv], f16, log_sum_exp [B, H, Nq].
//
// One workgroup owns BLOCK_Q query rows. Its subgroups form a grid of ROW_GROUPS × COLUMN_GROUPS. Those of one grid row share
// query rows, and each has a share of the keys in S and of the columns in O. Q and O stay in matrices in registers. A
// step is two phases, with barriers between them, so that loads and softmax of one workgroup overlap with the matrix
// products of another on the same multiprocessor:
//
//     vectors    softmax of S, tile j: scores → weights, both in workgroup memory
//                v of tile j and k of tile j + 1: storage → registers → workgroup memory
//     matrices   O += P V, tile j; S = Q Kᵀ, tile j + 1
//
// A matrix has no rows that could be rescaled when a row's maximum grows. So weights are taken relative to an older
// maximum, as long as that is at most SLACK below the present one (f32 sums and f16 weights have room for e^SLACK, and the
// quotient at the end is the same). Beyond that O is rescaled through workgroup memory, which rarely happens after the first
// tiles. Two alternatives are worse. diag(factor) · O rounds O to f16 at each step. Adding P V to rows of O through workgroup
// memory costs 8·BLOCK_Q·Dv bytes of it per step, almost as many as everything else together.
//
// A masked key never leaks, as in the other kernels: keys beyond the tile's range are staged as zeros, scores of
// masked ones are replaced, and NaN and infinities of v wait for add_special_values.
//
// With TURNS_V v lies in workgroup memory as its transpose. A lane reads eight keys of two columns, 4 bytes each, and writes
// them as two octets along the keys. Matrices of v are then loaded 16 bytes at a time.
//
// Workgroup memory: k and v [BLOCK_K][DIM + 8] (turned: [DIM][BLOCK_K + 8]), P [BLOCK_Q][BLOCK_K + 8] f16, S [BLOCK_Q][BLOCK_K + 4] f32; the
// padding keeps rows that are read together in different banks. 64 × 32 at DIM 128 is 31.0 KiB (turned 32.5 KiB), 128 × 32 45.0 KiB.
//
// A head is 4·Nq·Nk·D operations; a query tile reads k and v once, 4·Nk·D bytes: BLOCK_Q operations per byte, from L2.
// A step at 64 × 32, DIM 128, four subgroups of 32 is 1.05 MFLOP. Its bytes of workgroup memory: k read 16 K and v 16
// K (each serves 32 rows), P written 4 K and read 8 K, S written 8 K and read 8 K, k and v staged 16 K: 76 KiB, 608
// cycles at 128 bytes. Its matrix products take 413 cycles at 2540 operations (the share of an H100's 4096 that code
// without asynchronous matrix instructions reaches), its 2048 exponentials 128 cycles. So workgroup memory is the limit: at
// most 400 TFLOP/s on an H100 (132 multiprocessors, 1.755 GHz). The phases of one workgroup do not overlap, and registers
// (about 200 per lane) allow two workgroups at a time. So a quarter to a third of that is expected: 1.0 to 1.4 ms for
// 16 × 4096 × 128 (137 GFLOP). Not measured yet.
//
// Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning", 2023. The slack is
// FlashAttention-4's.

enable subgroups;

const DIM: u32 = 32u;            // bucket of the larger of head dim and value dim, a multiple of 16 · COLUMN_GROUPS
const BLOCK_Q: u32 = 32u;        // query rows per workgroup, a multiple of 16 · ROW_GROUPS
const BLOCK_K: u32 = 32u;        // keys per step, a multiple of 16 · COLUMN_GROUPS
const ROW_GROUPS: u32 = 2u;      // subgroups across the query rows
const COLUMN_GROUPS: u32 = 2u;   // subgroups along keys and value columns
const SUBGROUP: u32 = 32u;       // lanes of a subgroup
const WORKGROUP: u32 = 128u;     // SUBGROUP · ROW_GROUPS · COLUMN_GROUPS

const TURNS_V: bool = false;  // v is turned while it is staged, for GPUs that load a right operand 2 bytes at a time otherwise

const IS_F16: bool = true;
const SLACK: f32 = 8.0;          // weights are at most e^SLACK; f16 ends at e^11

// matrices of a subgroup
const ROW_PARTS: u32 = BLOCK_Q / (16u * ROW_GROUPS);
const KEY_PARTS: u32 = BLOCK_K / (16u * COLUMN_GROUPS);
const VALUE_PARTS: u32 = DIM / (16u * COLUMN_GROUPS);
const DIM_PARTS: u32 = DIM / 16u;
const KEY_STEPS: u32 = BLOCK_K / 16u;
// O passes through the memory of S in this many chunks of KEY_PARTS matrices per subgroup
const CHUNKS: u32 = (VALUE_PARTS + KEY_PARTS - 1u) / KEY_PARTS;

// workgroup memory, f16 in octets and f32 in quads
const ROW_OCTETS: u32 = DIM / 8u;
const ROW_PITCH: u32 = ROW_OCTETS + 1u;
const K_AT: u32 = 0u;
const V_AT: u32 = BLOCK_K * ROW_PITCH;
const KEY_OCTETS: u32 = BLOCK_K / 8u;
const P_PITCH: u32 = KEY_OCTETS + 1u;                            // of rows of P and of columns of v
const V_OCTETS: u32 = select(BLOCK_K * ROW_PITCH, max(BLOCK_K * ROW_PITCH, DIM * P_PITCH), TURNS_V);
const P_AT: u32 = V_AT + V_OCTETS;
const HALF_OCTETS: u32 = P_AT + BLOCK_Q * P_PITCH;
const KEY_QUADS: u32 = BLOCK_K / 4u;
const S_PITCH: u32 = KEY_QUADS + 1u;
const FLOAT_QUADS: u32 = BLOCK_Q * S_PITCH;

const TILE_OCTETS: u32 = BLOCK_K * ROW_OCTETS;
const SHARE: u32 = (TILE_OCTETS + WORKGROUP - 1u) / WORKGROUP;  // octets of a tile that a lane moves

// v by columns: a lane moves pairs of octets, those of two neighbouring columns
const COLUMN_PAIRS: u32 = DIM / 2u;
const PAIR_SHARE: u32 = (KEY_OCTETS * COLUMN_PAIRS + WORKGROUP - 1u) / WORKGROUP;
const V_SHARE: u32 = select(SHARE, 2u * PAIR_SHARE, TURNS_V);

// In the softmax a subgroup has SUBGROUP_ROWS rows. ROW_LANES lanes share a row, or a lane has ROWS of them;
// neighbouring lanes have neighbouring rows, which lie in different banks.
const SUBGROUPS: u32 = ROW_GROUPS * COLUMN_GROUPS;
const SUBGROUP_ROWS: u32 = BLOCK_Q / SUBGROUPS;
const ROW_LANES: u32 = max(SUBGROUP / SUBGROUP_ROWS, 1u);
const ROWS: u32 = max(SUBGROUP_ROWS / SUBGROUP, 1u);
const SEGMENT_QUADS: u32 = KEY_QUADS / ROW_LANES;  // of a row, a lane

// one for each subgroup, so that there is no race
var<workgroup> flags: array<u32, SUBGROUPS>;

// `subgroup` and `lane` are separate parameters. In a struct of both, compilers would not see that `subgroup` is the same in
// all lanes of a subgroup.
fn softmax_row(subgroup: u32, lane: u32, r: u32) -> u32 {
  return subgroup * SUBGROUP_ROWS + r * SUBGROUP + lane % SUBGROUP_ROWS;
}

// Quad of S's memory where a lane's segment of its row begins.
fn segment_at(subgroup: u32, lane: u32, r: u32) -> u32 {
  return softmax_row(subgroup, lane, r) * S_PITCH + (lane / SUBGROUP_ROWS) * SEGMENT_QUADS;
}

fn row_group(subgroup: u32) -> u32 {
  return subgroup / COLUMN_GROUPS;
}

fn column_group(subgroup: u32) -> u32 {
  return subgroup % COLUMN_GROUPS;
}

// Quad of S's memory where a subgroup's matrix (r, j) begins.
fn score_at(subgroup: u32, r: u32, j: u32) -> u32 {
  return 16u * (row_group(subgroup) * ROW_PARTS + r) * S_PITCH + 4u * (column_group(subgroup) * KEY_PARTS + j);
}

// Whether the condition holds in any lane of the workgroup. There is a barrier before and after.
fn any_lane(says: bool, subgroup: u32, lane: u32) -> bool {
  let any_in_subgroup = subgroupAny(says);
  if lane == 0u { flags[subgroup] = u32(any_in_subgroup); }
  let all_flags = workgroupUniformLoad(&flags);
  var found = 0u;
  for (var i = 0u; i < SUBGROUPS; i++) { found |= all_flags[i]; }
  return found != 0u;
}

// Where rows of q, k or v lie in storage.
struct Rows {
  base: u32,       // element
  pitch: u32,      // elements
  step: u32,       // from column to column
  columns: u32,
  are_octets: bool,
}

fn rows_of(base: u32, strides: vec4<u32>, columns: u32) -> Rows {
  return Rows(base, strides.z, strides.w, columns, reads_octets(base, strides.z, strides.w, columns));
}

fn octet_place(at: u32, number: u32) -> u32 {
  return at + (number / ROW_OCTETS) * ROW_PITCH + number % ROW_OCTETS;
}

// An invocation's share of rows [first, first + BLOCK_K); zeros from `end` on, and if rows are not whole octets.
fn fetch(
  buffer: ptr<storage, array<vec4<u32>>, read>, rows: Rows, first: u32, end: u32, invocation: u32,
) -> array<vec4<u32>, SHARE> {
  var octets: array<vec4<u32>, SHARE> = array<vec4<u32>, SHARE>();
  for (var i = 0u; i < SHARE; i++) {
    let number = invocation + i * WORKGROUP;
    let row = first + number / ROW_OCTETS;
    let column = 8u * (number % ROW_OCTETS);
    if rows.are_octets && number < TILE_OCTETS && row < end && column < rows.columns {
      octets[i] = (*buffer)[(rows.base + row * rows.pitch + column) >> 3u];
    }
  }
  return octets;
}

fn stage(at: u32, octets: array<vec4<u32>, SHARE>, invocation: u32) {
  for (var i = 0u; i < SHARE; i++) {
    let number = invocation + i * WORKGROUP;
    if number < TILE_OCTETS { put_octet(octet_place(at, number), octets[i]); }
  }
}

// Stages `count` rows of any layout when they are needed, and returns whether one holds NaN or infinities.
fn gather(
  buffer: ptr<storage, array<vec4<u32>>, read>, rows: Rows, first: u32, end: u32, at: u32, count: u32,
  makes_finite: bool, invocation: u32,
) -> bool {
  var special = vec4<u32>(0u);
  for (var number = invocation; number < count * ROW_OCTETS; number += WORKGROUP) {
    let row = first + number / ROW_OCTETS;
    let column = 8u * (number % ROW_OCTETS);
    var octet = vec4<u32>(0u);
    if row < end && column < rows.columns {
      octet = octet_of(buffer, rows.base + row * rows.pitch, rows.step, column, rows.columns, rows.are_octets);
    }
    special |= special_bits(octet);
    put_octet(octet_place(at, number), select(octet, finite_octet(octet), makes_finite));
  }
  return any(special != vec4<u32>(0u));
}

// Where octet `i` of an invocation's share of v belongs, and HALF_OCTETS if that share is smaller.
fn v_place(i: u32, invocation: u32) -> u32 {
  if TURNS_V {
    let pair = invocation + (i / 2u) * WORKGROUP;
    let place = V_AT + (2u * (pair % COLUMN_PAIRS) + i % 2u) * P_PITCH + pair / COLUMN_PAIRS;
    return select(HALF_OCTETS, place, pair < KEY_OCTETS * COLUMN_PAIRS);
  }
  let number = invocation + i * WORKGROUP;
  return select(HALF_OCTETS, octet_place(V_AT, number), number < TILE_OCTETS);
}

// An invocation's share of v's rows [first, first + BLOCK_K), as `fetch` gives it or by columns.
fn fetch_v(rows: Rows, first: u32, end: u32, invocation: u32) -> array<vec4<u32>, V_SHARE> {
  var octets: array<vec4<u32>, V_SHARE> = array<vec4<u32>, V_SHARE>();
  if !TURNS_V {
    let by_rows = fetch(&v, rows, first, end, invocation);
    for (var i = 0u; i < SHARE; i++) { octets[i] = by_rows[i]; }
    return octets;
  }
  for (var i = 0u; i < PAIR_SHARE; i++) {
    let pair = invocation + i * WORKGROUP;
    let key = first + 8u * (pair / COLUMN_PAIRS);
    let column = 2u * (pair % COLUMN_PAIRS);
    if rows.are_octets && pair < KEY_OCTETS * COLUMN_PAIRS && key < end && column < rows.columns {
      let turned = two_columns(&v, rows.base + key * rows.pitch + column, rows.pitch, end - key);
      octets[2u * i] = turned[0];
      octets[2u * i + 1u] = turned[1];
    }
  }
  return octets;
}

// Stages rows of v of any layout by columns, without NaN and infinities, and returns whether there were any.
fn gather_columns(rows: Rows, first: u32, end: u32, invocation: u32) -> bool {
  var special = vec4<u32>(0u);
  for (var number = invocation; number < DIM * KEY_OCTETS; number += WORKGROUP) {
    let column = number / KEY_OCTETS;
    let key = first + 8u * (number % KEY_OCTETS);
    var octet = vec4<u32>(0u);
    if column < rows.columns && key < end {
      octet = octet_of(&v, rows.base + column * rows.step, rows.pitch, key, end, false);
    }
    special |= special_bits(octet);
    put_octet(V_AT + column * P_PITCH + number % KEY_OCTETS, finite_octet(octet));
  }
  return any(special != vec4<u32>(0u));
}

// The matrix of v for step `step` of the keys and part `part` of the columns.
fn load_values(step: u32, part: u32) -> Right {
  if TURNS_V { return load_right_transposed(V_AT + 16u * part * P_PITCH + 2u * step, P_PITCH); }
  return load_right(V_AT + 16u * step * ROW_PITCH + 2u * part, ROW_PITCH);
}

// S = Q Kᵀ of the staged keys, into workgroup memory.
fn score(queries: ptr<function, array<Left, ROW_PARTS * DIM_PARTS>>, subgroup: u32) {
  var s: array<Result, ROW_PARTS * KEY_PARTS> = array<Result, ROW_PARTS * KEY_PARTS>();
  for (var d = 0u; d < DIM_PARTS; d++) {
    for (var j = 0u; j < KEY_PARTS; j++) {
      let keys = load_right_transposed(
        K_AT + 16u * (column_group(subgroup) * KEY_PARTS + j) * ROW_PITCH + 2u * d, ROW_PITCH);
      for (var r = 0u; r < ROW_PARTS; r++) {
        s[r * KEY_PARTS + j] = multiply_add((*queries)[r * DIM_PARTS + d], keys, s[r * KEY_PARTS + j]);
      }
    }
  }
  for (var r = 0u; r < ROW_PARTS; r++) {
    for (var j = 0u; j < KEY_PARTS; j++) { store_result(score_at(subgroup, r, j), S_PITCH, s[r * KEY_PARTS + j]); }
  }
}

// O += P V of the staged keys.
fn accumulate(o: ptr<function, array<Result, ROW_PARTS * VALUE_PARTS>>, subgroup: u32) {
  for (var step = 0u; step < KEY_STEPS; step++) {
    var weights: array<Left, ROW_PARTS> = array<Left, ROW_PARTS>();
    for (var r = 0u; r < ROW_PARTS; r++) {
      weights[r] = load_left(P_AT + 16u * (row_group(subgroup) * ROW_PARTS + r) * P_PITCH + 2u * step, P_PITCH);
    }
    for (var c = 0u; c < VALUE_PARTS; c++) {
      let values = load_values(step, column_group(subgroup) * VALUE_PARTS + c);
      for (var r = 0u; r < ROW_PARTS; r++) {
        (*o)[r * VALUE_PARTS + c] = multiply_add(weights[r], values, (*o)[r * VALUE_PARTS + c]);
      }
    }
  }
}

// Scales the scores in S's memory and hides keys that may not be attended to. Lanes run along rows of the mask.
fn mask_scores(tile: Tile, first_key: u32, invocation: u32) {
  for (var i = invocation; i < BLOCK_Q * KEY_QUADS; i += WORKGROUP) {
    let row = i / KEY_QUADS;
    let query = row_of(tile, row);
    let at = row * S_PITCH + i % KEY_QUADS;
    var scores = params.options.score.scale * get_quad(at);
    for (var j = 0u; j < 4u; j++) {
      scores[j] = masked_score(tile.sequence, scores[j], tile.head, query, first_key + 4u * (i % KEY_QUADS) + j);
    }
    put_quad(at, scores);
  }
}

// Writes the weights of the scores in S's memory, times `scale`, to P's memory. Computes the sums of this lane's keys, and the
// factor of O if a row has outgrown its maximum. Returns whether one has.
fn weigh(
  scale: f32, row_max: ptr<function, array<f32, ROWS>>, row_sum: ptr<function, array<f32, ROWS>>,
  factors: ptr<function, array<f32, ROWS>>, subgroup: u32, lane: u32,
) -> bool {
  var outgrown = false;
  for (var r = 0u; r < ROWS; r++) {
    var scores: array<vec4<f32>, SEGMENT_QUADS> = array<vec4<f32>, SEGMENT_QUADS>();
    var highest = HIDDEN;
    for (var i = 0u; i < SEGMENT_QUADS; i++) {
      scores[i] = scale * get_quad(segment_at(subgroup, lane, r) + i);
      highest = max(highest, max(max(scores[i].x, scores[i].y), max(scores[i].z, scores[i].w)));
    }
    for (var distance = SUBGROUP_ROWS; distance < SUBGROUP; distance *= 2u) {
      highest = max(highest, subgroupShuffleXor(highest, distance));
    }
    let before = (*row_max)[r];
    var factor = 1.0;
    if before == HIDDEN {
      (*row_max)[r] = highest;  // no key so far: O is 0
    } else if highest > before + SLACK {
      (*row_max)[r] = highest;
      factor = exp(before - highest);
      outgrown = true;
    }
    // a row that has seen no key yet: exp(HIDDEN - 0) is 0, exp(HIDDEN - HIDDEN) would not be
    let shift = select((*row_max)[r], 0.0, (*row_max)[r] == HIDDEN);
    var sum = factor * (*row_sum)[r];
    for (var i = 0u; i < SEGMENT_QUADS; i += 2u) {
      let low = exp(scores[i] - vec4<f32>(shift));
      let high = exp(scores[i + 1u] - vec4<f32>(shift));
      sum += dot(low, vec4<f32>(1.0)) + dot(high, vec4<f32>(1.0));
      let octet = ((lane / SUBGROUP_ROWS) * SEGMENT_QUADS + i) / 2u;
      put_octet(P_AT + softmax_row(subgroup, lane, r) * P_PITCH + octet, octet_from(low, high));
    }
    (*row_sum)[r] = sum;
    (*factors)[r] = factor;
  }
  return outgrown;
}

// The final factor of O. Also writes the log-sum-exp.
fn normalise(
  row_max: array<f32, ROWS>, row_sum: array<f32, ROWS>, tile: Tile, subgroup: u32, lane: u32,
) -> array<f32, ROWS> {
  var factors: array<f32, ROWS> = array<f32, ROWS>();
  for (var r = 0u; r < ROWS; r++) {
    var sum = row_sum[r];
    for (var distance = SUBGROUP_ROWS; distance < SUBGROUP; distance *= 2u) {
      sum += subgroupShuffleXor(sum, distance);
    }
    let is_empty = sum == 0.0;  // the largest score of any other row counts at least 1; NaN is not empty
    factors[r] = select(1.0 / sum, 0.0, is_empty);
    let row = tile.first_row + softmax_row(subgroup, lane, r);
    if lane < SUBGROUP_ROWS && row < tile.end_row {
      store_log_sum_exp(tile, row, row_max[r], sum);
    }
  }
  return factors;
}

// v of a tile, fetched or yet to be gathered, without NaN and infinities. Returns whether there were any.
fn stage_v(
  octets: array<vec4<u32>, V_SHARE>, rows: Rows, first_key: u32, end_key: u32, invocation: u32,
) -> bool {
  if !rows.are_octets {
    if TURNS_V { return gather_columns(rows, first_key, end_key, invocation); }
    return gather(&v, rows, first_key, end_key, V_AT, BLOCK_K, true, invocation);
  }
  var special = vec4<u32>(0u);
  for (var i = 0u; i < V_SHARE; i++) { special |= special_bits(octets[i]); }
  var finite = octets;
  if any(special != vec4<u32>(0u)) {
    for (var i = 0u; i < V_SHARE; i++) { finite[i] = finite_octet(octets[i]); }
  }
  for (var i = 0u; i < V_SHARE; i++) {
    let place = v_place(i, invocation);
    if place < HALF_OCTETS { put_octet(place, finite[i]); }
  }
  return any(special != vec4<u32>(0u));
}

// First column of O that quad `quad` of a row of S's memory holds in the given chunk; DIM or more if there is none.
fn output_column(chunk: u32, quad: u32) -> u32 {
  let part = chunk * KEY_PARTS + (quad / 4u) % KEY_PARTS;
  let column = 16u * ((quad / 4u) / KEY_PARTS * VALUE_PARTS + part) + 4u * (quad % 4u);
  return select(DIM, column, part < VALUE_PARTS);
}

// Moves a chunk of O to S's memory, where each lane multiplies its rows by `factors`, and then back or to the output.
fn visit_chunk(
  o: ptr<function, array<Result, ROW_PARTS * VALUE_PARTS>>,
  chunk: u32, factors: array<f32, ROWS>, is_over: bool, tile: Tile, subgroup: u32, lane: u32,
) {
  if chunk >= CHUNKS { return; }
  for (var r = 0u; r < ROW_PARTS; r++) {
    for (var j = 0u; j < KEY_PARTS; j++) {
      let c = chunk * KEY_PARTS + j;
      if c < VALUE_PARTS { store_result(score_at(subgroup, r, j), S_PITCH, (*o)[r * VALUE_PARTS + c]); }
    }
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    for (var i = 0u; i < SEGMENT_QUADS; i++) {
      let at = segment_at(subgroup, lane, r) + i;
      put_quad(at, factors[r] * get_quad(at));
    }
  }
  workgroupBarrier();
  if is_over {
    write_chunk(chunk, tile, subgroup * SUBGROUP + lane);
  } else {
    for (var r = 0u; r < ROW_PARTS; r++) {
      for (var j = 0u; j < KEY_PARTS; j++) {
        let c = chunk * KEY_PARTS + j;
        if c < VALUE_PARTS { (*o)[r * VALUE_PARTS + c] = load_result(score_at(subgroup, r, j), S_PITCH); }
      }
    }
  }
  workgroupBarrier();
}

fn write_chunk(chunk: u32, tile: Tile, invocation: u32) {
  for (var i = invocation; i < BLOCK_Q * KEY_QUADS; i += WORKGROUP) {
    let row = tile.first_row + i / KEY_QUADS;
    let column = output_column(chunk, i % KEY_QUADS);
    if row < tile.end_row && column < params.inputs.value_dim {
      let quad = get_quad((i / KEY_QUADS) * S_PITCH + i % KEY_QUADS);
      store_quad(output_row(tile, row) + column, quad, min(params.inputs.value_dim - column, 4u), OUT_F16);
    }
  }
}

// Unrolled by hand: matrices stay in registers only where their index is a constant, and compilers may leave a loop
// around a barrier as it is.
fn visit_output(
  o: ptr<function, array<Result, ROW_PARTS * VALUE_PARTS>>,
  factors: array<f32, ROWS>, is_over: bool, tile: Tile, subgroup: u32, lane: u32,
) {
  visit_chunk(o, 0u, factors, is_over, tile, subgroup, lane);
  visit_chunk(o, 1u, factors, is_over, tile, subgroup, lane);
  visit_chunk(o, 2u, factors, is_over, tile, subgroup, lane);
  visit_chunk(o, 3u, factors, is_over, tile, subgroup, lane);
  visit_chunk(o, 4u, factors, is_over, tile, subgroup, lane);
  visit_chunk(o, 5u, factors, is_over, tile, subgroup, lane);
  visit_chunk(o, 6u, factors, is_over, tile, subgroup, lane);
  visit_chunk(o, 7u, factors, is_over, tile, subgroup, lane);
}

fn kernel(group: vec3<u32>, groups: vec3<u32>, subgroup: u32, lane: u32) {
  let index = params.first_group + linear_group(group, groups);
  if index >= params.end_group { return; }
  let tile = tile_of(index);
  let keys = tile.keys;
  let invocation = subgroup * SUBGROUP + lane;
  let q_rows = rows_of(tile.q_base, params.inputs.q.strides, params.inputs.head_dim);
  let k_rows = rows_of(tile.k_base, params.inputs.k.strides, params.inputs.head_dim);
  let v_rows = rows_of(tile.v_base, params.inputs.v.strides, params.inputs.value_dim);

  // load q through the memory of k and v, as many rows at a time as it holds
  const STAGED_ROWS: u32 = min(BLOCK_Q, 2u * BLOCK_K);
  var queries: array<Left, ROW_PARTS * DIM_PARTS> = array<Left, ROW_PARTS * DIM_PARTS>();
  for (var first = 0u; first < BLOCK_Q; first += STAGED_ROWS) {
    _ = gather(&q, q_rows, tile.first_row + first, tile.end_row, K_AT, STAGED_ROWS, false, invocation);
    workgroupBarrier();
    for (var r = 0u; r < ROW_PARTS; r++) {
      let row = 16u * (row_group(subgroup) * ROW_PARTS + r);
      if row / STAGED_ROWS != first / STAGED_ROWS { continue; }
      for (var d = 0u; d < DIM_PARTS; d++) {
        queries[r * DIM_PARTS + d] = load_left(K_AT + (row - first) * ROW_PITCH + 2u * d, ROW_PITCH);
      }
    }
    workgroupBarrier();
  }

  var o: array<Result, ROW_PARTS * VALUE_PARTS> = array<Result, ROW_PARTS * VALUE_PARTS>();
  var row_max: array<f32, ROWS> = array<f32, ROWS>();  // what the weights of a row are relative to
  var row_sum: array<f32, ROWS> = array<f32, ROWS>();  // of this lane's keys
  for (var r = 0u; r < ROWS; r++) { row_max[r] = HIDDEN; }
  var saw_special = false;

  for (var end_of_step = keys.x; ; end_of_step += BLOCK_K) {
    // keys [first_key, end_of_step) have been scored, except in the first round
    let is_first = end_of_step == keys.x;
    let first_key = end_of_step - BLOCK_K;
    let is_over = !is_first && first_key >= keys.y;
    let k_octets = fetch(&k, k_rows, end_of_step, keys.y, invocation);  // loaded early, used late
    var factors: array<f32, ROWS> = array<f32, ROWS>();
    var outgrown = false;
    if is_over {
      factors = normalise(row_max, row_sum, tile, subgroup, lane);
    } else if !is_first {
      let v_octets = fetch_v(v_rows, first_key, keys.y, invocation);
      let is_masked = !tile_sees(tile, first_key, end_of_step - 1u);
      if is_masked {
        mask_scores(tile, first_key, invocation);
        workgroupBarrier();
      }
      outgrown = weigh(select(params.options.score.scale, 1.0, is_masked), &row_max, &row_sum, &factors, subgroup, lane);
      saw_special = stage_v(v_octets, v_rows, first_key, keys.y, invocation) || saw_special;
    }
    if k_rows.are_octets {
      stage(K_AT, k_octets, invocation);
    } else {
      _ = gather(&k, k_rows, end_of_step, keys.y, K_AT, BLOCK_K, false, invocation);
    }
    if any_lane(outgrown, subgroup, lane) || is_over { visit_output(&o, factors, is_over, tile, subgroup, lane); }
    if is_over { break; }
    if !is_first { accumulate(&o, subgroup); }
    if end_of_step < keys.y { score(&queries, subgroup); }
    workgroupBarrier();
  }

  if any_lane(saw_special, subgroup, lane) {
    storageBarrier();
    for (var r = 0u; r < ROWS; r++) {
      let row = tile.first_row + softmax_row(subgroup, lane, r);
      if lane < SUBGROUP_ROWS && row < tile.end_row { add_special_values(tile, row, row_max[r]); }
    }
  }
}
