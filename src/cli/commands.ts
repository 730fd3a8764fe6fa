/** The command line: parses it, opens the device, and turns errors into messages and an exit code. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { cac } from 'cac';
import pc from 'picocolors';
import { version } from '../../package.json';
import { ArgumentError, createDevice, WebGPUAttentionError } from '../index.ts';
import type { Device, DeviceOptions } from '../index.ts';
import { parseSafetensors, type SafetensorsFile } from '../io/safetensors.ts';
import { nearest } from '../tensor/options.ts';
import { EXAMPLE_PACKAGE, runDemo } from './demo.ts';
import { printInfo } from './info.ts';
import { chooseRuns, SIX_RUNS } from './six-runs.ts';
import { parseKernels, runTune } from './tune.ts';

const COMMANDS = ['demo', 'info', 'shader', 'tune', 'bench', 'generate'];
const EXAMPLE = 'six-modules.safetensors';

/**
 * Runs one command line.
 *
 * @param argv as `process.argv`
 * @param packageRoot where package.json lies, with a slash at the end
 * @returns the exit code
 */
export async function runCommandLine(argv: readonly string[], packageRoot: URL): Promise<number> {
  try {
    await dispatch(joinWords(argv), packageRoot);
    return 0;
  } catch (error) {
    console.error(`${pc.red('error:')} ${explain(error)}`);
    return 1;
  }
}

/** PyTorch's weights and results: in the repository, else from their own package; undefined if that is not installed. */
async function findExample(packageRoot: URL): Promise<SafetensorsFile | undefined> {
  const places = [new URL(`examples/six-modules/${EXAMPLE}`, packageRoot)];
  try {
    const { resolve } = createRequire(new URL('package.json', packageRoot));
    places.push(pathToFileURL(resolve(`${EXAMPLE_PACKAGE}/${EXAMPLE}`)));
  } catch {
    // it is optional
  }
  const place = places.find((url) => existsSync(url));
  return place && parseSafetensors(await readFile(place));
}

