/** The section that compares the three attention ops. */
import { Background, startAndStop } from '../background/background.ts';
import type { CompareEvent, ComparedOp } from '../background/tasks.ts';
import { element } from '../elements.ts';
import { drawChart } from './chart.ts';

const OPS: Readonly<Record<ComparedOp, string>> = {
  scaledDotProductAttention: 'materialised',
  flashAttention: 'flash',
  localAttention: 'local',
};
const MB = 1e6;
/** No memory at all has no place on a logarithmic axis. */
const LEAST_MEMORY = 1e-3;

type Figures = NonNullable<CompareEvent['figures']>;

export function showCompare(): void {
  const longest = element<HTMLSelectElement>('longest');
  const causal = element<HTMLInputElement>('compare-causal');
  const status = element('compare-status');
  const background = new Background();
  let events: CompareEvent[] = [];

  function draw(): void {
    const series = (value: (figures: Figures) => number) =>
      (Object.keys(OPS) as ComparedOp[]).map((op) => ({
        colour: `var(--${OPS[op]})`,
        points: events.flatMap(({ op: measured, length, figures }) =>
          measured === op && figures ? [{ x: length, y: value(figures) }] : [],
        ),
      }));
    const axes = { label: 'tokens', xType: 'log', yType: 'log', hasDots: true } as const;
    drawChart(
      element('chart-time'),
      series(({ time }) => time),
      axes,
    );
    drawChart(
      element('chart-memory'),
      series(({ memory }) => Math.max(memory / MB, LEAST_MEMORY)),
      axes,
    );
    drawChart(
      element('chart-error'),
      series(({ error }) => error),
      axes,
    );
  }

  function writeBars(): void {
    const length = Math.max(...events.map((event) => event.length));
    const last = events.filter((event) => event.length === length);
    const most = (value: (figures: Figures) => number) =>
      Math.max(...last.map(({ figures }) => (figures ? value(figures) : 0)));
    const [slowest, largest, worst] = [
      most(({ time }) => time),
      most(({ memory }) => memory),
      most(({ error }) => error),
    ];
    element('bars-caption').textContent = `At ${length.toLocaleString('en')} tokens`;
    element('bars').replaceChildren(
      ...last.map(({ op, figures, failure }) => {
        const row = document.createElement('tr');
        row.className = OPS[op];
        const name = document.createElement('th');
        name.scope = 'row';
        name.textContent = op;
        row.append(name);
        if (figures) {
          const { time, isGpuTime, memory, error, kernel, reason } = figures;
          row.append(
            barCell(`${digits(time)} ms${isGpuTime ? '' : ' (host)'}`, time / slowest),
            barCell(memory === 0 ? 'none' : `${digits(memory / MB)} MB`, memory / largest),
            barCell(error.toExponential(1), error / worst),
            cell(`${kernel}: ${reason}`),
          );
        } else {
          const why = cell(failure ?? '');
          why.colSpan = 4;
          row.append(why);
        }
        return row;
      }),
    );
  }

  startAndStop(element<HTMLButtonElement>('compare-start'), status, background, async () => {
    events = [];
    const input = { longest: Number(longest.value), isCausal: causal.checked };
    await background.run('compare', input, (event) => {
      events.push(event);
      status.textContent = `Measured ${event.op} at ${event.length} tokens …`;
      draw();
      writeBars();
    });
    return `Measured in a worker, in ${input.isCausal ? 'causal' : 'full'} attention. Lower is better everywhere.`;
  });
  new ResizeObserver(draw).observe(element('chart-time'));
}

function barCell(text: string, share: number): HTMLTableCellElement {
  const made = cell(text);
  made.className = 'number';
  const bar = document.createElement('span');
  bar.className = 'bar-line';
  bar.style.width = `${Number.isFinite(share) ? 100 * share : 0}%`;
  made.append(bar);
  return made;
}

function cell(text: string): HTMLTableCellElement {
  const made = document.createElement('td');
  made.textContent = text;
  return made;
}

function digits(value: number): string {
  return String(Number(value.toPrecision(3)));
}
