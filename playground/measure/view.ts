/** The section that runs the benchmark and hands out its result. */
import { deviceSlug } from '../../bench/environment.ts';
import { digits, percent, rate } from '../../bench/report/describe.ts';
import { formatResult } from '../../bench/result-text.ts';
import type { BenchResult } from '../../bench/result.ts';
import { Background, startAndStop } from '../background/background.ts';
import type { BenchSet } from '../background/tasks.ts';
import { element } from '../elements.ts';

const ISSUE = 'https://github.com/webgpu-attention/webgpu-attention/issues/new?template=benchmark.yml';

export function showMeasure(): void {
  const set = element<HTMLSelectElement>('set');
  const bar = element<HTMLProgressElement>('measure-progress');
  const status = element('measure-status');
  const download = element<HTMLAnchorElement>('download');
  const report = element<HTMLAnchorElement>('report');
  const background = new Background();
  report.href = ISSUE;

  function offer(result: BenchResult): void {
    URL.revokeObjectURL(download.href);
    download.href = URL.createObjectURL(new Blob([formatResult(result)], { type: 'application/json' }));
    download.download = `${deviceSlug(result.device)}.json`;
    download.classList.remove('off');
    download.removeAttribute('aria-disabled');
    report.href = `${ISSUE}&title=${encodeURIComponent(`Benchmark: ${result.device.name}`)}`;
  }

  function write({ cases, failures = [] }: BenchResult): void {
    const row = (cells: readonly string[]) => {
      const made = document.createElement('tr');
      for (const [column, text] of cells.entries()) {
        const cell = document.createElement('td');
        cell.textContent = text;
        if (column > 1) cell.className = 'number';
        made.append(cell);
      }
      return made;
    };
    element('results').replaceChildren(
      ...cases.map(({ name, kernel = '', gpu, wall, gflops, roofShare }) =>
        row([name, kernel, digits((gpu ?? wall).median), digits(gflops), percent(roofShare)]),
      ),
      ...failures.map(({ name, reason }) => row([name, reason, '', '', ''])),
    );
  }

  startAndStop(element<HTMLButtonElement>('measure-start'), status, background, async () => {
    bar.value = 0;
    const result = await background.run('measure', { set: set.value as BenchSet }, ({ name, done, total }) => {
      bar.value = done / total;
      status.textContent = `${done} of ${total}: ${name} …`;
    });
    bar.value = 1;
    offer(result);
    write(result);
    const { roof, device, failures = [] } = result;
    const wrong = failures.length > 0 ? ` ${failures.length} cases failed.` : '';
    return `${device.name}: ${rate(roof.f32Gflops)} in float32, ${digits(roof.copyGBs)} GB/s copied.${wrong}`;
  });
}
