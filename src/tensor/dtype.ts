export type DType = 'float32' | 'float16' | 'bool' | 'int32' | 'uint32';

export const DTYPES: readonly DType[] = ['float32', 'float16', 'bool', 'int32', 'uint32'];

export type FloatDType = 'float32' | 'float16';

/** What `data()` gives for each dtype. */
export type TensorData = Float32Array | Uint8Array | Int32Array | Uint32Array;

/** Bytes of one stored element. A float16 pair shares a 32-bit word, four bools share one. */
export const BYTES: Readonly<Record<DType, number>> = { float32: 4, float16: 2, bool: 1, int32: 4, uint32: 4 };
