/** Losses against steps, as an SVG that stands alone. */
import * as plot from '@observablehq/plot';
import { DOMParser } from 'linkedom';

const SIZE = { width: 760, height: 420 };
const MARGINS = { marginLeft: 52, marginRight: 150, marginTop: 32, marginBottom: 44 };
const TITLE = 32;
const LINE = 15;
const COLOURS = ['#0a5fc0', '#7d6200', '#0a7450', '#6b3fa0'];
const LEVEL_COLOUR = '#b3261e';
/** How many points of the training loss make one of its average. */
const AVERAGED = 20;

/**
 * @param {object} curves
 * @param {string} curves.title
 * @param {string} curves.unit of the loss
 * @param {readonly number[]} curves.training one a step
 * @param {readonly { step: number, losses: Readonly<Record<string, number>> }[]} curves.validation
 * @param {Readonly<Record<string, number>>} curves.levels to compare with
 */
export function drawLossCurve({ title, unit, training, validation, levels }) {
  const document = new DOMParser().parseFromString('<svg/>', 'image/svg+xml');
  const steps = training.map((loss, i) => ({ step: i + 1, loss }));
  const names = Object.keys(validation.at(-1)?.losses ?? {});
  const last = Math.max(steps.length, 1);
  const compared = Object.entries(levels).map(([name, loss]) => ({ name, loss, colour: LEVEL_COLOUR }));
  const validated = names.map((name, i) => ({
    name,
    loss: validation.at(-1).losses[name],
    colour: COLOURS[i % COLOURS.length],
    points: validation.map(({ step, losses }) => ({ step, loss: losses[name] })),
  }));
  const drawn = plot.plot({
    document,
    ...SIZE,
    ...MARGINS,
    x: { label: 'step', labelAnchor: 'center', labelArrow: 'none', domain: [0, last] },
    y: { label: unit, grid: true, zero: true },
    marks: [
      plot.lineY(steps, { x: 'step', y: 'loss', stroke: '#b4bcc8', strokeWidth: 1 }),
      plot.lineY(
        steps,
        plot.windowY({ k: Math.min(AVERAGED, last), strict: false }, { x: 'step', y: 'loss', stroke: '#5b6472' }),
      ),
      ...compared.map(({ loss, colour }) => plot.ruleY([loss], { stroke: colour, strokeDasharray: '5 4' })),
      ...validated.flatMap(({ points, colour }) => [
        plot.line(points, { x: 'step', y: 'loss', stroke: colour, strokeWidth: 2 }),
        plot.dot(points, { x: 'step', y: 'loss', fill: colour, r: 2.5 }),
      ]),
    ],
  });
  const y = drawn.scale('y');
  drawn.querySelector('style')?.remove(); // its rules are meant for web pages
  drawn.setAttribute('y', TITLE);
  const { width } = SIZE;
  const height = TITLE + SIZE.height;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
      `role="img" font-family="sans-serif" fill="#222" color="#222">`,
    `<title>${escape(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    `<text x="16" y="24" font-size="16" font-weight="bold">${escape(title)}</text>`,
    drawn.outerHTML,
    ...labelEnds([...compared, ...validated], (loss) => TITLE + y.apply(loss)),
    '</svg>\n',
  ].join('\n');
}

/** The lines' names and last losses, right of the ends, moved down where they would meet. */
function labelEnds(lines, heightOf) {
  let free = 0;
  return lines
    .toSorted((a, b) => b.loss - a.loss)
    .map(({ name, loss, colour }) => {
      const y = Math.max(free, heightOf(loss) + 4);
      free = y + LINE;
      const x = SIZE.width - MARGINS.marginRight + 8;
      return `<text x="${x}" y="${y.toFixed(1)}" font-size="12" fill="${colour}">${escape(name)} ${loss.toFixed(3)}</text>`;
    });
}

function escape(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
