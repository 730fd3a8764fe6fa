// parts: launch
//
// Copies the rows of some pages of a cache into other pages of it, in place, where a sequence is about to write into a
// page that another one holds too (copy-on-write, as PagedAttention, Kwon et al. 2023):
//
//     keys[to, h, r, :] = keys[from, h, r, :]      values[to, h, r, :] = values[from, h, r, :]      r < rows
//
// for each (from, to, rows) of the table. No page is both read and written. keys [pages, Hkv, page_size, D], values
// [pages, Hkv, page_size, Dv] of rows that begin at a word. One invocation copies one 32-bit word, those of a page's keys
// first. Bound by bandwidth.

struct Params {
  words: u32,               // of keys and values of all pages to copy
  key_words: u32,           // of a page
  value_words: u32,
  key_row_words: u32,
  value_row_words: u32,
  page_size: u32,           // rows
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;          // [copies, 3]
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;     // [pages, Hkv, page_size, D]
@group(0) @binding(3) var<storage, read_write> values: array<u32>;   // [pages, Hkv, page_size, Dv]

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear_group(group, groups) * 256u + lane;
  if index >= params.words { return; }
  let page_words = params.key_words + params.value_words;
  let copy = 3u * (index / page_words);
  let origin = table[copy];
  let destination = table[copy + 1u];
  let rows = table[copy + 2u];
  let word = index % page_words;
  if word < params.key_words {
    if (word / params.key_row_words) % params.page_size >= rows { return; }
    keys[destination * params.key_words + word] = keys[origin * params.key_words + word];
  } else {
    let rest = word - params.key_words;
    if (rest / params.value_row_words) % params.page_size >= rows { return; }
    values[destination * params.value_words + rest] = values[origin * params.value_words + rest];
  }
}
