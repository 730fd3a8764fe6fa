/** What this room knows of gradients: nothing but who keeps them. The tape itself lies above, and is handed down. */
import type { Shape } from './shape.ts';
import type { Tensor } from './tensor.ts';

/** Where a tensor came from and its gradient goes. Made by the tape; tensors hold it as they hold their storage. */
export interface Origin {
  /** The user's own, whose gradient is kept; else the result of a call. */
  readonly isLeaf: boolean;
  grad: Tensor | undefined;
  hold(): void;
  release(): void;
}

/** How a view was taken of another tensor. */
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
