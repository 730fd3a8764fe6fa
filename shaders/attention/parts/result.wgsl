// parts: attention/operands, special
// What the fused attention kernels write: output and log-sum-exp, or those of one split of the keys.

const OUT_F16: bool = false;        // storage of output

@group(0) @binding(7) var<storage, read_write> output: array<u32>;    // [splits, B, H, Nq, Dv], f32 or f16
@group(0) @binding(8) var<storage, read_write> log_sum_exp: array<u32>;  // [splits, B, H, Nq], f32

// Element at which a row of output begins.
fn output_row(tile: Tile, row: u32) -> u32 {
  let place = vec3<u32>(batch_of(tile.sequence), head_of(tile, row), tile.sequence.first_query + query_of(tile, row));
  return tile.split * params.split_pitch + dot(params.output_strides.xyz, place);
}

// Of a row with this maximum and this sum of exponentials relative to it; the sum is 0 where nothing was visible.
fn store_log_sum_exp(tile: Tile, row: u32, row_max: f32, row_sum: f32) {
  if params.writes_log_sum_exp == 0u { return; }
  let head_row = (batch_of(tile.sequence) * params.heads + head_of(tile, row)) * params.query_rows;
  let at = tile.split * params.split_rows + head_row + tile.sequence.first_query + query_of(tile, row);
  // NaN itself, not its logarithm, which SwiftShader makes a number
  let value = select(row_max + log(row_sum), row_sum, is_nan(row_sum));
  log_sum_exp[at] = select(bitcast<u32>(value), MINUS_INFINITY_BITS, row_sum == 0.0);
}
