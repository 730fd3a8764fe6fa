// parts: fma
//
// The device's rate of f16 fused multiply-adds, where it has `shader-f16`.

enable f16;

alias Element = f16;
