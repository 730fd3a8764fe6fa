// parts: element, launch, rows
//
// Adds one tensor to another in place: target[r, c] += x[r, c].
//
// target [rows, columns], contiguous or a slice of a contiguous tensor, x at any strides (0 repeats). One invocation writes the
// words of four neighbours in a row: four f32, or four f16 in two words. In a slice these words may begin before the row and
// end after it. So no two invocations write the same word, and elements around a slice stay as they are. Two reads and a
// write for one operation: bound by bandwidth.

const F16: bool = false;          // storage of both

struct Params {
  quads: u32,                // of all rows
  row_quads: u32,            // of a row
  columns: u32,
  lead: u32,                 // f16: 1 where rows begin in the middle of a word
  shape: vec4<u32>,          // axes before the row, the innermost first
  x: RowOperand,
  target_rows: RowOperand,   // their columns are neighbours
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> target_words: array<u32>;

const WORKGROUP: u32 = 256u;

// Columns [place - lead, place - lead + 4) of the row that begins at element `first`; zero outside.
fn x_quad(first: u32, place: u32) -> vec4<f32> {
  if params.x.vectors != 0u && place + 4u <= params.columns {
    return decode_quad(x[vector_of(first + place, F16)], first + place, F16);
  }
  var quad = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) {
    let column = place + i - params.lead;  // wraps around in front of the row
    if column >= params.columns { continue; }
    let element = first + column * params.x.column_stride;
    quad[i] = decode_element(x[vector_of(element, F16)][component_of(element, F16)], element, F16);
  }
  return quad;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups) * WORKGROUP + lane;
  if index >= params.quads { return; }
  let axes = row_index(index / params.row_quads, params.shape);
  let place = 4u * (index % params.row_quads);  // from the beginning of the row's first word
  let rows = params.target_rows;
  let row = rows.offset + row_start(axes, rows.strides, rows.outer_stride);
  let addend = x_quad(params.x.offset + row_start(axes, params.x.strides, params.x.outer_stride), place);
  if !F16 {
    for (var i = 0u; i < min(params.columns - place, 4u); i++) {
      let at = row + place + i;
      target_words[at] = bitcast<u32>(bitcast<f32>(target_words[at]) + addend[i]);
    }
    return;
  }
  for (var i = 0u; i < 4u && place + i < params.lead + params.columns; i += 2u) {
    let at = word_index(row + place + i - params.lead, F16);
    var pair = unpack2x16float(target_words[at]);
    for (var half = 0u; half < 2u; half++) {
      if place + i + half - params.lead < params.columns { pair[half] += addend[i + half]; }
    }
    target_words[at] = encode_pair(pair);
  }
}
