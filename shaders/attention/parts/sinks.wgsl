// parts: special, table
//
// Attention sinks (Xiao et al., 2023): for each head a logit that takes weight in its rows but has no value. Needs `params`
// (sinks: SinkParams) and `table` from the shader that uses it.

struct SinkParams {
  at: u32,  // in `table`, or ABSENT: [H], f32
}

// A head's sink, or LOWEST if there is none.
fn sink_of_head(head: u32) -> f32 {
  if params.sinks.at == ABSENT { return LOWEST; }
  let bits = table[params.sinks.at + head];
  if bits == MINUS_INFINITY_BITS { return LOWEST; }
  return max(bitcast<f32>(bits), ABOVE_LOWEST);
}
