// A row of `segments` × `columns` elements, read four neighbours at a time: the segment and the first column of quad number
// `number` of the row.
fn segment_place(number: u32, columns: u32) -> vec2<u32> {
  let quads = (columns + 3u) / 4u;
  return vec2<u32>(number / quads, 4u * (number % quads));
}
