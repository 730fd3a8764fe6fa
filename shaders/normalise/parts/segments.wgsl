// Rows of `segments` × `columns` elements, because several axes may be normalised together. They are read four neighbours at a
// time. Needs `params` (shape: SegmentedRows) from the shader that uses it.

struct SegmentedRows {
  rows: u32,
  segments: u32,
  columns: u32,
  row_pitch: u32,  // elements between rows
  pitch: u32,      // elements between segments
}

// Quads of a row.
fn row_quads() -> u32 {
  return params.shape.segments * segment_quads();
}

fn segment_quads() -> u32 {
  return (params.shape.columns + 3u) / 4u;
}

// The segment and the first column of quad number `number` of a row.
fn segment_place(number: u32) -> vec2<u32> {
  return vec2<u32>(number / segment_quads(), 4u * (number % segment_quads()));
}

// Elements between the beginning of a row and a place.
fn place_offset(place: vec2<u32>) -> u32 {
  return place.x * params.shape.pitch + place.y;
}
