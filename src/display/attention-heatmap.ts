/** Pictures of attention weights, as SVG text and on a canvas. What draws them is loaded with the first. */
import type { Tensor } from '../tensor/tensor.ts';
import type { HeatmapCanvasContext } from './heatmap/canvas.ts';
import type { AttentionHeatmapOptions, HeatmapWeights } from './heatmap/read-heatmap.ts';

export type { HeatmapCanvasContext } from './heatmap/canvas.ts';
export type { AttentionHeatmapOptions, HeatmapWeights } from './heatmap/read-heatmap.ts';

/**
 * Draws attention weights as SVG: one matrix for each head, a row for each query and a column for each key, darker for more weight.
 * Weights of exactly 0, as those of masked keys, are hatched. Runs anywhere and needs no DOM. In pictures of up to 8,192 cells
 * each cell has a tooltip with its tokens and weight. In larger ones cells are pixels, the colours end at the weight up to which
 * 95 % of all attention goes, and beyond 1,024 cells a side (less for many heads) a pixel shows the largest of several weights.
 *
 * Colours are CSS variables with defaults for light and dark: `--attention-heatmap-paper`, `-ink`, `-muted`, `-line`, `-weight`,
 * `-weak`, `-strong` and `-bad`.
 *
 * @param weights [Nq, Nk], [H, Nq, Nk] or [B, H, Nq, Nk]: a tensor of any dtype, which is read and stays the caller's, or numbers
 *   on the host with their shape. Scores may be drawn too; −∞ is masked.
 * @returns the text of an SVG file. Labels and title are escaped, so that it is safe to put into a page.
 * @throws ArgumentError for weights or options that do not fit
 */
export async function attentionHeatmap(
  weights: Tensor | HeatmapWeights,
  options: AttentionHeatmapOptions = {},
): Promise<string> {
  const { writeSvg } = await import('./heatmap/svg.ts');
  return writeSvg('attentionHeatmap', weights, options);
}

/**
 * Draws the picture of `attentionHeatmap` onto a canvas, in a page or a worker. It fills the canvas's ground, and is fitted into
 * its width and height at the top left, whatever the context's transform. For a sharp picture, give the canvas as many pixels as
 * the screen has there (`devicePixelRatio`).
 *
 * @param context of a canvas or an OffscreenCanvas: `canvas.getContext('2d')`
 * @throws ArgumentError for weights or options that do not fit
 */
export async function drawAttentionHeatmap(
  context: HeatmapCanvasContext,
  weights: Tensor | HeatmapWeights,
  options: AttentionHeatmapOptions = {},
): Promise<void> {
  const { drawOnCanvas } = await import('./heatmap/canvas.ts');
  return drawOnCanvas('drawAttentionHeatmap', context, weights, options);
}
