/**
 * Measures kernels on a given device. It opens no device and knows no tape. `createDevice`, above both, gives a device its
 * tuner.
 */
import { ArgumentError, OutOfMemoryError } from '../gpu/errors.ts';
import type { Device } from '../tensor/device.ts';
import { checkOptions, checkWait } from '../tensor/options.ts';
import { normal } from '../tensor/random.ts';
import { sizeOf, type Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { TunedKernel } from '../tensor/traits.ts';
import type { TunedChoice, TuneOptions, TuneResult } from '../tensor/tuning.ts';
import { contest, NO_TIME } from './contest.ts';
import { ownerOf, remember } from './memory.ts';
import { FLOAT_DTYPES, MOST_HEAD_DIM, TUNABLE_OPS, tuningProblems, type TuningProblem } from './problems.ts';
import type { Effort } from './race.ts';

const OPTIONS = ['ops', 'dtypes', 'headDims', 'remeasure', 'timeBudget', 'signal', 'onProgress'];
const DEFAULT_BUDGET_MS = 60_000;

/** A CPU has little time to spare. On a GPU, whose clock varies, more rounds cost little. */
const GPU_EFFORT: Effort = { least: 5, most: 15, milliseconds: 400, warmUp: 20 };
const CPU_EFFORT: Effort = { least: 3, most: 7, milliseconds: 800, warmUp: 0 };

/** A CPU driver may compile a kernel for ten seconds, and kernels that were not made for it will not win. */
const MOST_KERNELS_ON_CPU = 2;

/** The tuner behind `device.tune()`. */
export async function tune(device: Device, options: TuneOptions, keeps: boolean): Promise<TuneResult> {
  device.assertUsable();
  checkTuneOptions(options);
  const { isSoftware } = device.traits;
  const wanted = { ...options, ops: options.ops ?? (isSoftware ? OPS_ON_CPU : TUNABLE_OPS) };
  const problems = tuningProblems(device.traits, wanted).map((problem) => {
    return { ...problem, kernels: candidates(problem, isSoftware) };
  });
  return tuneProblems(device, problems, options, { effort: isSoftware ? CPU_EFFORT : GPU_EFFORT, keeps });
}

/** Those of the gradient may take half a minute to compile there. */
const OPS_ON_CPU = TUNABLE_OPS.filter((op) => op !== 'attentionGradient');

/** The kernels worth compiling. On a GPU, tiles of eight queries load every key for few queries: for many they suit tight limits only. */
export function candidates(
  { kernels, isDecoding = false }: Pick<TuningProblem, 'kernels' | 'isDecoding'>,
  isSoftware: boolean,
): readonly string[] {
  if (isSoftware) return kernels.slice(0, MOST_KERNELS_ON_CPU);
  if (isDecoding) return kernels;
  const [byDefault, ...others] = kernels;
  return [byDefault, ...others.filter((name) => !name.startsWith('tile-8x'))];
}

/** The same for any problems. With `keeps`, results are saved for later devices. */
export async function tuneProblems(
  device: Device,
  problems: readonly TuningProblem[],
  options: TuneOptions,
  { effort, keeps }: { effort: Effort; keeps: boolean },
): Promise<TuneResult> {
  await device.sync({ signal: options.signal }); // so that errors of earlier work are not blamed on a kernel
  const { remeasure = false, timeBudget = DEFAULT_BUDGET_MS, signal, onProgress } = options;
  const end = performance.now() + timeBudget;
  const noise = noiseSource();
  const choices: TunedChoice[] = [];
  let kept: Pick<TuneResult, 'keptIn' | 'notKept'> = keeps ? {} : { notKept: 'remembersTuning is false' };
  for (const problem of problems) {
    signal?.throwIfAborted();
    const { op, dtype, sizeClass } = problem;
    const choice =
      (remeasure ? undefined : known(device, problem)) ??
      (await choose(device, problem, noise, {
        effort,
        isOver: () => performance.now() >= end,
        signal,
        onKernel: (kernel) => {
          signal?.throwIfAborted();
          onProgress?.({ done: choices.length, total: problems.length, op, dtype, sizeClass, kernel });
        },
      }));
    choices.push(choice);
    const { kernel, date, candidates } = choice;
    if (date === undefined || candidates.length === 0) continue;
    const added: ReadonlyMap<string, TunedKernel> = new Map([[problem.key, { kernel, date }]]);
    device.kernels = { ...device.kernels, tuned: new Map([...device.kernels.tuned, ...added]) };
    // save at once, so that nothing is lost if the program ends; if saving fails once, do not try again
    kept = kept.notKept === undefined ? await keep(device, added) : kept;
  }
  signal?.throwIfAborted();
  return { choices, ...kept };
}

async function keep(
  device: Device,
  added: ReadonlyMap<string, TunedKernel>,
): Promise<Pick<TuneResult, 'keptIn' | 'notKept'>> {
  try {
    return { keptIn: await remember(ownerOf(device.info, device.traits), added) };
  } catch (error) {
    return { notKept: (error as Error).message };
  }
}

/** A choice that was remembered. */
function known(device: Device, { op, dtype, sizeClass, key, kernels }: TuningProblem): TunedChoice | undefined {
  const { kernel, date } = device.kernels.tuned.get(key) ?? {};
  if (kernel === undefined || !kernels.includes(kernel)) return undefined;
  return { op, dtype, sizeClass, kernel, date, candidates: [] };
}

async function choose(
  device: Device,
  problem: TuningProblem,
  noise: (length: number) => Float32Array,
  options: Parameters<typeof contest>[3],
): Promise<TunedChoice> {
  const { op, dtype, sizeClass, kernels } = problem;
  const byDefault = (note: string, noted = kernels): TunedChoice => {
    return { op, dtype, sizeClass, kernel: kernels[0], candidates: noted.map((kernel) => ({ kernel, note })) };
  };
  if (kernels.length === 1) return byDefault('the only one');
  if (options.isOver()) return byDefault(NO_TIME);
  let inputs: readonly Tensor[] = [];
  try {
    inputs = noiseTensors(device, problem, noise);
    const { kernel, candidates, speedup } = await contest(device, problem, inputs, options);
    const date = speedup === undefined ? undefined : new Date().toISOString().slice(0, 10);
    return { op, dtype, sizeClass, kernel, date, candidates, speedup };
  } catch (error) {
    // memory may run out because the tuner chose the sizes; any other failure of the default kernel goes to the caller
    if (!(error instanceof OutOfMemoryError)) throw error;
    return byDefault(`failed: ${error.message}`, kernels.slice(0, 1));
  } finally {
    for (const tensor of inputs) tensor.dispose();
  }
}

function noiseTensors(
  device: Device,
  { dtype, inputs }: TuningProblem,
  noise: (length: number) => Float32Array,
): Tensor[] {
  let begin = 0;
  const place = (shape: Shape) => [begin, (begin += sizeOf(shape))];
  const places = inputs.map(place);
  const values = noise(begin);
  return device.scope(() => inputs.map((shape, i) => device.tensor(values.subarray(...places[i]), shape, { dtype })));
}

/** Normal numbers, made once for all problems. */
function noiseSource(): (length: number) => Float32Array {
  let values = new Float32Array(0);
  return (length) => {
    if (values.length < length) values = Float32Array.from({ length }, normal(0));
    return values.subarray(0, length);
  };
}

function checkTuneOptions(options: TuneOptions): void {
  checkOptions('device.tune', options, OPTIONS);
  checkWait('device.tune', options);
  const { ops, dtypes, headDims, remeasure, timeBudget } = options;
  checkList('ops', ops, `names among ${TUNABLE_OPS.join(', ')}`, (op) => TUNABLE_OPS.includes(op));
  checkList('dtypes', dtypes, `names among ${FLOAT_DTYPES.join(', ')}`, (dtype) => FLOAT_DTYPES.includes(dtype));
  checkList(
    'headDims',
    headDims,
    `whole numbers from 1 to ${MOST_HEAD_DIM}`,
    (dim) => Number.isInteger(dim) && dim >= 1 && dim <= MOST_HEAD_DIM,
  );
  const fail = (name: string, expected: string, got: unknown) => {
    throw new ArgumentError(`device.tune: ${name} must be ${expected}, got ${String(got)}`);
  };
  if (remeasure !== undefined && typeof remeasure !== 'boolean') fail('remeasure', 'true or false', remeasure);
  if (timeBudget !== undefined && !(typeof timeBudget === 'number' && timeBudget > 0)) {
    fail('timeBudget', 'a positive number of milliseconds', timeBudget);
  }
}

function checkList<T>(
  name: string,
  list: readonly T[] | undefined,
  expected: string,
  isKnown: (item: T) => boolean,
): void {
  if (list === undefined) return;
  const isGood = Array.isArray(list) && list.length > 0 && list.every(isKnown);
  if (isGood) return;
  throw new ArgumentError(`device.tune: ${name} must be a list of ${expected}, got ${JSON.stringify(list)}`);
}
