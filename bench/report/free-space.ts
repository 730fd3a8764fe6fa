/** Finds room for text in a chart: a label is placed only where it covers nothing. Lengths are in pixels. */

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export type Point = readonly [x: number, y: number];

/** A place for a label beside its point. */
export interface Spot {
  readonly dx: number;
  readonly dy: number;
  readonly anchor: 'start' | 'middle' | 'end';
}

/** Centred vertically on y. */
export interface Label {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly anchor: Spot['anchor'];
}

/** The width of a letter in ems, in the widest of the usual sans-serif fonts. */
const LETTER = 0.63;
const WIDE_LETTER = 0.84;
/** The gap on both sides of a label, so that two in one line do not read as one. */
const PADDING = 3;
/** The distance between the boxes that stand for a line. */
const STEP = 4;

export class FreeSpace {
  readonly #frame: Box;
  readonly #fontSize: number;
  readonly #taken: Box[] = [];

  constructor(frame: Box, fontSize: number) {
    this.#frame = frame;
    this.#fontSize = fontSize;
  }

  take(box: Box): void {
    this.#taken.push(box);
  }

  takeDot([x, y]: Point, radius: number): void {
    this.take({ left: x - radius, top: y - radius, right: x + radius, bottom: y + radius });
  }

  /** The straight line between two points, `thickness` wide. */
  takeLine(from: Point, to: Point, thickness = 2): void {
    for (const point of pointsAlong(from, to)) this.takeDot(point, thickness / 2);
  }

  isFree(box: Box): boolean {
    const frame = this.#frame;
    const isInside =
      box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom;
    return isInside && !this.#taken.some((taken) => overlaps(box, taken));
  }

  isLineFree(from: Point, to: Point, thickness: number): boolean {
    const reach = thickness / 2;
    return pointsAlong(from, to).every(([x, y]) =>
      this.isFree({ left: x - reach, top: y - reach, right: x + reach, bottom: y + reach }),
    );
  }

  /** Places the text at the first free spot and takes that; undefined if none is free. */
  place(text: string, [x, y]: Point, spots: readonly Spot[]): Label | undefined {
    for (const { dx, dy, anchor } of spots) {
      const label = { text, x: x + dx, y: y + dy, anchor };
      const box = this.#boxOf(label);
      if (!this.isFree(box)) continue;
      this.take(box);
      return label;
    }
    return undefined;
  }

  #boxOf({ text, x, y, anchor }: Label): Box {
    const width = textWidth(text, this.#fontSize);
    const left = { start: x, middle: x - width / 2, end: x - width }[anchor];
    const half = 0.6 * this.#fontSize;
    return { left: left - PADDING, top: y - half, right: left + width + PADDING, bottom: y + half };
  }
}

/** Estimates from above, because there is no font to measure outside of browsers. */
export function textWidth(text: string, fontSize: number): number {
  const wide = text.match(/[A-Z×±∝%]/g)?.length ?? 0;
  return fontSize * ((text.length - wide) * LETTER + wide * WIDE_LETTER);
}

function pointsAlong([x1, y1]: Point, [x2, y2]: Point): Point[] {
  const steps = Math.max(1, Math.ceil(Math.hypot(x2 - x1, y2 - y1) / STEP));
  return Array.from({ length: steps + 1 }, (_, i): Point => {
    return [x1 + ((x2 - x1) * i) / steps, y1 + ((y2 - y1) * i) / steps];
  });
}

function overlaps(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
