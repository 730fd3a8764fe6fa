// parts: attention/modifiers, attention/score, element, operand, special, table
// A row of scores as the softmax and its gradient read it: its place, how its scores change, and which of its weights are
// kept. Needs `params` (heads, x: Operand) and `x` from the shader that uses it.

const IN_F16: bool = false;      // storage of x

// Columns [key, key + 4) of the row that begins at element `row`; zero past the last.
fn x_quad(row: u32, key: u32) -> vec4<f32> {
  let at = operand_quad(params.x, row, key, params.options.sequences.key_length);
  if at.is_vector { return decode_quad(x[vector_of(at.first, IN_F16)], at.first, IN_F16); }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < at.count; i++) {
    let element = neighbour(at, i);
    quad[i] = decode_element(x[vector_of(element, IN_F16)][component_of(element, IN_F16)], element, IN_F16);
  }
  return quad;
}

// One row of scores.
struct Row {
  sequence: Sequence,
  head: u32,
  query: u32,      // within the sequence
  begin: u32,      // element of x
  slope: f32,
}

fn row_at(index: u32) -> Row {
  let query = index % params.options.sequences.query_length;
  let head = (index / params.options.sequences.query_length) % params.heads;
  let batch = index / (params.options.sequences.query_length * params.heads);
  var sequence = sequence_at(batch);
  if params.options.sequences.packed_at != ABSENT {  // the sequence that holds the row
    var i = 0u;
    for (; i + 1u < params.options.sequences.count && table[params.options.sequences.packed_at + i + 1u] <= query; i++) {}
    sequence = sequence_at(i);
  }
  return Row(
    sequence, head, query - sequence.first_query,
    row_of_operand(params.x, vec3<u32>(batch, head, query)),
    slope_of(sequence, head),
  );
}

// Scores from their elements. The lowest number is a score, not HIDDEN.
fn scaled_quad(quad: vec4<f32>) -> vec4<f32> {
  let scaled = params.options.score.scale * quad;
  return select(scaled, vec4<f32>(ABOVE_LOWEST), scaled == vec4<f32>(HIDDEN));
}

// The scores of keys [key, key + 4), HIDDEN for keys that may not be attended to.
fn score_quad(row: Row, key: u32) -> vec4<f32> {
  var quad = scaled_quad(x_quad(row.begin, key));
  let first = key - row.sequence.first_key;  // wraps around before a packed sequence, and is then past its end
  for (var i = 0u; MODIFIES_SCORES && i < 4u; i++) {
    quad[i] = modified_score(row.sequence, quad[i], row.slope, row.head, row.query, first + i);
  }
  let is_visible = !HAS_MASK_MOD && key >= row.sequence.first_key
    && all_visible(row.sequence, row.query, row.query, first, first + 3u);
  if !is_visible {
    for (var i = 0u; i < 4u; i++) { quad[i] = masked_score(row.sequence, quad[i], row.head, row.query, first + i); }
  }
  return quad;
}

// The scores of keys [key, key + 4) from their elements, where only the band and the ends of sequences hide keys.
fn banded_quad(row: Row, key: u32, quad: vec4<f32>) -> vec4<f32> {
  let keys = vec4<u32>(0u, 1u, 2u, 3u) + (key - row.sequence.first_key);  // before a packed sequence: past its end
  let distances = vec4<i32>(keys) - vec4<i32>(i32(row.query) + row.sequence.query_offset);
  let is_visible = (keys < vec4<u32>(row.sequence.key_length))
    & (distances >= vec4<i32>(-params.options.visibility.band_left))
    & (distances <= vec4<i32>(params.options.visibility.band_right));
  return select(vec4<f32>(HIDDEN), scaled_quad(quad), is_visible);
}

// Dropout's factors of the weights of keys [key, key + 4).
fn kept_quad(row: Row, key: u32) -> vec4<f32> {
  let first = key - row.sequence.first_key;
  if !HAS_DROPOUT || (first & 3u) == 0u { return dropout_quad(row.sequence, row.head, row.query, first); }
  // in a packed batch, sequences may begin anywhere
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) { quad[i] = dropout_factor(row.sequence, row.head, row.query, first + i); }
  return quad;
}
