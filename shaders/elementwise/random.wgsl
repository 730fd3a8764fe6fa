// parts: launch, random
//
// Random numbers: uniform in (-s, s), or normal with mean 0 and deviation s (Box & Muller, "A note on the generation of random
// normal deviates", 1958). Only the seed, the stream and an element's row-major index n decide: words n mod 4 (uniform) or those of
// a pair of neighbours (normal) of Philox at ⌊n / 4⌋.
//
// All arithmetic is on integers. WGSL leaves the last bits of f32 to the driver, and most bits of cos and log. So the numbers are
// the same on every device, bit for bit. A normal number before its last rounding is within 10⁻⁷ of the exact √(−2 ln u) cos(2πv).
//
// output of any shape, row-major; f32, or f16 rounded from that. One invocation computes four columns of one row: some 500
// operations (normal: 1400) for 16 bytes (f32).

const F16: bool = false;         // storage of the output
const NORMAL: bool = false;

struct Params {
  quads: u32,             // of the output
  row_quads: u32,         // of an output row
  columns: u32,
  output_pitch: u32,      // elements between output rows
  seed: vec2<u32>,        // low and high 32 bits
  stream: u32,            // keeps tensors of one seed apart
  mantissa: u32,          // s: 32 bits, the highest of which is set
  exponent: u32,          // that of an f32's bits, less 1, for a `magnitude` of 2³¹
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;    // f32 or f16

const WORKGROUP: u32 = 256u;
const STREAM: u32 = 0x72616e64u;  // keeps its numbers apart from those of other kernels

fn multiply_high(a: u32, b: u32) -> u32 {
  return multiply_wide(a, b).y;
}

// One step of Horner's scheme: sum · x + term, with x in units of 2⁻³².
fn horner(sum: i32, x: u32, term: i32) -> i32 {
  let high = multiply_high(bitcast<u32>(sum), x);
  return term + bitcast<i32>(high - select(0u, x, sum < 0));
}

// −ln(1 − t) / t for t up to ½, in units of 2⁻³⁰, within 2⁻²⁴.
fn logarithm(t: u32) -> u32 {
  var sum = horner(1511781998, t, -1750426474);
  sum = horner(sum, t, 1293873819);
  sum = horner(sum, t, -194961072);
  sum = horner(sum, t, 284055805);
  sum = horner(sum, t, 261388961);
  sum = horner(sum, t, 358266836);
  sum = horner(sum, t, 536864198);
  return bitcast<u32>(horner(sum, t, 1073741845));
}

// (1 − √(1 − t)) / t for t up to ½, in units of 2⁻³¹, within 2⁻²⁵.
fn root(t: u32) -> u32 {
  var sum = horner(224074902, t, -185656239);
  sum = horner(sum, t, 153105077);
  sum = horner(sum, t, 30708256);
  sum = horner(sum, t, 87658626);
  sum = horner(sum, t, 133973740);
  sum = horner(sum, t, 268441368);
  return bitcast<u32>(horner(sum, t, 1073741801));
}

// sin(π/2 · f), in units of 2⁻³⁰, within 2⁻²⁶.
fn sine(f: u32) -> u32 {
  let square = multiply_high(f, f);
  var sum = horner(162856, square, -5018824);
  sum = horner(sum, square, 85566398);
  sum = horner(sum, square, -693598306);
  return multiply_high(f, bitcast<u32>(horner(sum, square, 1686629706)));
}

const LN_2: u32 = 93032640u;           // 2²⁷ ln 2
const SQRT_HALF: u32 = 3037000500u;    // 2³² √½

// √(−2 ln u) in units of 2⁻²⁹, for u = (bits | 1) / 2³², which is (1 − t) / 2^halvings.
fn radius(bits: u32) -> u32 {
  let halvings = countLeadingZeros(bits | 1u);
  let t = 0u - ((bits | 1u) << halvings);
  // near u = 1, a small t keeps its precision
  let raised = select(0u, countLeadingZeros(t), halvings == 0u);
  let tail = multiply_high(t << raised, logarithm(t));
  let whole = select((tail >> 3u) + halvings * LN_2, tail, halvings == 0u);
  // −2 ln u = (1 − below) · 2^exponent, with 1 − below at least ½
  let zeros = countLeadingZeros(whole);
  let exponent = select(6i, 3i - i32(raised), halvings == 0u) - i32(zeros);
  let below = 0u - (whole << zeros);
  var length = ~(multiply_high(below, root(below)) << 1u);
  if (exponent & 1) != 0 { length = multiply_high(length, SQRT_HALF); }
  return length >> u32(3 - ((exponent + 1) >> 1u));
}

// The f32 nearest to ± magnitude · s in the units of `exponent`, ties to even, as its bits.
fn scaled(sign: u32, magnitude: u32) -> u32 {
  if magnitude == 0u { return 0u; }
  let zeros = countLeadingZeros(magnitude);
  let product = multiply_wide(magnitude << zeros, params.mantissa);
  let is_short = (product.y >> 31u) == 0u;
  let high = select(product.y, (product.y << 1u) | (product.x >> 31u), is_short);
  let rest = select(product.x, product.x << 1u, is_short);
  let cut = (high & 0xffu) | select(0u, 1u, rest != 0u);    // what 24 bits do not hold
  let rounds_up = cut > 0x80u || (cut == 0x80u && (high & 0x100u) != 0u);
  let exponent = params.exponent - zeros - select(0u, 1u, is_short);
  return (sign << 31u) | ((exponent << 23u) + (high >> 8u) + select(0u, 1u, rounds_up));
}

// The f16 nearest to an f32 below 65,504, ties to even. pack2x16float may flush small values, and round as it likes.
fn half_of(bits: u32) -> u32 {
  let exponent = (bits >> 23u) & 0xffu;
  let magnitude = bits & 0x7fffffffu;
  let is_small = exponent < 113u;                          // below 2⁻¹⁴, in units of 2⁻²⁴
  let shift = select(13u, min(126u - exponent, 25u), is_small);
  let whole = select(magnitude - (112u << 23u), (bits & 0x7fffffu) | 0x800000u, is_small);
  let rounded = (whole + (1u << (shift - 1u)) - 1u + ((whole >> shift) & 1u)) >> shift;
  return rounded | ((bits >> 16u) & 0x8000u);
}

fn uniform_number(word: u32) -> u32 {
  let number = 2 * i32(word >> 8u) - 0xffffff;             // odd, in units of 2⁻²⁴
  return scaled(u32(number < 0), u32(abs(number)));
}

fn normal_pair(words: vec2<u32>) -> vec2<u32> {
  let length = radius(words.x);
  let angle = (words.y << 2u) | 2u;                        // within its quarter; the other two bits choose the quarter
  let across = multiply_high(length, sine(0u - angle));
  let along = multiply_high(length, sine(angle));
  return vec2<u32>(scaled(words.y >> 31u, across), scaled((words.y >> 30u) & 1u, along));
}

// The bits of the four f32 that share a draw with element `index`.
fn numbers_at(index: u32) -> vec4<u32> {
  let words = philox(vec4<u32>(index >> 2u, params.stream, 0u, STREAM), params.seed);
  if NORMAL { return vec4<u32>(normal_pair(words.xy), normal_pair(words.zw)); }
  return vec4<u32>(uniform_number(words.x), uniform_number(words.y), uniform_number(words.z), uniform_number(words.w));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let quad = linear_group(group, groups) * WORKGROUP + lane;
  if quad >= params.quads { return; }
  let row = quad / params.row_quads;
  let column = 4u * (quad % params.row_quads);
  let count = min(4u, params.columns - column);

  var index = row * params.columns + column;
  var numbers = numbers_at(index);
  var kept = vec4<u32>(0u);
  for (var i = 0u; i < count; i++) {
    if i > 0u && (index & 3u) == 0u { numbers = numbers_at(index); }  // in rows that begin within four
    let bits = numbers[index & 3u];
    kept[i] = bits;
    if F16 { kept[i] = half_of(bits); }
    index += 1u;
  }
  let element = row * params.output_pitch + column;
  if F16 {  // whole words, because rows are padded to them
    output[element >> 1u] = kept.x | (kept.y << 16u);
    if count > 2u { output[(element >> 1u) + 1u] = kept.z | (kept.w << 16u); }
    return;
  }
  for (var i = 0u; i < count; i++) { output[element + i] = kept[i]; }
}
