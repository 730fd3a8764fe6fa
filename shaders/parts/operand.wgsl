// How a tensor's elements lie in its buffer, and where four neighbours along one of its axes are.
//
// A buffer bound as array<vec4<u32>> is read four neighbours at a time: all at once if they lie in one aligned vector, else one
// by one. WGSL cannot pass a buffer to a function (naga refuses pointers to storage), so each binding has its own reader,
// which looks like this:
//
//     fn x_quad(at: Quad) -> vec4<f32> {
//       if at.is_vector { return decode_quad(x[vector_of(at.first, F16)], at.first, F16); }
//       var quad = vec4<f32>(0.0);
//       for (var i = 0u; i < at.count; i++) {
//         let element = neighbour(at, i);
//         quad[i] = decode_element(x[vector_of(element, F16)][component_of(element, F16)], element, F16);
//       }
//       return quad;
//     }

struct Quad {
  first: u32,       // element of the buffer
  step: u32,        // elements between neighbours
  count: u32,       // how many of the four exist, 0 to 4; the others are read as 0
  is_vector: bool,  // all four lie in one aligned vector
}

// The neighbours from `first` on. `left` elements are left on the axis. `vectors`: four of them always lie in one vector.
fn quad_at(first: u32, step: u32, left: u32, vectors: bool) -> Quad {
  return Quad(first, step, min(left, 4u), vectors && left >= 4u);
}

// True for the first `count` of four lanes.
fn first_lanes(count: u32) -> vec4<bool> {
  return vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count);
}

fn neighbour(at: Quad, i: u32) -> u32 {
  return at.first + i * at.step;
}

// The layout of a tensor of four axes: [batch, head, row, column] in attention.
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
