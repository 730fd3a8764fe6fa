import type { MemoryUse } from '../gpu/buffers.ts';
import type { DType } from './dtype.ts';
import { formatShape, type Shape } from './shape.ts';

/** A tensor's memory, which its views share. */
export interface Allocation {
  /** As it was made; views may have others. */
  readonly shape: Shape;
  readonly dtype: DType;
  /** Bytes of the buffer. */
  readonly bytes: number;
  /** The line of your program that made it, on a device with `debug: true`. */
  readonly madeAt?: string;
}

/** Allocations that are alike in everything. */
export interface LivingTensors extends Allocation {
  /** How many there are. */
  readonly count: number;
}

export interface MemoryDetail extends MemoryUse {
  /** What makes up `live`, that with the most bytes in all first. */
  readonly tensors: readonly LivingTensors[];
}

export function groupAlike(allocations: Iterable<Allocation>): LivingTensors[] {
  const groups = new Map<string, { -readonly [Key in keyof LivingTensors]: LivingTensors[Key] }>();
  for (const allocation of allocations) {
    const { shape, dtype, bytes, madeAt } = allocation;
    const key = [dtype, formatShape(shape), bytes, madeAt].join(' ');
    const group = groups.get(key);
    if (group) group.count++;
    else groups.set(key, { ...allocation, count: 1 });
  }
  return [...groups.values()].sort((a, b) => b.bytes * b.count - a.bytes * a.count);
}
