import { fold } from '../gpu/divide.ts';
import { ArgumentError } from '../gpu/errors.ts';
import type { View } from '../tensor/tensor.ts';

/** What a launch depends on; `Traits` and `GPUDevice.limits` are one. */
export interface Limits {
  readonly maxComputeWorkgroupsPerDimension: number;
}

/** The layout of an operand: strides by axis, and the first element. Twin of the `*_strides` parameters. */
export interface Operand {
  readonly strides: readonly number[];
  readonly offset: number;
}

/** A tensor's place. The stride of an axis of length 1 is never used, and is given as 0. */
export function operandOf({ shape, strides, offset }: View): Operand {
  return { strides: strides.map((stride, axis) => (shape[axis] === 1 ? 0 : stride)), offset };
}

/** The grid of `count` workgroups. */
export function foldWorkgroups(op: string, count: number, limits: Limits): [number, number, number] {
  const most = limits.maxComputeWorkgroupsPerDimension;
  if (count > most * most) {
    throw new ArgumentError(`${op}: the problem must need at most ${most * most} workgroups, got ${count}`);
  }
  return fold(count, most);
}

/** Whether the elements [i, i + 4) along `axis` always lie in one aligned 16-byte (f16: 8-byte) vector. */
export function readsQuads(operand: Operand, axis: number): boolean {
  return readsVectors(operand, axis, 4);
}

/** Whether `width` elements along `axis`, from a multiple of `width` on, are neighbours that begin at one in memory. */
export function readsVectors({ strides, offset }: Operand, axis: number, width: number): boolean {
  return offset % width === 0 && strides.every((stride, i) => (i === axis ? stride === 1 : stride % width === 0));
}

/** Twin of the uniform structs `Operand`, a tensor of four axes, and `MatrixOperand`, of two (shaders/parts/operand.wgsl). */
export function operandFields(operand: Operand) {
  return {
    strides: operand.strides,
    offset: operand.offset,
    vectors: readsQuads(operand, operand.strides.length - 1) ? 1 : 0,
  };
}

/** An integer whose magnitude is below 2⁵³ as Philox takes it, the low 32 bits first: twin of parts/random.wgsl. */
export function twoWords(value: number): [number, number] {
  return [value >>> 0, Math.floor(value / 2 ** 32) >>> 0];
}

/** Twin of the uniform struct `DropoutParams` (shaders/parts/random.wgsl). With p = 1 nothing is kept. */
export function dropoutFields(p: number, seed: number) {
  return { p, scale: p < 1 ? 1 / (1 - p) : 0, seed: twoWords(seed) };
}
