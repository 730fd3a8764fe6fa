/** Cells of large matrices as pixels. */
import { cellKind, shareOf, type Panel, type Scale, type Scene } from './scene.ts';

/** Pixels of a panel that shows more cells than a picture can have elements. */
export interface Raster {
  readonly width: number;
  readonly height: number;
  /** Cells along each side of a pixel. A pixel shows the largest weight of its cells, so that no strong key is lost. */
  readonly bin: number;
  /** Share of the scale, 0 to 255, of each pixel's weight, row-major. */
  readonly shares: Uint8Array;
  /** 255 where there is a weight, and where there is something that is none. What is left is masked. */
  readonly present: Uint8Array;
  readonly bad: Uint8Array;
}

/** Pixels of a picture, over all heads. */
const MOST_PIXELS = 2 ** 22;
const LARGEST_SIDE = 1024;

export function rasterOf({ weights }: Panel, { rows, columns, panels, scale }: Scene): Raster {
  const side = Math.min(LARGEST_SIDE, Math.floor(Math.sqrt(MOST_PIXELS / panels.length)));
  const bin = Math.ceil(Math.max(rows, columns) / side);
  const [width, height] = [Math.ceil(columns / bin), Math.ceil(rows / bin)];
  const raster = {
    width,
    height,
    bin,
    shares: new Uint8Array(width * height),
    present: new Uint8Array(width * height),
    bad: new Uint8Array(width * height),
  };
  for (let row = 0; row < rows; row++) {
    const line = Math.floor(row / bin) * width;
    for (let column = 0; column < columns; column++) {
      note(raster, line + Math.floor(column / bin), weights[row * columns + column], scale);
    }
  }
  return raster;
}

function note({ shares, present, bad }: Raster, at: number, weight: number, scale: Scale): void {
  const kind = cellKind(weight, scale);
  if (kind === 'masked') return;
  if (kind === 'bad') bad[at] = 255;
  else {
    present[at] = 255;
    shares[at] = Math.max(shares[at], Math.round(255 * shareOf(weight, scale)));
  }
}
