/** The colours of attention heatmaps, on light and on dark ground. */

/** What is drawn: each has a colour in either theme, and a CSS variable, such as `--attention-heatmap-paper`. */
export type Paint = keyof typeof LIGHT;

export type Theme = Readonly<Record<Paint, string>>;

/**
 * A cell is `weight` laid over `paper`, as opaque as the weight is large. That runs straight through sRGB from one to the other,
 * and so in nearly even steps of lightness (CIE L*: 100 to 28 on light ground, 8 to 70 on dark). Weak and strong are what numbers
 * are written in on weak and on strong cells, with a contrast of at least 4.5 at every weight if they change at `STRONG`.
 */
const LIGHT = {
  paper: '#ffffff',
  ink: '#1c2330',
  muted: '#5b6472',
  line: '#c3cad4',
  weight: '#0b3d91',
  weak: '#000000',
  strong: '#ffffff',
  bad: '#c2410c',
};

const DARK: Theme = {
  paper: '#14181f',
  ink: '#e6e9ee',
  muted: '#9ba5b4',
  line: '#414a58',
  weight: '#79b0f5',
  weak: '#ffffff',
  strong: '#000000',
  bad: '#fb923c',
};

export const THEMES: Readonly<Record<'light' | 'dark', Theme>> = { light: LIGHT, dark: DARK };

/** The share of the scale above which a cell is strong. */
export const STRONG = 0.7;

/** Red, green and blue of `#rrggbb`, 0 to 255. */
export function rgb(colour: string): [number, number, number] {
  const bits = Number.parseInt(colour.slice(1), 16);
  return [bits >> 16, (bits >> 8) & 255, bits & 255];
}
