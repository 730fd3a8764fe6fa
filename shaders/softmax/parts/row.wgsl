// parts: attention/dropout, attention/score, attention/visibility, element
// A row of scores as the softmax and its gradient read it: where it lies, what becomes of it, and which of its weights are
// kept. Names `params` and `x` of the shader that uses it.

const IN_F16: bool = false;      // storage of x

fn x_element(element: u32) -> f32 {
  return decode_at(x[vector_of(element, IN_F16)], element, IN_F16);
}

// Columns [key, key + 4) of the row that begins at element `row`; zero past the last.
fn x_quad(row: u32, key: u32) -> vec4<f32> {
  if params.vector_loads != 0u && key + 4u <= params.key_length {
    return decode_quad(x[vector_of(row + key, IN_F16)], row + key, IN_F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = key; i < min(key + 4u, params.key_length); i++) {
    quad[i - key] = x_element(row + i * params.x_strides.w);
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
  let query = index % params.query_length;
  let head = (index / params.query_length) % params.heads;
  let batch = index / (params.query_length * params.heads);
  var sequence = sequence_at(batch);
  if params.sequences_at != ABSENT {  // the one that the row lies in
    var i = 0u;
    for (; i + 1u < params.sequences && table[params.sequences_at + i + 1u] <= query; i++) {}
    sequence = sequence_at(i);
  }
  return Row(
    sequence, head, query - sequence.first_query,
    params.x_offset + dot(vec3<u32>(batch, head, query), params.x_strides.xyz),
    slope_of(sequence, head),
  );
}

// The scores of keys [key, key + 4), HIDDEN where they may not be attended to.
fn score_quad(row: Row, key: u32) -> vec4<f32> {
  var quad = params.scale * x_quad(row.begin, key);
  let first = key - row.sequence.first_key;  // wraps round in front of a packed sequence, and is then past its end
  for (var i = 0u; MODIFIES_SCORES && i < 4u; i++) {
    quad[i] = modified_score(row.sequence, quad[i], row.slope, row.head, row.query, first + i);
  }
  let is_visible = !HAS_MASK_MOD && key >= row.sequence.first_key
    && all_visible(row.sequence, row.query, row.query, first, first + 3u);
  // no rounds where the row sees all four
  for (var i = select(0u, 4u, is_visible); i < 4u; i++) {
    quad[i] = masked_score(row.sequence, quad[i], row.head, row.query, first + i);
  }
  return quad;
}

// What dropout multiplies the weights of keys [key, key + 4) by.
fn kept_quad(row: Row, key: u32) -> vec4<f32> {
  let first = key - row.sequence.first_key;
  if !HAS_DROPOUT || (first & 3u) == 0u { return dropout_quad(row.sequence, row.head, row.query, first); }
  // of a packed batch, whose sequences begin anywhere
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) { quad[i] = dropout_factor(row.sequence, row.head, row.query, first + i); }
  return quad;
}
