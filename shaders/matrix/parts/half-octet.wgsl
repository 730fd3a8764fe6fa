// Octets: eight neighbouring f16 in a vec4 of words, moved as they are. Kernels need no conversion if f16 values go straight
// into a matrix.

// Whether octets of a matrix lie in one vector each: rows of `columns` elements begin at multiples of `pitch` from
// `base`, and columns lie `step` apart.
fn reads_octets(base: u32, pitch: u32, step: u32, columns: u32) -> bool {
  return step == 1u && ((base | pitch | columns) & 7u) == 0u;
}

// Columns [column, column + 8) of the row that begins at element `row`; zero from `columns` on.
fn octet_of(
  buffer: ptr<storage, array<vec4<u32>>, read>, row: u32, step: u32, column: u32, columns: u32, is_octet: bool,
) -> vec4<u32> {
  if is_octet { return (*buffer)[(row + column) >> 3u]; }
  var octet = vec4<u32>(0u);
  for (var i = column; i < min(column + 8u, columns); i++) {
    let element = row + i * step;
    let half = ((*buffer)[element >> 3u][(element >> 1u) & 3u] >> (16u * (element & 1u))) & 0xffffu;
    octet[(i - column) >> 1u] |= half << (16u * ((i - column) & 1u));
  }
  return octet;
}

// Two neighbouring columns of `count` rows, at most eight, that lie `pitch` apart from an even element on. Zeros follow them.
fn two_columns(
  buffer: ptr<storage, array<vec4<u32>>, read>, element: u32, pitch: u32, count: u32,
) -> array<vec4<u32>, 2> {
  var pairs: array<u32, 8> = array<u32, 8>();
  for (var i = 0u; i < 8u; i++) {
    let at = element + i * pitch;
    if i < count { pairs[i] = (*buffer)[at >> 3u][(at >> 1u) & 3u]; }
  }
  var columns: array<vec4<u32>, 2> = array<vec4<u32>, 2>();
  for (var i = 0u; i < 4u; i++) {
    let low = pairs[2u * i];
    let high = pairs[2u * i + 1u];
    columns[0][i] = (low & 0xffffu) | (high << 16u);
    columns[1][i] = (low >> 16u) | (high & 0xffff0000u);
  }
  return columns;
}

// Bits 15 and 31 of a word are set if that half is NaN or infinite: an exponent of ones carries into the sign.
fn special_bits(octet: vec4<u32>) -> vec4<u32> {
  return ((octet & vec4<u32>(0x7c007c00u)) + vec4<u32>(0x04000400u)) & vec4<u32>(0x80008000u);
}

// NaN and infinities become 0.
fn finite_octet(octet: vec4<u32>) -> vec4<u32> {
  return octet & ~((special_bits(octet) >> vec4<u32>(15u)) * 0xffffu);
}

// Packs eight numbers that f16 can hold.
fn octet_from(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(
    pack2x16float(low.xy), pack2x16float(low.zw), pack2x16float(high.xy), pack2x16float(high.zw));
}
