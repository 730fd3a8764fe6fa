/** The section that trains a model as one watches. */
import { Background, startAndStop } from '../background/background.ts';
import { drawChart } from '../compare/chart.ts';
import { element } from '../elements.ts';

export function showTraining(): void {
  const steps = element<HTMLSelectElement>('steps');
  const status = element('training-status');
  const sample = element('sample');
  const box = element('chart-loss');
  const background = new Background();
  let losses: { x: number; y: number }[] = [];
  let isDue = false;

  function drawSoon(): void {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      const axes = { label: 'step', xType: 'linear', yType: 'linear' } as const;
      drawChart(box, [{ colour: 'var(--flash)', points: losses }], axes);
    });
  }

  startAndStop(element<HTMLButtonElement>('training-start'), status, background, async () => {
    losses = [];
    sample.textContent = '';
    const total = Number(steps.value);
    const began = performance.now();
    await background.run('train', { steps: total }, (event) => {
      if ('sample' in event) {
        sample.textContent = event.sample;
        return;
      }
      losses.push({ x: event.step, y: event.loss });
      const rate = (event.step / (performance.now() - began)) * 1000;
      status.textContent = `Step ${event.step} of ${total}, loss ${event.loss.toFixed(2)}, ${rate.toFixed(1)} steps a second.`;
      drawSoon();
    });
    const last = losses.at(-1);
    return last
      ? `${last.x} steps done. Loss ${last.y.toFixed(2)}, from ${losses[0].y.toFixed(2)} at the start.`
      : 'Stopped.';
  });
  new ResizeObserver(drawSoon).observe(box);
}
