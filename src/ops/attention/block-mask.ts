import type { Tensor } from '../../tensor/tensor.ts';
import type { MaskMod } from './score-mod.ts';

export interface BlockMaskOptions {
  /** Batch entries, or 1 for a mask that is the same in all; default 1. */
  batch?: number;
  /** Query heads, or 1 for a mask that is the same in all; default 1. */
  heads?: number;
  queryLength: number;
  keyLength: number;
  /** Queries and keys of a block, a power of two from 32 to 1024; default 128. */
  blockSize?: number;
}

/**
 * Which blocks of scores a `maskMod` leaves at least partly visible. `createBlockMask` makes it. The caller disposes it,
 * because no scope frees it.
 */
export class BlockMask {
  readonly maskMod: MaskMod;
  /** uint32 [batch, heads, ⌈queryLength / blockSize⌉, ⌈keyLength / blockSize⌉]: 0 nothing, 1 some, 2 all may be attended to. */
  readonly kinds: Tensor;
  readonly batch: number;
  readonly heads: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly blockSize: number;

  /** Not for users. */
  constructor(maskMod: MaskMod, kinds: Tensor, options: Required<BlockMaskOptions>) {
    this.maskMod = maskMod;
    this.kinds = kinds;
    this.batch = options.batch;
    this.heads = options.heads;
    this.queryLength = options.queryLength;
    this.keyLength = options.keyLength;
    this.blockSize = options.blockSize;
    Object.freeze(this);
  }

  get disposed(): boolean {
    return this.kinds.disposed;
  }

  /** The share of blocks that attention does not skip, from 0 to 1. Waits for the GPU. */
  async density(): Promise<number> {
    const kinds = (await this.kinds.data()) as Uint32Array;
    return kinds.filter((kind) => kind !== 0).length / kinds.length;
  }

  /** Frees the blocks' memory, but not the tensors that `maskMod` captured. */
  dispose(): void {
    this.kinds.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