async function dispatch(argv: string[], packageRoot: URL): Promise<void> {
  const cli = cac('webgpu-attention');
  cli.version(version).help();
  const adapter = [
    '--adapter <kind>',
    'hardware, software, lavapipe or embedded; by default the best there is',
  ] as const;
  cli
    .command('demo', "Run the six modules, check them against PyTorch's results or float64, draw their attention maps")
    .option('--module <name>', `Run one alone: ${SIX_RUNS.map(({ name }) => name).join(', ')}`)
    .option(...adapter)
    .option('--out <folder>', 'Where the attention maps go', { default: 'attention-maps' })
    .action(async (options: Record<'module' | 'adapter' | 'out', Given>) => {
      const runs = chooseRuns(single('module', options.module));
      const outFolder = single('out', options.out)!;
      const example = await findExample(packageRoot);
      await withDevice(options, (device) =>
        runDemo(device, { runs, example, outFolder, print: console.log, progress: progressLine() }),
      );
    });
  cli
    .command('info', 'Show the adapter, its limits and features, and which kernels are chosen on it')
    .option(...adapter)
    .option(...EXPERIMENTAL)
    .option(...KERNEL)
    .action(({ kernel, ...options }: DeviceWords & { kernel: Given }) =>
      withDevice({ ...options, kernels: parseKernels(several(kernel)) }, (device) => printInfo(device, console.log)),
    );
  const shader = cli.command('shader [op]', 'Print the WGSL that the device would compile for a call, whole');
  for (const [flag, description] of SHADER_OPTIONS) shader.option(flag, description);
  shader
    .option(...adapter)
    .example((name) => `  $ ${name} shader flashAttention --shape 1x8x2048x64 --dtype float16 --causal`)
    .action(
      async (
        op: string | undefined,
        options: Record<ShaderWord, Given> & Record<ShaderSwitch | 'list', boolean | undefined> & DeviceWords,
      ) => {
        const { prepareShader, printShaderList } = await import('./shader.ts');
        if (options.list) return withDevice(options, (device) => printShaderList(device, console.log));
        const words = Object.fromEntries(SHADER_WORDS.map((name) => [name, single(name, options[name])]));
        const switches = Object.fromEntries(SHADER_SWITCHES.map((name) => [name, options[name]]));
        const { kernels, run } = prepareShader(op, { ...words, ...switches }, packageRoot, console.log);
        await withDevice({ ...options, kernels }, run);
      },
    );
  cli
    .command('tune', 'Measure which kernels are the fastest on the adapter; ops take them from then on')
    .option('--op <names>', 'flashAttention, localAttention, matmul; by default all')
    .option('--dtype <types>', 'float32, float16; by default both')
    .option('--head-dim <lengths>', 'Head dims of attention; by default 32, 64, 128 and 256, on a CPU driver 64')
    .option('--seconds <count>', 'Try no further kernel after this long; by default 60')
    .option(...adapter)
    .option(...EXPERIMENTAL)
    .example((name) => `  $ ${name} tune --op flashAttention --head-dim 64,128`)
    .action((options: DeviceWords & Record<'op' | 'dtype' | 'headDim' | 'seconds', Given>) => {
      const [op, dtype, headDim] = [options.op, options.dtype, options.headDim].map(several);
      const words = { op, dtype, headDim, seconds: single('seconds', options.seconds) };
      return withDevice(options, (device) => runTune(device, words, { print: console.log, progress: progressLine() }));
    });
  const bench = cli.command('bench', 'Measure the device, then the kernels on it, each checked against float64 first');
  for (const [flag, description] of BENCH_OPTIONS) bench.option(flag, description);
  bench
    .option(...adapter)
    .example((name) => `  $ ${name} bench --op flashAttention --shape 1x8x1024x64 --causal`)
    .action(
      async (options: Record<BenchWord | 'kernel', Given> & Record<BenchSwitch, boolean | undefined> & DeviceWords) => {
        const kernels = parseKernels(several(options.kernel));
        const words = Object.fromEntries(BENCH_WORDS.map((name) => [name, single(name, options[name])]));
        const switches = Object.fromEntries(BENCH_SWITCHES.map((name) => [name, options[name]]));
        // loaded here, because only benchmarks need it
        const { prepareBench } = await import('./bench.ts');
        const run = await prepareBench(
          { ...words, ...switches, isPinned: kernels !== undefined && Object.keys(kernels).length > 0 },
          { print: console.log, note: console.error, progress: progressLine() },
        );
        await withDevice({ ...options, kernels }, run);
      },
    );
  cli
    .command('bench compare <before> <after>', 'What became faster or slower between two results of bench --json')
    .option('--threshold <share>', 'Fail where a case is slower by more than this share; by default 0.05')
    .action(async (before: string, after: string, options: Record<'threshold', Given>) => {
      const { runCompare } = await import('./bench-compare.ts');
      await runCompare([before, after], single('threshold', options.threshold), console.log);
    });
  const generate = cli.command('generate', 'Write text with a language model of the Llama architecture');
  for (const [flag, description] of GENERATE_OPTIONS) generate.option(flag, description);
  generate
    .option(...adapter)
    .example(
      (name) => `  $ ${name} generate --model stories15M.bin --tokenizer tokenizer.bin --prompt 'Once upon a time'`,
    )
    .action(async (options: Record<GenerateWord, Given> & { paged?: boolean; lookup?: boolean } & DeviceWords) => {
      const words = Object.fromEntries(GENERATE_WORDS.map((name) => [name, single(name, options[name])]));
      const { prepareGenerate } = await import('./generate.ts');
      const run = await prepareGenerate(
        { ...words, prompt: words['prompt']?.slice(TEXT_MARK.length), paged: options.paged, lookup: options.lookup },
        { write: (text) => void process.stdout.write(text), note: console.error, progress: progressLine() },
      );
      await withDevice(options, run);
    });
  const { args, options } = cli.parse(argv, { run: false });
  if (cli.matchedCommand) await cli.runMatchedCommand();
  else if (options['help'] || options['version']) return; // cac has printed it
  else if (args.length > 0) throw unknownCommand(args[0]);
  else cli.outputHelp();
}

