// parts: operand
//
// Rows of a strided tensor: the index of a row along the axes before it (at most five), and the row's place in an operand.

struct RowIndex {
  inner: vec4<u32>,  // along four axes, the innermost first
  outer: u32,        // along the one before them
}

fn row_index(row: u32, shape: vec4<u32>) -> RowIndex {
  var rest = row;
  var inner = vec4<u32>();
  for (var i = 0u; i < 4u && rest > 0u; i++) {  // division is slow, and often the first row of few axes is wanted
    inner[i] = rest % shape[i];
    rest /= shape[i];
  }
  return RowIndex(inner, rest);
}

fn row_start(index: RowIndex, strides: vec4<u32>, outer_stride: u32) -> u32 {
  return dot(index.inner, strides) + index.outer * outer_stride;
}

// The axes before rows that are no RowOperand.
struct RowAxes {
  shape: vec4<u32>,    // four axes, the innermost first
  strides: vec4<u32>,  // elements
  outer_stride: u32,   // of the axis before them
}

// Where a row begins.
fn row_along(axes: RowAxes, row: u32) -> u32 {
  return row_start(row_index(row, axes.shape), axes.strides, axes.outer_stride);
}

// Strides are in elements, 0 along an axis that is repeated.
struct RowOperand {
  strides: vec4<u32>,  // four axes before the row, the innermost first
  outer_stride: u32,   // the one before them
  column_stride: u32,
  offset: u32,         // elements
  vectors: u32,        // four neighbours in a row, from a multiple of four on, always lie in one aligned vector
}

// Columns [column, column + 4) of `columns`.
fn row_quad(operand: RowOperand, row: RowIndex, column: u32, columns: u32) -> Quad {
  let first = operand.offset + row_start(row, operand.strides, operand.outer_stride) + column * operand.column_stride;
  return quad_at(first, operand.column_stride, columns - column, operand.vectors != 0u);
}

// The vector, of `width` elements, at which a row of whole vectors begins.
fn row_vector(operand: RowOperand, row: RowIndex, width: u32) -> u32 {
  return (operand.offset + row_start(row, operand.strides, operand.outer_stride)) / width;
}
