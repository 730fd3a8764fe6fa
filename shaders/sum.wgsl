// parts: rows, element, launch
//
// Sums over some axes: output[i] = Σ_j x[i, j], i over the axes that stay, j over those that go.
//
// x at any strides (0 repeats) → output [kept axes]. One invocation adds up one 32-bit word of the output, one f32 or two
// f16, in order of j. A read for an operation: bound by bandwidth.

const F16: bool = false;            // storage of both

struct Params {
  words: u32,                // of the output
  row_words: u32,            // of an output row
  columns: u32,              // elements of an output row
  terms: u32,                // of each sum
  scale: f32,                // multiplies the sums
  kept_shape: vec4<u32>,     // the innermost first; a fifth axis has the rest
  kept_strides: vec4<u32>,   // elements of x
  kept_outer_stride: u32,
  x_offset: u32,
  summed_shape: vec4<u32>,
  summed_strides: vec4<u32>,
  summed_outer_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

const WORKGROUP: u32 = 64u;

fn sum_of(place: u32) -> f32 {
  let axes = row_index(place, params.kept_shape);
  let first = params.x_offset + row_start(axes, params.kept_strides, params.kept_outer_stride);
  var sum = 0.0;
  for (var term = 0u; term < params.terms; term++) {
    let at = row_index(term, params.summed_shape);
    let element = first + row_start(at, params.summed_strides, params.summed_outer_stride);
    sum += decode_element(x[word_index(element, F16)], element, F16);
  }
  return params.scale * sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let word = linear_group(group, groups) * WORKGROUP + lane;
  if word >= params.words { return; }
  if !F16 {
    output[word] = bitcast<u32>(sum_of(word));
    return;
  }
  let column = 2u * (word % params.row_words);
  let place = word / params.row_words * params.columns + column;
  var pair = vec2<f32>(sum_of(place), 0.0);
  if column + 1u < params.columns { pair.y = sum_of(place + 1u); }
  output[word] = encode_pair(pair);
}