const EXPERIMENTAL = [
  '--experimental',
  'Let the device offer features that are not standard yet, such as subgroup matrices',
] as const;

const KERNEL = ['--kernel <op=name>', 'Pin the kernel of an op, such as flashAttention=tile-32x32'] as const;

const SHADER_OPTIONS = [
  ['--list', 'Show the ops, what they take, and the kernels that --kernel can name'],
  ['--shape <lengths>', 'The lengths that --list names for the op; by default an example'],
  ['--dtype <type>', 'float32 or float16; by default float32'],
  ['--causal', 'Hide later keys'],
  ['--window <left,right>', 'Keys to the left and right; -1 is unbounded'],
  ['--keys <count>', 'Number of keys; by default that of the queries'],
  ['--kv-heads <count>', 'Heads of keys and values, where queries share them'],
  ['--mask <type>', 'bool or float'],
  ['--softcap <number>', 'Bound the scores'],
  ['--dropout <probability>', 'Drop this share of the weights; for dropout, of the elements'],
  ['--backward', "Print the gradient's kernels instead of the op's own"],
  ['--kernel <name>', "A kernel of the op, or op=name; by default the device's own choice"],
  EXPERIMENTAL,
] as const;

const SHADER_WORDS = ['shape', 'dtype', 'window', 'keys', 'kvHeads', 'mask', 'softcap', 'dropout', 'kernel'] as const;
const SHADER_SWITCHES = ['causal', 'backward'] as const;

type ShaderWord = (typeof SHADER_WORDS)[number];
type ShaderSwitch = (typeof SHADER_SWITCHES)[number];

const BENCH_OPTIONS = [
  ['--full', 'Run every case that fits the device, rather than the most telling ones'],
  ['--filter <word>', 'Run only cases whose name contains this'],
  [
    '--op <name>',
    'Run only cases of this op (name.train: forward and backward); with --shape, the op of your own problem',
  ],
  ['--shape <lengths>', 'A problem of your own: BxHxNxD of attention, batchxMxNxK of matmul, BxNxE of modules'],
  ['--dtype <type>', 'float32 or float16, with --shape'],
  ['--causal', 'Hide later keys, with --shape'],
  ['--window <keys>', 'Keys to either side, with --shape of attention'],
  ['--keys <count>', 'Number of keys, with --shape of attention; by default that of the queries'],
  ['--runs <count>', 'Timed runs of each case; by default as many as fit in about a second'],
  EXPERIMENTAL,
  KERNEL,
  ['--json <file>', 'Write the result; - is stdout'],
  ['--html <file>', 'Write the result as a page with charts'],
  ['--save', "Keep the result in bench/results, under the device's name"],
] as const;

const GENERATE_OPTIONS = [
  ['--model <file>', "llama2.c's .bin; or a Hugging Face folder, or the .safetensors in it"],
  ['--tokenizer <file>', "llama2.c's tokenizer.bin, or tokenizer.json; by default the one in the model's folder"],
  ['--prompt <text>', 'The beginning of the text; by default the begin token'],
  ['--tokens <count>', 'Write at most this many tokens; by default 256'],
  ['--temperature <number>', '0 always takes the likeliest token; by default 1'],
  ['--seed <number>', 'The same seed gives the same text; by default a random seed'],
  ['--dtype <type>', 'dtype of the weights: float32 or float16; by default float32'],
  ['--cache-dtype <type>', 'dtype of keys and values: float32 or float16; by default that of the weights'],
  ['--paged', 'Keep keys and values in pages'],
  ['--lookup', 'Draft tokens by looking the end of the text up in the text; the text stays the same'],
] as const;

