/** The page's table of all cases of a run, with everything that was measured. */
import { formatBytes, formatError } from '../../src/display/text.ts';
import type { CaseResult, Timing } from '../result.ts';
import { digits, isPositive, NOTHING, percent } from './describe.ts';
import { markup, type Markup } from './markup.ts';

const COLUMNS = ['case', 'kernel', 'GPU ms', 'wall ms', 'GFLOP/s', 'GB/s', 'of the roof', 'extra memory', 'error'];

/** Keeps the order of the cases, under a heading for each op. */
export function casesTable(cases: readonly CaseResult[]): Markup {
  const sections = [...new Set(cases.map(({ op }) => op))].map(
    (op) =>
      markup`<tbody>
<tr><th colspan="${COLUMNS.length}" scope="rowgroup">${op}</th></tr>
${cases.filter((result) => result.op === op).map(row)}
</tbody>`,
  );
  return markup`<div class="scroll" role="region" aria-label="All cases" tabindex="0"><table>
<thead><tr>${COLUMNS.map((title) => markup`<th scope="col">${title}</th>`)}</tr></thead>
${sections}
</table></div>`;
}

function row(result: CaseResult): Markup {
  const { name, op, kernel, gpu, wall, gflops, gbs, roofShare, extraBytes, error, tolerance } = result;
  const width = isPositive(roofShare) ? Math.min(100, 100 * roofShare) : 0;
  return markup`<tr>
<td title="${name}">${withoutOp(name, op)}</td>
<td>${kernel ?? NOTHING}</td>
<td>${times(gpu)}</td>
<td>${times(wall)}</td>
<td>${digits(gflops)}</td>
<td>${digits(gbs)}</td>
<td>${percent(roofShare)}<div class="track"><div class="bar" style="width:${width.toFixed(1)}%"></div></div></td>
<td>${extraBytes === 0 ? 'none' : formatBytes(extraBytes)}</td>
<td class="${error <= tolerance ? 'right' : 'bad'}">${formatError(error)}<small>of ${formatError(tolerance)}</small></td>
</tr>`;
}

function times(timing: Timing | undefined): Markup {
  if (!timing) return markup`${NOTHING}`;
  return markup`${digits(timing.median)}<small>${digits(timing.low)}–${digits(timing.high)}</small>`;
}

/** `1×8×1024×64 causal float32`: the op stands above. */
function withoutOp(name: string, op: string): string {
  const rest = name.startsWith(`${op} `) ? name.slice(op.length + 1) : name;
  return rest.replace(/(?<=\d)x(?=\d)/g, '×');
}
