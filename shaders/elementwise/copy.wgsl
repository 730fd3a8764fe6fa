// parts: element, launch
//
// Copies a strided view, or two views joined along one axis, into fresh row-major storage. It can also convert between f32
// and f16, and split the elements into rows of another length:
//
//     output.flat[n] = x[i₀, …, i₅]                       n = the row-major index of (i₀, …, i₅) in `shape`
//                      y[…, i_axis - split, …]            where i_axis ≥ split
//
// x, y of up to six axes, any strides (0 repeats) → output of as many elements in rows of `output_row`, float16 rows
// padded to whole words. One invocation writes one 32-bit word: one 32-bit element, two f16, or four bools. Bound by
// bandwidth.

const IN_BYTES: u32 = 4u;        // bytes an element of x and y: 4, 2 (f16) or 1 (bool)
const OUT_BYTES: u32 = 4u;
const INVERT: bool = false;      // bools only: writes the logical not
const IS_FLAT: bool = false;     // x's words, in the order in which they lie, are the output's

// Strides are in elements.
struct CopyOperand {
  outer_strides: vec2<u32>, // axes 0 and 1 of six
  offset: u32,              // elements
  strides: vec4<u32>,       // axes 2 to 5
}

struct Params {
  words: u32,               // words to write
  first_word: u32,          // where in the output
  size: u32,                // elements of the output
  row_words: u32,           // words of an output row
  output_row: u32,          // elements of an output row
  split: u32,               // positions of x along `axis`
  axis: u32,
  outer_shape: vec2<u32>,   // axes 0 and 1 of six
  shape: vec4<u32>,         // axes 2 to 5
  x: CopyOperand,
  y: CopyOperand,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> y: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<u32>;

// A loaded word's element as the bits it has in the output.
fn convert(word: u32, element: u32) -> u32 {
  if IN_BYTES == 1u {
    let byte = (word >> (8u * (element & 3u))) & 0xffu;
    if INVERT { return select(0u, 1u, byte == 0u); }
    return byte;
  }
  if IN_BYTES == 4u && OUT_BYTES == 4u { return word; }
  let value = decode_element(word, element, IN_BYTES == 2u);
  if OUT_BYTES == 2u { return encode_pair(vec2<f32>(value, 0.0)); }
  return bitcast<u32>(value);
}

fn load(flat: u32) -> u32 {
  var rest = flat;
  var outer = vec2<u32>();
  var inner = vec4<u32>();
  for (var i = 0u; i < 4u; i++) {
    inner[3u - i] = rest % params.shape[3u - i];
    rest /= params.shape[3u - i];
  }
  outer.y = rest % params.outer_shape.y;
  outer.x = rest / params.outer_shape.y;
  let position = select(outer[params.axis & 1u], inner[(params.axis - 2u) & 3u], params.axis >= 2u);
  if position < params.split {
    let element = params.x.offset + dot(outer, params.x.outer_strides) + dot(inner, params.x.strides);
    return convert(x[element * IN_BYTES / 4u], element);
  }
  if params.axis >= 2u { inner[params.axis - 2u] -= params.split; } else { outer[params.axis] -= params.split; }
  let element = params.y.offset + dot(outer, params.y.outer_strides) + dot(inner, params.y.strides);
  return convert(y[element * IN_BYTES / 4u], element);
}

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let word = linear_group(group, groups) * WORKGROUP + lane;
  if word >= params.words { return; }
  if IS_FLAT {
    output[params.first_word + word] = x[params.x.offset * IN_BYTES / 4u + word];
    return;
  }
  let count = 4u / OUT_BYTES;
  var bits = 0u;
  for (var i = 0u; i < count; i++) {
    let column = (word % params.row_words) * count + i;
    var flat = (word / params.row_words) * params.output_row + column;
    var is_padding = column >= params.output_row;
    if OUT_BYTES == 1u { // rows of bools are not padded: a word may hold the end of one and the start of the next
      flat = 4u * word + i;
      is_padding = flat >= params.size;
    }
    if !is_padding { bits |= load(flat) << (8u * OUT_BYTES * i); }
  }
  output[params.first_word + word] = bits;
}
