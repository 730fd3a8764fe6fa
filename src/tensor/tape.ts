/** All that this room knows about gradients: who keeps them. The tape itself is above, and is passed in. */
import type { Shape } from './shape.ts';
import type { Tensor } from './tensor.ts';

/** Where a tensor came from and its gradient goes. The tape makes it. Tensors hold it as they hold their storage. */
export interface Origin {
  /** Whether it is the user's own tensor, whose gradient is kept, rather than the result of a call. */
  readonly isLeaf: boolean;
  grad: Tensor | undefined;
  hold(): void;
  release(): void;
}

/** How a view was made from another tensor. */
export type ViewStep =
  | { readonly kind: 'reshape' | 'expand'; readonly from: Shape }
  | { readonly kind: 'transpose'; readonly axes: readonly [number, number] }
  | { readonly kind: 'slice'; readonly axis: number; readonly start: number };

/** What `Device` and `Tensor` hold of the tape. */
export interface Tape {
  leaf(tensor: Tensor): Origin;
  viewed(source: Tensor, view: Tensor, step: ViewStep): void;
  backward(root: Tensor, gradient?: Tensor): void;
}
