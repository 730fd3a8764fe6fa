/** The command line: parses it, opens the device, and turns errors into messages and an exit code. */
import { readFile } from 'node:fs/promises';
import { cac } from 'cac';
import pc from 'picocolors';
import { version } from '../../package.json';
import { ArgumentError, createDevice, WebGPUAttentionError } from '../index.ts';
import type { Device, DeviceOptions } from '../index.ts';
import { nearest } from '../tensor/options.ts';
import { runDemo } from './demo.ts';
import { printInfo } from './info.ts';
import { chooseRuns, SIX_RUNS } from './six-runs.ts';

const COMMANDS = ['demo', 'info'];
const EXAMPLE = 'examples/six-modules/six-modules.safetensors';

/**
 * Runs one command line.
 *
 * @param argv as `process.argv`
 * @param packageRoot where package.json lies, with a slash at the end
 * @returns the exit code
 */
export async function runCommandLine(argv: readonly string[], packageRoot: URL): Promise<number> {
  try {
    await dispatch([...argv], packageRoot);
    return 0;
  } catch (error) {
    console.error(`${pc.red('error:')} ${explain(error)}`);
    return 1;
  }
}

async function dispatch(argv: string[], packageRoot: URL): Promise<void> {
  const cli = cac('webgpu-attention');
  cli.version(version).help();
  const adapter = [
    '--adapter <kind>',
    'hardware, software, lavapipe or embedded; by default the best there is',
  ] as const;
  cli
    .command('demo', "Run the six modules on words, check them against PyTorch's results, draw their attention maps")
    .option('--module <name>', `Run one alone: ${SIX_RUNS.map(({ name }) => name).join(', ')}`)
    .option(...adapter)
    .option('--out <folder>', 'Where the attention maps go', { default: 'attention-maps' })
    .action(async (options: Record<'module' | 'adapter' | 'out', Given>) => {
      const runs = chooseRuns(single('module', options.module));
      const outFolder = single('out', options.out)!;
      const file = await readFile(new URL(EXAMPLE, packageRoot));
      await withDevice(single('adapter', options.adapter), (device) =>
        runDemo(device, { runs, file, outFolder, print: console.log, progress: progressLine() }),
      );
    });
  cli
    .command('info', 'Show the adapter, its limits and features, and which kernels are chosen on it')
    .option(...adapter)
    .action((options: { adapter: Given }) =>
      withDevice(single('adapter', options.adapter), (device) => printInfo(device, console.log)),
    );
  const { args, options } = cli.parse(argv, { run: false });
  if (cli.matchedCommand) await cli.runMatchedCommand();
  else if (options['help'] || options['version']) return; // cac has printed it
  else if (args.length > 0) throw unknownCommand(args[0]);
  else cli.outputHelp();
}

/** An option as cac gives it: a number where it looks like one, an array where it stands twice. */
type Given = string | number | (string | number)[] | undefined;

function single(option: string, value: Given): string | undefined {
  if (Array.isArray(value)) throw new ArgumentError(`--${option} must be given once, got ${value.join(' and ')}`);
  return value === undefined ? undefined : String(value);
}

function unknownCommand(command: string): ArgumentError {
  const near = nearest(command, COMMANDS);
  const hint = near ? ` (did you mean ${near}?)` : '';
  return new ArgumentError(`command must be ${COMMANDS.join(' or ')}, got '${command}'${hint}`);
}

/** Overwrites one line of the terminal; in a log there is none to overwrite. */
function progressLine(): ((module: string) => void) | undefined {
  const { stderr } = process;
  if (!stderr.isTTY) return undefined;
  return (module) => void stderr.write(`\r\x1b[K${module && pc.dim(`running ${module} …`)}`);
}

/** Disposes the device whatever happens: an open one would keep the process alive. */
async function withDevice(adapter: string | undefined, work: (device: Device) => void | Promise<void>): Promise<void> {
  // createDevice itself refuses what is no adapter
  const device = await createDevice({ adapter: adapter as DeviceOptions['adapter'] });
  try {
    await work(device);
  } finally {
    device.dispose();
  }
}

/** What is the user's to mend is one sentence (a folder that cannot be written too); a defect shows where it is. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isUsers = error instanceof WebGPUAttentionError || error.name === 'CACError' || 'syscall' in error;
  if (isUsers) return error.message;
  return error.stack ?? error.message;
}
