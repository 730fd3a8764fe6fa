/** The README's table of runtimes, made from what `npm run test:matrix -- --record` kept (results.json). */

/** A cell's last run, and what support.test.ts told of its device. */
export interface SupportResult {
  readonly cell: string;
  readonly runtime: 'node' | 'deno' | 'bun' | 'chromium' | 'firefox';
  readonly version: string;
  /** Day of the run, such as `2026-03-01`. */
  readonly date: string;
  /** Whether only some of the cell's files ran, such as CI's sample. */
  readonly isSample: boolean;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly device: string;
  readonly driver: string;
  /** 0 if kernels may use no subgroups. */
  readonly subgroupSize: number;
  readonly hasFloat16: boolean;
  readonly kernels: { readonly attention: string; readonly gradient: string; readonly matmul: string };
}

const RUNTIMES = {
  node: { name: 'Node', gpu: 'Dawn' },
  bun: { name: 'Bun', gpu: 'Dawn' },
  deno: { name: 'Deno', gpu: '`navigator.gpu` (wgpu)' },
  chromium: { name: 'Chromium', gpu: '`navigator.gpu` (Dawn)' },
  firefox: { name: 'Firefox', gpu: '`navigator.gpu` (wgpu)' },
};

const BEGIN = '<!-- runtimes:begin -->';
const END = '<!-- runtimes:end -->';

/** @throws Error if the document has no markers */
export function withSupport(document: string, results: readonly SupportResult[]): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`the document must hold ${BEGIN} and after it ${END}`);
  return `${document.slice(0, begin)}${BEGIN}\n${supportTable(results)}\n${document.slice(end)}`;
}

function supportTable(results: readonly SupportResult[]): string {
  const head = ['runtime', 'GPU from', 'driver in CI', 'subgroups', 'attention; its gradient; matmul', 'tests passed'];
  const rows = results.map(({ runtime, version, driver, subgroupSize, kernels, ...counts }) => {
    const { name, gpu } = RUNTIMES[runtime];
    const names = [kernels.attention, kernels.gradient, kernels.matmul].map((kernel) => `\`${kernel}\``).join('; ');
    return [
      `${name} ${version}`,
      gpu,
      driver === 'software' ? 'not told' : driver,
      subgroupSize === 0 ? 'none' : `of ${subgroupSize}`,
      names,
      passed(counts),
    ];
  });
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function passed({
  passed: count,
  failed,
  isSample,
  date,
}: Pick<SupportResult, 'passed' | 'failed' | 'isSample' | 'date'>): string {
  const of = failed === 0 ? `all ${count}` : `${count} of ${count + failed}`;
  return `${of}${isSample ? ' of a sample' : ''}, ${date}`;
}
