/** Dropout of attention weights, as the attention modules have it: in training mode alone. */

export interface AttentionDropoutOptions {
  /**
   * The probability with which each attention weight is dropped in training mode, after the softmax; what is kept is divided
   * by 1 − dropoutP. From 0 to 1, default 0.
   */
  dropoutP?: number;
}

export interface AttentionDropoutForwardOptions {
  /** Determines which weights are dropped, on every device alike; default the device's next seed, another one each time. */
  dropoutSeed?: number;
}

/** What the op is to drop: nothing outside of training mode. */
export function droppedBy(
  { training, dropoutP }: { readonly training: boolean; readonly dropoutP: number },
  dropoutSeed: number | undefined,
): { dropoutP?: number; dropoutSeed?: number } {
  return training && dropoutP > 0 ? { dropoutP, dropoutSeed } : {};
}
