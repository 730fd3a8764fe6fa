// `table` joins a call's small inputs in one buffer (src/ops/internal/table.ts). Uniforms say at which word each begins.

// Says that something is not in `table`.
const ABSENT: u32 = 0xffffffffu;
