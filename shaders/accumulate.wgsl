// parts: rows, element, launch
//
// Adds one tensor to another in place: target[r, c] += x[r, c].
//
// target [rows, columns], contiguous or a slice of what is, x at any strides (0 repeats). One invocation writes one 32-bit
// word of a row: one f32, or the two f16 that share it, so that no two invocations write one word. Two reads and a write
// for one operation: bound by bandwidth.

const F16: bool = false;          // storage of both

struct Params {
  words: u32,                // to write
  row_words: u32,            // of a row
  columns: u32,
  lead: u32,                 // f16: 1 where rows begin in the middle of a word
  shape: vec4<u32>,          // axes before the row, the innermost first
  target_strides: vec4<u32>, // elements
  x_strides: vec4<u32>,
  target_outer_stride: u32,  // of a fifth axis before the row
  x_outer_stride: u32,
  x_column_stride: u32,
  target_offset: u32,
  x_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> target_words: array<u32>;

const WORKGROUP: u32 = 256u;

fn x_element(first: u32, column: u32) -> f32 {
  let element = first + column * params.x_column_stride;
  return decode_element(x[word_index(element, F16)], element, F16);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups) * WORKGROUP + lane;
  if index >= params.words { return; }
  let axes = row_index(index / params.row_words, params.shape);
  let word = index % params.row_words;
  let row = params.target_offset + row_start(axes, params.target_strides, params.target_outer_stride);
  let x_row = params.x_offset + row_start(axes, params.x_strides, params.x_outer_stride);
  let at = word_index(row, F16) + word;
  if !F16 {
    target_words[at] = bitcast<u32>(bitcast<f32>(target_words[at]) + x_element(x_row, word));
    return;
  }
  var pair = unpack2x16float(target_words[at]);
  for (var i = 0u; i < 2u; i++) {
    let column = 2u * word + i - params.lead;  // wraps around in front of the row
    if column < params.columns { pair[i] += x_element(x_row, column); }
  }
  target_words[at] = encode_pair(pair);
}
