/** The main job: runs the modules, checks them against PyTorch or float64, and draws what they attend to. */
import pc from 'picocolors';
import { WebGPUAttentionError, type Device, type PrepareProgress } from '../index.ts';
import { makeTensors, type SafetensorsFile } from '../io/safetensors.ts';
import { isMatch, measure, timedRuns, type Outcome } from './measure.ts';
import { seededExample } from './seeded-example.ts';
import { TOLERANCE, type ResultName, type Run } from './six-runs.ts';
import { deviceLine, formatError, formatShape, formatTime, table } from '../display/text.ts';
import { writeMaps } from './write-maps.ts';

/** The package that has the example with PyTorch's weights and results. */
export const EXAMPLE_PACKAGE = 'webgpu-attention-six-modules';

export interface DemoOptions {
  readonly runs: readonly Run[];
  /** Inputs, projections and PyTorch's results; absent where their package is not installed. */
  readonly example?: SafetensorsFile;
  /** Where the attention maps go; made if it does not exist. */
  readonly outFolder: string;
  readonly print: (text: string) => void;
  /** Receives a line about what is under way, and '' at the end: a software driver takes seconds for each module. */
  readonly progress?: (line: string) => void;
}

/** A result differs from PyTorch's, or from what the CPU computes in float64. */
export class MismatchError extends WebGPUAttentionError {
  override name = 'MismatchError';
}

/**
 * Prints the device, then a table of the runs, and writes their attention maps.
 *
 * @throws MismatchError at the end if a result differs from the expected one by more than the tolerance
 */
export async function runDemo(device: Device, options: DemoOptions): Promise<void> {
  const { example = seededExample(options.runs), outFolder, print } = options;
  const reference = options.example ? 'PyTorch' : 'the CPU';
  print(`Device: ${deviceLine(device.info)}\n`);
  const outcomes = await measureAll(device, example, options);
  print(outcomeTable(outcomes, reference));
  if (!options.example)
    print(`Weights and inputs: drawn from a seed. npm install ${EXAMPLE_PACKAGE} brings PyTorch's.`);
  print(
    `Error: largest absolute difference from ${reference} in float64; allowed are ${formatError(TOLERANCE.output)} for outputs, ` +
      `${formatError(TOLERANCE.weights)} for weights.\n` +
      `GPU time: one forward in float32, median of ${timedRuns(device)} after a warm-up.\n`,
  );
  await drawMaps(outcomes, example, outFolder, print);
  failOnMismatch(outcomes, reference);
}

async function measureAll(
  device: Device,
  example: SafetensorsFile,
  { runs, progress }: DemoOptions,
): Promise<Outcome[]> {
  const tensors = makeTensors(device, example);
  const outcomes: Outcome[] = [];
  try {
    for (const run of runs) {
      progress?.(`running ${run.name} …`);
      const compiling = ({ done, total }: PrepareProgress) => {
        progress?.(`${done < total ? `compiling kernels ${done}/${total} of` : 'running'} ${run.name} …`);
      };
      outcomes.push(await measure(device, run, tensors, example, compiling));
    }
  } finally {
    progress?.('');
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
  return outcomes;
}

function outcomeTable(outcomes: readonly Outcome[], reference: string): string {
  const head = ['module', 'input', 'output', 'weights', `error against\n${reference}`, 'GPU time'];
  const rows = outcomes.map(({ run, inputShapes, results, gpuTime }) => {
    const shapeOf = (wanted: ResultName) => {
      const result = results.find(({ name }) => name === wanted);
      return result ? formatShape(result.shape) : '–';
    };
    const errors = results.map((result) => {
      const line = `${isMatch(result) ? '✓' : '✗'} ${result.name} ${formatError(result.error)}`;
      return isMatch(result) ? pc.green(line) : pc.red(line);
    });
    return [
      run.name,
      run.inputs.map((name, i) => `${name} ${formatShape(inputShapes[i])}`).join('\n'),
      shapeOf('output'),
      shapeOf('weights'),
      errors.join('\n'),
      formatTime(gpuTime),
    ];
  });
  return table(head, rows);
}

async function drawMaps(
  outcomes: readonly Outcome[],
  example: SafetensorsFile,
  outFolder: string,
  print: (text: string) => void,
): Promise<void> {
  if (!outcomes.some(({ run }) => run.results.includes('weights'))) return;
  const paths = await writeMaps(outcomes, example, outFolder);
  print(`Attention maps:\n${paths.map((path) => `  ${path}`).join('\n')}`);
}

function failOnMismatch(outcomes: readonly Outcome[], reference: string): void {
  const mismatches = outcomes.flatMap(({ run, results }) =>
    results
      .filter((result) => !isMatch(result))
      .map(
        ({ name, error }) => `${run.name}'s ${name} by ${formatError(error)} (allowed ${formatError(TOLERANCE[name])})`,
      ),
  );
  if (mismatches.length > 0)
    throw new MismatchError(`demo: results differ from ${reference}'s: ${mismatches.join(', ')}`);
}
