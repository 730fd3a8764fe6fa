// A tensor that lies row-major from its buffer's start, read in order of its storage. f16 rows are padded to whole words, and
// what lies in the padding is nobody's.

struct FlatOperand {
  vectors: u32,            // of 16 bytes, that it takes
  size: u32,               // elements, the padding included
  columns: u32,            // elements of a row; of all rows, where there is no padding
  pitch: u32,              // elements from a row to the next
}

// Which of the four elements from `element` on lie in a row.
fn lies_in_rows(operand: FlatOperand, element: u32) -> vec4<bool> {
  let places = vec4<u32>(0u, 1u, 2u, 3u) + element;
  let exists = places < vec4<u32>(operand.size);
  if operand.pitch == operand.columns { return exists; }
  return exists & (places % vec4<u32>(operand.pitch) < vec4<u32>(operand.columns));
}
