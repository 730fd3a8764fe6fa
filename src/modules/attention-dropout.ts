/** Dropout of attention weights in the attention modules, which drop only in training mode. */

export interface AttentionDropoutOptions {
  /**
   * The probability with which each attention weight is dropped in training mode, after the softmax. The others are divided
   * by 1 − dropoutP. From 0 to 1, default 0.
   */
  dropoutP?: number;
}

export interface AttentionDropoutForwardOptions {
  /** Determines which weights are dropped, the same on every device. Default the device's next seed, a new one each time. */
  dropoutSeed?: number;
}

/** The dropout options for the op: none outside training mode. */
export function droppedBy(
  { training, dropoutP }: { readonly training: boolean; readonly dropoutP: number },
  dropoutSeed: number | undefined,
): { dropoutP?: number; dropoutSeed?: number } {
  return training && dropoutP > 0 ? { dropoutP, dropoutSeed } : {};
}
