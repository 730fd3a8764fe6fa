/** Bars of this library and its peers, one group for each problem. */
import { formatError } from '../../src/display/text.ts';
import type { PeerEntry, PeersResult } from '../result.ts';
import { day, digits, NOTHING } from './describe.ts';
import { EMPTY, markup, type Markup } from './markup.ts';
import { compareRow, isOurs, type Comparison } from './peers.ts';

export function peersSection({ date, rows }: PeersResult): Markup {
  return markup`<h2>Against its peers</h2>
<p>Wall time from the call to the end of the wait, medians; shorter is better. The libraries took turns, one process each,
on the same device on ${day(date)}. The line at a bar’s end is the 95 % bootstrap interval. The best peer is the fastest WebGPU library
whose result is right. A hatched bar shows a wrong result.</p>
<div class="peers">
${rows.map((row) => group(compareRow(row)))}
</div>`;
}

function group(comparison: Comparison): Markup {
  const { name, entries } = comparison.row;
  const own = entries.filter(({ isWebGpu }) => isWebGpu).sort(byTime);
  const others = entries.filter(({ isWebGpu }) => !isWebGpu).sort(byTime);
  // a CPU library is shown for scale only and must not shrink the bars that are compared
  const compared = own.some(({ timing }) => timing) ? own : others;
  const most = Math.max(Number.MIN_VALUE, ...compared.map(({ timing }) => timing?.high ?? 0));
  return markup`<section>
<h3>${name}</h3>
<p class="verdict">${verdict(comparison)}</p>
<ul>
${own.map((entry) => bar(entry, most))}
</ul>
${others.length === 0 ? EMPTY : markup`<p class="scale">for scale, on the CPU</p><ul>${others.map((entry) => bar(entry, most))}</ul>`}
</section>`;
}

function byTime(a: PeerEntry, b: PeerEntry): number {
  return (a.timing?.median ?? Infinity) - (b.timing?.median ?? Infinity);
}

function verdict({ row, ours, best, ratio }: Comparison): Markup {
  const own = row.entries.find(isOurs);
  if (!own) return markup`not measured with ours`;
  if (!ours) return markup`<span class="bad">no ratio: ours ${own.timing ? 'is wrong' : 'failed'}</span>`;
  if (ratio === undefined) return markup`no peer on WebGPU gave a right result`;
  return markup`<strong>${digits(ratio)}× as fast</strong> as ${best!.library}, the best peer`;
}

function bar(entry: PeerEntry, most: number): Markup {
  const { library, version, timing, error, isRight, isWebGpu, failure } = entry;
  const isWrong = isRight === false;
  const kind = isWrong ? 'wrong' : isOurs(entry) ? 'ours' : isWebGpu ? 'peer' : 'cpu';
  const label = markup`<span>${library} <span class="muted">${version}</span></span>`;
  if (!timing) {
    return markup`<li class="${kind}"><div class="name">${label}<span class="muted">${NOTHING}</span></div>
<div class="muted">${failure ?? 'not measured'}</div></li>`;
  }
  const share = (time: number) => (100 * Math.min(1, time / most)).toFixed(2);
  const { median, low, high } = timing;
  const interval = markup`<div class="interval" style="left:${share(low)}%;right:calc(100% - ${share(high)}%)"></div>`;
  const wrong = markup`<span class="bad">wrong${error === undefined ? '' : `, off by ${formatError(error)}`}</span> · `;
  return markup`<li class="${kind}${median > most ? ' beyond' : ''}"><div class="name">${label}
<span>${isWrong ? wrong : EMPTY}${digits(median)} ms</span></div>
<div class="track"><div class="bar" style="width:${share(median)}%"></div>${median > most ? EMPTY : interval}</div></li>`;
}
