/** The options of the conformance cases of attention, as this library and its references have them. */
import type { LocalCase, SdpaCase } from '../conformance.ts';
import type { AttentionOptions } from './attention.ts';

export function sdpaOptions(c: SdpaCase): Pick<AttentionOptions, 'mask' | 'isCausal' | 'scale' | 'softcap'> {
  const mask = c.has('mask') ? c.tensor('mask') : c.has('bias') ? c.tensor('bias') : undefined;
  return { mask, isCausal: c.causal, scale: c.scale, softcap: c.softcap };
}

/** Padding hides keys, but the window is aligned to all of them. */
export function localOptions({
  left,
  right,
  align,
  B,
  S,
  key_lens: lengths,
}: LocalCase): Required<Pick<AttentionOptions, 'window'>> & Pick<AttentionOptions, 'keyMask'> {
  const isReal = (at: number) => at % S < lengths![Math.floor(at / S)];
  return {
    window: { left, right, align: align === 'square' ? 'top-left' : align },
    keyMask: lengths && { shape: [B, S], data: Uint8Array.from({ length: B * S }, (_, at) => Number(isReal(at))) },
  };
}
