// Where a row of a strided tensor begins: its index along the axes before the row, of which there are at most five.

struct RowIndex {
  inner: vec4<u32>,  // along four axes, the innermost first
  outer: u32,        // along the one before them
}

fn row_index(row: u32, shape: vec4<u32>) -> RowIndex {
  var rest = row;
  var inner = vec4<u32>();
  for (var i = 0u; i < 4u && rest > 0u; i++) {  // division is dear, and the first row of few axes is common
    inner[i] = rest % shape[i];
    rest /= shape[i];
  }
  return RowIndex(inner, rest);
}

fn row_start(index: RowIndex, strides: vec4<u32>, outer_stride: u32) -> u32 {
  return dot(index.inner, strides) + index.outer * outer_stride;
}
