/** The packages that draw charts. */
import type * as Plot from '@observablehq/plot';

/** Optional peers of this package: a program that draws nothing need not install them. */
export interface Drawing {
  readonly plot: typeof Plot;
  /** A DOM for use outside of browsers. */
  readonly document: unknown;
}

export const DRAWING_PACKAGES = ['@observablehq/plot', 'linkedom'] as const;

/** Undefined if the packages are not installed. */
export async function loadDrawing(): Promise<Drawing | undefined> {
  try {
    const [plot, { DOMParser }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
    return { plot, document: new DOMParser().parseFromString('<svg/>', 'image/svg+xml') };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}
