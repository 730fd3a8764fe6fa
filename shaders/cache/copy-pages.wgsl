// parts: launch
//
// Copies the rows of some pages of a cache into other pages of it, in place. A sequence needs this before it writes to a page
// that another one holds too (copy-on-write, as in PagedAttention, Kwon et al. 2023):
//
//     keys[to, h, r, :] = keys[from, h, r, :]      values[to, h, r, :] = values[from, h, r, :]      r < rows
//
// for each (from, to, rows) of the table. No page is both read and written. keys [pages, Hkv, page size, D], values
// [pages, Hkv, page size, Dv] of rows that begin at a word. One invocation copies one 32-bit word, a workgroup 256 of
// them, those of a page's keys first. Bound by bandwidth.

// The keys or the values of a page.
struct PageWords {
  words: u32,
  row_words: u32,           // words of a row
}

struct Params {
  words: u32,               // words of all pages to copy
  page_size: u32,           // rows
  @align(16) keys: PageWords,
  @align(16) values: PageWords,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;          // [copies, 3]
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;     // [pages, Hkv, page size, D]
@group(0) @binding(3) var<storage, read_write> values: array<u32>;   // [pages, Hkv, page size, Dv]

const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups) * WORKGROUP + lane;
  if index >= params.words { return; }
  let page_words = params.keys.words + params.values.words;
  let copy = 3u * (index / page_words);
  let origin = table[copy];
  let destination = table[copy + 1u];
  let rows = table[copy + 2u];
  var word = index % page_words;
  let is_key = word < params.keys.words;
  var page = params.keys;
  if !is_key {
    page = params.values;
    word -= params.keys.words;
  }
  if (word / page.row_words) % params.page_size >= rows { return; }
  let from_word = origin * page.words + word;
  let to_word = destination * page.words + word;
  if is_key { keys[to_word] = keys[from_word]; } else { values[to_word] = values[from_word]; }
}
