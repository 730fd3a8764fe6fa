// The class that each row of logits should name. Needs `params` (targets: TargetParams) and `targets` from the shader that
// uses it.

struct TargetParams {
  offset: u32,     // elements
  ignores: u32,    // whether one target is ignored
  ignored: u32,
}

fn target_of(row: u32) -> u32 {
  return targets[params.targets.offset + row];
}

fn is_ignored(target_class: u32) -> bool {
  return params.targets.ignores != 0u && target_class == params.targets.ignored;
}
