// The least that a dispatch can do: it counts itself. Each waits for the one before, as in a forward pass.

@group(0) @binding(0) var<storage, read_write> count: array<u32>;

@compute @workgroup_size(1)
fn main() {
  count[0] += 1u;
}
