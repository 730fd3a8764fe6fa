/** The command `bench`: options in; a table, files and an exit code out. */
import { access, constants, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pc from 'picocolors';
import { chooseCases, type Choice } from '../../bench/choose.ts';
import { digits, percent, rate } from '../../bench/report/describe.ts';
import { saveResult } from '../../bench/result-file.ts';
import { formatResult } from '../../bench/result-text.ts';
import type { BenchResult, CaseResult, Timing } from '../../bench/result.ts';
import { runBench } from '../../bench/run.ts';
import { ArgumentError, WebGPUAttentionError, type Device } from '../index.ts';
import { DRAWING_PACKAGES, loadDrawing, type Drawing } from '../display/drawing.ts';
import { deviceLine, formatBytes, formatError, table } from '../display/text.ts';

/** The options as the user gave them. */
export interface BenchOptions extends Choice {
  readonly runs?: string;
  /** `-` is stdout, which then receives nothing else. */
  readonly json?: string;
  readonly html?: string;
  /** Keep the result in `bench/results`, under the device's name. */
  readonly save?: boolean;
  /** Kernels are pinned, so the result does not show the device's own choices. */
  readonly isPinned?: boolean;
}

export interface Terminal {
  readonly print: (text: string) => void;
  /** Receives everything else while the result goes to stdout. */
  readonly note: (text: string) => void;
  /** Overwrites one line; absent in a log. */
  readonly progress?: (line: string) => void;
}

/** A case gave a wrong result or could not run. */
export class BenchFailure extends WebGPUAttentionError {
  override name = 'BenchFailure';
}

const RESULTS = join('bench', 'results');

/**
 * Checks everything that needs no device, so that no mistake costs minutes.
 *
 * @returns the run; it throws BenchFailure at its end if a case has no figures
 */
export async function prepareBench(
  options: BenchOptions,
  terminal: Terminal,
): Promise<(device: Device) => Promise<void>> {
  const choose = chooseCases(options);
  const runs = parseRuns(options.runs);
  const { shape, op, filter, isPinned } = options;
  if (options.save && (isPinned || (shape ?? op ?? filter ?? options.runs) !== undefined)) {
    throw new ArgumentError(
      'bench: --save must come without --op, --shape, --filter, --runs and --kernel: it keeps whole runs of the defaults',
    );
  }
  for (const path of [options.json === '-' ? undefined : options.json, options.html]) {
    if (path !== undefined) await access(dirname(path), constants.W_OK);
  }
  const drawing = options.html === undefined ? undefined : await requireDrawing();
  return async (device) => {
    const print = options.json === '-' ? terminal.note : terminal.print;
    const { limits } = device.runtime;
    const cases = choose({ ...limits, isSoftware: device.info.isSoftware });
    print(`Device: ${deviceLine(device.info)}\n`);
    let result: BenchResult;
    try {
      result = await runBench(device, { cases, runs, progress: progressOf(cases.length, terminal.progress) });
    } finally {
      terminal.progress?.('');
    }
    print(roofLine(result));
    if (result.cases.length > 0) print(`${casesTable(result.cases)}\n${LEGEND}`);
    for (const path of await writeFiles(result, options, drawing, terminal.print)) print(`Written: ${path}`);
    failOnFailures(result);
  };
}

function parseRuns(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new ArgumentError(`bench: --runs must be a whole number of 1 or more, got '${text}'`);
}

async function requireDrawing(): Promise<Drawing> {
  const drawing = await loadDrawing();
  if (drawing) return drawing;
  throw new ArgumentError(`bench: --html must find the packages that draw: npm install ${DRAWING_PACKAGES.join(' ')}`);
}

const BAR_WIDTH = 20;

function progressOf(total: number, line: Terminal['progress']): ((name: string, done: number) => void) | undefined {
  return (
    line &&
    ((name, done) => {
      const filled = Math.round((BAR_WIDTH * done) / total);
      line(`${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)} ${done}/${total} ${name} …`);
    })
  );
}

function roofLine({ roof }: BenchResult): string {
  return [
    'Measured on it: ' +
      [
        `${rate(roof.f32Gflops)} in float32`,
        roof.f16Gflops === undefined ? 'no float16 arithmetic' : `${rate(roof.f16Gflops)} in float16`,
        `${digits(roof.copyGBs)} GB/s copied`,
      ].join(', '),
    `One more dispatch costs ${digits(roof.dispatchUs)} µs, pass ${digits(roof.passUs)} µs, submit ${digits(roof.submitUs)} µs\n`,
  ].join('\n');
}

function casesTable(cases: readonly CaseResult[]): string {
  const head = ['case', 'GPU ms', 'wall ms', 'GFLOP/s', 'GB/s', 'of roof', 'memory', 'error'];
  const rows = cases.map(({ name, kernel, gpu, wall, gflops, gbs, roofShare, extraBytes, error }) => [
    // the op has its own line, so that the table fits a terminal
    name.replace(' ', kernel ? ` ${pc.dim(`(${kernel})`)}\n` : '\n'),
    times(gpu),
    times(wall),
    digits(gflops),
    digits(gbs),
    percent(roofShare),
    extraBytes === 0 ? '0' : formatBytes(extraBytes),
    pc.green(formatError(error)),
  ]);
  return table(head, rows);
}

/** The median above its interval. */
function times(timing: Timing | undefined): string {
  return timing ? `${digits(timing.median)}\n${pc.dim(`${digits(timing.low)}–${digits(timing.high)}`)}` : '–';
}

const LEGEND =
  'Milliseconds: median, and its 95 % bootstrap interval. Rates: of what the problem needs, whatever the kernel does;\n' +
  'the roof is what the measured arithmetic and bandwidth allow such a problem. Memory: beyond inputs and outputs.\n' +
  'Error: largest absolute difference from float64 on sampled rows.';

/** @returns the files written */
async function writeFiles(
  result: BenchResult,
  { json, html, save }: BenchOptions,
  drawing: Drawing | undefined,
  print: Terminal['print'],
): Promise<string[]> {
  const written: string[] = [];
  const write = async (path: string, text: string) => {
    await writeFile(path, text);
    written.push(path);
  };
  if (json === '-') print(formatResult(result).trimEnd());
  else if (json !== undefined) await write(json, formatResult(result));
  let drawn = result;
  if (save) {
    const { path, whole } = await saveResult(result, RESULTS);
    written.push(path);
    drawn = whole;
  }
  if (html !== undefined && drawing) {
    const { renderHtml } = await import('../../bench/report/html.ts');
    await write(html, renderHtml(drawn, drawing));
  }
  return written;
}

function failOnFailures({ failures = [] }: BenchResult): void {
  if (failures.length === 0) return;
  const reasons = failures.map(({ name, reason }) => (reason.startsWith(name) ? reason : `${name}: ${reason}`));
  throw new BenchFailure(
    `bench: ${failures.length === 1 ? 'a case has' : `${failures.length} cases have`} no figures: ${reasons.join('; ')}`,
  );
}
