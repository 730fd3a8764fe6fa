/** How each family of ops looks in every chart: a colour of the page's style sheet, and a symbol that needs no colour. */
import type { Drawing } from '../../src/display/drawing.ts';
import type { CaseResult } from '../result.ts';
import type { Family } from './describe.ts';
import { Markup } from './markup.ts';

const SYMBOL = {
  matmul: 'square',
  softmax: 'triangle',
  materialised: 'diamond',
  flash: 'circle',
  cache: 'hexagon',
  local: 'cross',
  modules: 'star',
} as const;

export function colour(family: Family): string {
  return `var(--${family})`;
}

/** float32 is filled, float16 hollow. */
export function dotStyle<T>(family: Family, dtypeOf: (datum: T) => CaseResult['dtype']) {
  return {
    symbol: SYMBOL[family],
    r: 4,
    stroke: colour(family),
    strokeWidth: 1.5,
    fill: (datum: T) => (dtypeOf(datum) === 'float32' ? colour(family) : 'var(--paper)'),
  };
}

/** The symbol alone, for legends. */
export function swatch(family: Family, dtype: CaseResult['dtype'], { plot, document }: Drawing): Markup {
  const dot = plot.dot([0], { ...dotStyle(family, () => dtype), frameAnchor: 'middle' });
  const options = { document: document as never, className: 'plot', width: 14, height: 14, margin: 0, marks: [dot] };
  return new Markup((plot.plot(options) as { outerHTML: string }).outerHTML);
}
