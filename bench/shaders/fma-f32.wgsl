// parts: fma
//
// The device's rate of f32 fused multiply-adds.

alias Element = f32;
