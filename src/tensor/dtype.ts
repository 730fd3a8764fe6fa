export type DType = 'float32' | 'float16' | 'bool' | 'int32' | 'uint32';

export const DTYPES: readonly DType[] = ['float32', 'float16', 'bool', 'int32', 'uint32'];

export type FloatDType = 'float32' | 'float16';

/** What caches keep keys and values as: floats, or integers of 8 or 4 bits with scales. */
export type CacheDType = FloatDType | 'int8' | 'int4';

export const CACHE_DTYPES: readonly CacheDType[] = ['float32', 'float16', 'int8', 'int4'];

interface DataTypes {
  float32: Float32Array;
  float16: Float32Array;
  bool: Uint8Array;
  int32: Int32Array;
  uint32: Uint32Array;
}

/** What `data()` gives for a dtype. */
export type TensorData<D extends DType = DType> = DataTypes[D];

/**
 * A dtype as far as types tell tensors apart: the two floats are one, because `data()` gives both as a Float32Array. So
 * `let x = device.randn(shape); x = relu(x);` needs no annotation.
 */
export type DTypeKind<D extends DType> = D extends FloatDType ? FloatDType : D;

/** Bytes of one stored element. A float16 pair shares a 32-bit word, four bools share one. */
export const BYTES: Readonly<Record<DType, number>> = { float32: 4, float16: 2, bool: 1, int32: 4, uint32: 4 };
