/** The report of a run as one HTML page that needs nothing else: no script, no font, no image from anywhere. */
import type { Drawing } from '../../src/display/drawing.ts';
import type { BenchResult } from '../result.ts';
import { casesTable } from './cases-table.ts';
import { day, digits, driverName, FAMILIES, familyOf, NOTHING, rate } from './describe.ts';
import { swatch } from './family-style.ts';
import { drawMemory, drawTimes, lengthGroups, type LengthGroup } from './lengths.ts';
import { EMPTY, markup, Markup } from './markup.ts';
import { peersSection } from './peers-section.ts';
import { dotsOf, drawRoofline } from './roofline.ts';
import { STYLE } from './style.ts';

/** The whole page. It says so, or leaves a section out, if the result lacks a float16 rate, GPU times or peers. */
export function renderHtml(result: BenchResult, drawing: Drawing): string {
  const title = `Attention kernels on ${result.device.name}`;
  const page = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p class="subtitle">Measured with webgpu-attention ${result.versions.package} on ${day(result.date)}</p>
${facts(result)}
</header>
<main>
${deviceSection(result)}
${rooflineSection(result, drawing)}
${lengthSection(result, drawing)}
${result.peers && result.peers.rows.length > 0 ? peersSection(result.peers) : EMPTY}
${casesSection(result)}
${failuresSection(result)}
</main>
</body>
</html>
`;
  return page.text;
}

function facts({ device, versions, host }: BenchResult): Markup {
  const { vendor, architecture, description } = device;
  const entries = [
    ['driver', [driverName(device), description === device.name ? '' : description]],
    ['maker', [vendor, architecture]],
    ['runtime', [versions.runtime, versions.webgpu]],
    ['host', [host.cpu, `${host.cores} cores`, host.platform]],
  ] as const;
  return markup`<dl class="facts">
${entries.map(([name, parts]) => markup`<div><dt>${name}</dt><dd>${parts.filter(Boolean).join(', ') || NOTHING}</dd></div>`)}
</dl>`;
}

function deviceSection({ roof }: BenchResult): Markup {
  const entries = [
    ['float32 arithmetic', rate(roof.f32Gflops)],
    ['float16 arithmetic', roof.f16Gflops === undefined ? 'none' : rate(roof.f16Gflops)],
    ['copy bandwidth', `${digits(roof.copyGBs)} GB/s`],
    ['one more dispatch', `${digits(roof.dispatchUs)} µs`],
    ['one more pass', `${digits(roof.passUs)} µs`],
    ['one more submit', `${digits(roof.submitUs)} µs`],
  ] as const;
  return markup`<h2>What the device can do</h2>
<p>Measured in the same run by kernels that do nothing else.</p>
<dl class="roof">
${entries.map(([name, value]) => markup`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;
}

const ROOFLINE_SIZES = { wide: { width: 1080, height: 520 }, narrow: { width: 460, height: 460 } };

function rooflineSection({ cases, roof }: BenchResult, drawing: Drawing): Markup {
  const dots = dotsOf(cases);
  if (dots.length === 0) return EMPTY;
  const drawn = (['wide', 'narrow'] as const).map(
    (kind) => markup`<div class="${kind}">${drawRoofline(dots, roof, ROOFLINE_SIZES[kind], drawing)}</div>`,
  );
  return markup`<h2>How close to the roof</h2>
<p>Each mark is a case, at the operations and bytes that its problem needs. The lines are what this device was measured to
do, in copies that no cache holds and in multiply-adds that use no tensor cores: the nearer the better, and above them lies
only what stays in a cache or runs on tensor cores.</p>
<figure>${legend(
    dots.map(({ result }) => result),
    drawing,
  )}
${drawn}</figure>`;
}

function legend(cases: BenchResult['cases'], drawing: Drawing): Markup {
  const families = FAMILIES.filter((family) => cases.some((result) => familyOf(result) === family));
  const items = families.map((family) => markup`<li>${swatch(family, 'float32', drawing)}${family}</li>`);
  if (cases.some(({ dtype }) => dtype === 'float16'))
    items.push(markup`<li class="muted">filled: float32, hollow: float16</li>`);
  return markup`<ul class="legend">${items}</ul>`;
}

function lengthSection({ cases }: BenchResult, drawing: Drawing): Markup {
  const groups = lengthGroups(cases);
  if (groups.length === 0) {
    return markup`<h2>Time and memory against length</h2>
<p>No attention was measured at more than one length, so there is no curve to draw.</p>`;
  }
  return markup`<h2>Time and memory against length</h2>
<p>Both axes are logarithmic: what grows with the square of the length is twice as steep as what grows with the length.
Dashed lines are causal. Memory is inputs and outputs, which are shaded, and the most that was in use beyond them.</p>
${groups.map((group) => lengthPair(group, drawing))}`;
}

function lengthPair(group: LengthGroup, drawing: Drawing): Markup {
  return markup`<h3>${group.title}</h3>
<div class="pair"><figure>${drawTimes(group, drawing)}</figure><figure>${drawMemory(group, drawing)}</figure></div>`;
}

function casesSection({ cases }: BenchResult): Markup {
  if (cases.length === 0) return EMPTY;
  const untimed = cases.filter(({ gpu }) => !gpu).length;
  const clock =
    untimed === 0
      ? 'Rates are by the GPU’s own clock.'
      : untimed === cases.length
        ? 'This device has no timestamp queries, so there are no GPU times, and rates are by wall time.'
        : 'Cases without a GPU time have their rates by wall time.';
  return markup`<h2>All cases</h2>
<p>Medians, with the 95 % bootstrap interval below. ${clock} A rate counts the operations and bytes that the problem
needs, whatever the kernel did. The error is the largest absolute difference from float64 on sampled rows, over what was
tolerated.</p>
${casesTable(cases)}`;
}

function failuresSection({ failures = [] }: BenchResult): Markup {
  if (failures.length === 0) return EMPTY;
  return markup`<h2>Without figures</h2>
<p>The result was wrong, or the case could not run.</p>
<ul>
${failures.map(({ name, reason }) => markup`<li><strong>${name}</strong>: <span class="bad">${reason}</span></li>`)}
</ul>`;
}
