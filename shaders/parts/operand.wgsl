// parts: quad
//
// The layout of a tensor of four axes in its buffer: [batch, head, row, column] in attention.

struct Operand {
  strides: vec4<u32>,  // elements; 0 along an axis that is repeated
  offset: u32,         // elements
  vectors: u32,        // four neighbours along the last axis, from a multiple of four on, always lie in one aligned vector
}

// The element at which a row begins.
fn row_of_operand(operand: Operand, row: vec3<u32>) -> u32 {
  return operand.offset + dot(operand.strides.xyz, row);
}

// Columns [column, column + 4) of the row that begins at element `row` and has `columns` columns.
fn operand_quad(operand: Operand, row: u32, column: u32, columns: u32) -> Quad {
  return quad_at(row + column * operand.strides.w, operand.strides.w, columns - column, operand.vectors != 0u);
}

// The same for a tensor of two axes.
struct MatrixOperand {
  strides: vec2<u32>,  // elements: row, column
  offset: u32,         // elements
  vectors: u32,        // as above
}

// Columns [column, column + 4) of `columns`, of a row.
fn matrix_quad(operand: MatrixOperand, row: u32, column: u32, columns: u32) -> Quad {
  let first = operand.offset + dot(vec2<u32>(row, column), operand.strides);
  return quad_at(first, operand.strides.y, columns - column, operand.vectors != 0u);
}
