// parts: attention/inputs, attention/modifiers, attention/score, attention/sinks, attention/work, special
//
// What every fused attention kernel that computes outputs has besides its inputs: its parameters, the places of a cache's keys,
// and writing the output and log-sum-exp, or those of one split of the keys.

const KV_RING: bool = false;        // some keys stay, the others are in a ring after them
const OUT_F16: bool = false;        // storage of output

struct Params {
  first_group: u32,    // where a divided launch begins
  end_group: u32,      // and ends
  heads: u32,          // H
  inputs: InputParams,
  @align(16) work: WorkParams,
  @align(16) options: OptionParams,
  @align(16) blocks: BlockParams,
  @align(16) keys: KeyParams,
  @align(16) sinks: SinkParams,
  output: OutputParams,
}

// The places of a cache's keys, if they are not one after the other.
struct KeyParams {
  ring_kept: u32,      // keys before the ring
  ring_start: u32,     // slot of the ring's first key, behind those
  ring_length: u32,    // slots
  pages_at: u32,       // in `table`: numbers of pages
  pages_pitch: u32,    // elements between batch entries
  page_shift: u32,     // log₂ of a page's keys
}

struct OutputParams {
  strides: vec4<u32>,  // elements: batch, head, row, column
  first_column: u32,   // of a pass; value dims that are too many for registers take several
  split_pitch: u32,    // elements of output between two splits
  split_rows: u32,     // elements of log_sum_exp between two splits
  writes_log_sum_exp: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> output: array<u32>;    // [splits, B, H, Nq, Dv], f32 or f16
@group(0) @binding(8) var<storage, read_write> log_sum_exp: array<u32>;  // [splits, B, H, Nq], f32

// Page and row of a key.
fn key_slot(tile: Tile, key: u32) -> vec2<u32> {
  if KV_RING {
    let place = params.keys.ring_start + key - params.keys.ring_kept;  // less than twice the ring's length
    let slot = params.keys.ring_kept + select(place, place - params.keys.ring_length, place >= params.keys.ring_length);
    return vec2<u32>(0u, select(slot, key, key < params.keys.ring_kept));
  }
  if KV_PAGED {
    let page = table[params.keys.pages_at + tile.sequence.index * params.keys.pages_pitch + (key >> params.keys.page_shift)];
    return vec2<u32>(page, key & ((1u << params.keys.page_shift) - 1u));
  }
  return vec2<u32>(0u, key);
}

// Element at which a key's row of k begins, and of v.
fn k_row(tile: Tile, key: u32) -> u32 {
  return tile.k_base + dot(key_slot(tile, key), params.inputs.k.strides.xz);
}

fn v_row(tile: Tile, key: u32) -> u32 {
  return tile.v_base + dot(key_slot(tile, key), params.inputs.v.strides.xz);
}

// The sink of a row's head, which counts in one split only.
fn sink_of(tile: Tile, row: u32) -> f32 {
  if tile.split != 0u { return HIDDEN; }
  return sink_of_head(head_of(tile, row));
}

// Element at which a row of output begins.
fn output_row(tile: Tile, row: u32) -> u32 {
  let place = vec3<u32>(batch_of(tile.sequence), head_of(tile, row), tile.sequence.first_query + query_of(tile, row));
  return params.output.first_column + tile.split * params.output.split_pitch + dot(params.output.strides.xyz, place);
}

// Writes the log-sum-exp from a row's maximum and its sum of exponentials relative to that. The sum is 0 if no key was visible.
fn store_log_sum_exp(tile: Tile, row: u32, row_max: f32, row_sum: f32) {
  if params.output.writes_log_sum_exp == 0u { return; }
  let head_row = (batch_of(tile.sequence) * params.heads + head_of(tile, row)) * params.inputs.query_rows;
  let at = tile.split * params.output.split_rows + head_row + tile.sequence.first_query + query_of(tile, row);
  let value = row_max + swiftshader_log(row_sum);
  log_sum_exp[at] = select(bitcast<u32>(value), MINUS_INFINITY_BITS, row_sum == 0.0);
}