const GENERATE_WORDS = [
  'model',
  'tokenizer',
  'prompt',
  'tokens',
  'temperature',
  'seed',
  'dtype',
  'cacheDtype',
] as const;

type GenerateWord = (typeof GENERATE_WORDS)[number];

/** Goes before a text, because cac takes a text for a number or for switches if it looks like them. */
const TEXT_MARK = '=';

const BENCH_WORDS = ['filter', 'op', 'shape', 'dtype', 'window', 'keys', 'runs', 'json', 'html'] as const;
const BENCH_SWITCHES = ['full', 'causal', 'save'] as const;

type BenchWord = (typeof BENCH_WORDS)[number];
type BenchSwitch = (typeof BENCH_SWITCHES)[number];

/** cac knows only commands of one word, and takes a lone dash for a switch and numeric text for a number. */
function joinWords(argv: readonly string[]): string[] {
  const [node, script, ...words] = argv;
  if (words[0] === 'bench' && words[1] === 'compare') words.splice(0, 2, 'bench compare');
  const dash = words.findIndex((word, i) => word === '-' && words[i - 1] === '--json');
  if (dash > 0) words.splice(dash - 1, 2, '--json=-');
  if (words[0] === 'generate') markPrompt(words);
  return [node, script, ...words];
}

function markPrompt(words: string[]): void {
  const at = words.findIndex((word) => word === '--prompt' || word.startsWith('--prompt='));
  if (at < 0) return;
  const isJoined = words[at] !== '--prompt';
  const text = isJoined ? words[at].slice('--prompt='.length) : words[at + 1];
  if (text === undefined || (!isJoined && text.startsWith('--'))) return; // cac says that the value is missing
  words.splice(at, isJoined ? 1 : 2, `--prompt=${TEXT_MARK}${text}`);
}

/** An option as cac gives it: a number if it looks like one, an array if it is given twice. */
type Given = string | number | (string | number)[] | undefined;

function single(option: string, value: Given): string | undefined {
  if (Array.isArray(value)) throw new ArgumentError(`--${option} must be given once, got ${value.join(' and ')}`);
  return value === undefined ? undefined : String(value);
}

function several(value: Given): string[] {
  return value === undefined ? [] : [value].flat().map(String);
}

function unknownCommand(command: string): ArgumentError {
  const near = nearest(command, COMMANDS);
  const hint = near ? ` (did you mean ${near}?)` : '';
  const known = `${COMMANDS.slice(0, -1).join(', ')} or ${COMMANDS.at(-1)}`;
  return new ArgumentError(`command must be ${known}, got '${command}'${hint}`);
}

/** Overwrites one line of the terminal; undefined in a log, which has no line to overwrite. */
function progressLine(): ((text: string) => void) | undefined {
  const { stderr } = process;
  if (!stderr.isTTY) return undefined;
  return (text) => void stderr.write(`\r\x1b[K${pc.dim(text.slice(0, stderr.columns - 1))}`);
}

/** The options of commands that choose a device. */
interface DeviceWords {
  readonly adapter: Given;
  readonly experimental?: boolean;
}

/** Disposes the device whatever happens: an open one would keep the process alive. */
async function withDevice(
  { adapter, experimental, kernels }: DeviceWords & Pick<DeviceOptions, 'kernels'>,
  work: (device: Device) => void | Promise<void>,
): Promise<void> {
  // createDevice refuses a word that is not an adapter
  const choice = single('adapter', adapter) as DeviceOptions['adapter'];
  const device = await createDevice({ adapter: choice, experimental, kernels });
  try {
    await work(device);
  } finally {
    device.dispose();
  }
}

/** A mistake that the user can mend, or a folder that cannot be written, is one sentence. A defect shows its stack. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isUsers = error instanceof WebGPUAttentionError || error.name === 'CACError' || 'syscall' in error;
  if (isUsers) return error.message;
  return error.stack ?? error.message;
}
