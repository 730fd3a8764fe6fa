/** The command `tune`, and the option `--kernel` of others. */
import pc from 'picocolors';
import { ArgumentError } from '../index.ts';
import { MOST_HEAD_DIM } from '../tuning/problems.ts';
import type { Device, DeviceOptions, TunedCandidate, TunedChoice, TuneOptions, TuneResult } from '../index.ts';
import { describeClass } from './kernel-tables.ts';
import { deviceLine, formatTime, table } from '../display/text.ts';

/** The options as the user gave them; each word may list several, separated by commas. */
export interface TuneWords {
  readonly op: readonly string[];
  readonly dtype: readonly string[];
  readonly headDim: readonly string[];
  readonly seconds?: string;
}

export interface Terminal {
  readonly print: (text: string) => void;
  /** Overwrites one line; absent in a log. */
  readonly progress?: (line: string) => void;
}

/** Measures every choice again, even those that were remembered: that is what the command is for. */
export async function runTune(device: Device, words: TuneWords, { print, progress }: Terminal): Promise<void> {
  print(`Device: ${deviceLine(device.info)}\n`);
  let result: TuneResult;
  try {
    result = await device.tune({
      ...tuneOptions(words),
      remeasure: true,
      onProgress: ({ done, total, op, dtype, sizeClass, kernel }) =>
        progress?.(`${done}/${total} ${op} ${dtype} ${describeClass(sizeClass)}: ${kernel} …`),
    });
  } finally {
    progress?.('');
  }
  print(choicesTable(result.choices));
  const { keptIn, notKept } = result;
  if (keptIn !== undefined) print(`Later devices of this kind take them too: ${keptIn}`);
  if (notKept !== undefined) print(`${pc.yellow('Not remembered')}: ${notKept}`);
}

/** Passes on only the options that were given; `device.tune()` checks them. */
function tuneOptions({ op, dtype, headDim, seconds }: TuneWords): TuneOptions {
  const options = {
    ops: listOf(op),
    dtypes: listOf(dtype),
    headDims: listOf(headDim)?.map(parseHeadDim),
    timeBudget: seconds === undefined ? undefined : 1000 * parseSeconds(seconds),
  };
  return options as TuneOptions;
}

function parseHeadDim(word: string): number {
  const dim = Number(word);
  if (Number.isInteger(dim) && dim >= 1 && dim <= MOST_HEAD_DIM) return dim;
  throw new ArgumentError(`--head-dim must be whole numbers from 1 to ${MOST_HEAD_DIM}, got '${word}'`);
}

function parseSeconds(word: string): number {
  const seconds = Number(word);
  if (seconds > 0) return seconds;
  throw new ArgumentError(`--seconds must be a positive number, got '${word}'`);
}

function listOf(words: readonly string[]): string[] | undefined {
  return words.length === 0 ? undefined : words.flatMap((word) => word.split(','));
}

function choicesTable(choices: readonly TunedChoice[]): string {
  return table(
    ['op', 'dtype', 'size', 'kernels', 'time', 'chosen', 'speed'],
    choices.map(({ op, dtype, sizeClass, candidates, kernel, speedup }) => [
      op,
      dtype,
      describeClass(sizeClass),
      candidates.map((candidate) => candidate.kernel).join('\n'),
      candidates.map(timeOf).join('\n'),
      kernel,
      speedOf(speedup),
    ]),
  );
}

/** The default comes first among the kernels. */
function speedOf(speedup: number | undefined): string {
  if (speedup === undefined) return pc.dim('not measured');
  return speedup === 1 ? "the default's" : pc.green(`${speedup.toFixed(2)}× the default's`);
}

function timeOf({ milliseconds, note }: TunedCandidate): string {
  const time = milliseconds === undefined ? [] : [formatTime(milliseconds)];
  return [...time, ...(note === undefined ? [] : [pc.dim(shorten(note))])].join(', ');
}

/** A driver's message may be too long for the table. */
function shorten(note: string): string {
  const [line] = note.split('\n');
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

/** Turns `flashAttention=tile-32x32` into what `createDevice` takes; that refuses kernels that the device lacks. */
export function parseKernels(words: readonly string[]): DeviceOptions['kernels'] {
  const pairs = words.flatMap((word) => word.split(',')).map((word) => word.split('='));
  for (const pair of pairs) {
    if (pair.length === 2) continue;
    throw new ArgumentError(`--kernel must be an op and its kernel, such as matmul=subgroup, got '${pair.join('=')}'`);
  }
  return Object.fromEntries(pairs) as DeviceOptions['kernels'];
}
