/** The command `shader`: the WGSL that the device would compile for a call, whole. */
import type { LabelledLaunch } from '../gpu/runtime.ts';
import { ArgumentError } from '../index.ts';
import type { Device, DeviceOptions } from '../index.ts';
import { deviceLine, table } from '../display/text.ts';
import { nearest } from '../tensor/options.ts';
import { annotatedSource, asWritten } from './annotate.ts';
import { joinRows, pinnableKernels } from './kernel-tables.ts';
import { CALLS, type OptionName, type Problem, type Zeros } from './shader-calls.ts';
import { parseKernels } from './tune.ts';

/** The options as the user gave them. */
export interface ShaderWords {
  readonly shape?: string;
  readonly dtype?: string;
  readonly causal?: boolean;
  readonly window?: string;
  readonly keys?: string;
  readonly kvHeads?: string;
  readonly dropout?: string;
  readonly softcap?: string;
  readonly mask?: string;
  readonly backward?: boolean;
  readonly kernel?: string;
}

/** Checks everything that needs no device; `run` prints what the device would compile. */
export function prepareShader(
  given: string | undefined,
  words: ShaderWords,
  packageRoot: URL,
  print: (text: string) => void,
): { kernels: DeviceOptions['kernels']; run: (device: Device) => void } {
  const op = checkOp(given);
  const problem = parseProblem(op, words);
  const { kernel } = words;
  const kernels = kernel === undefined ? {} : parseKernels([kernel.includes('=') ? kernel : `${op}=${kernel}`]);
  return {
    kernels,
    run(device) {
      const launches = launchesOf(device, op, problem);
      if (launches.length === 0) throw new ArgumentError(`shader: ${op} launches no kernel for this problem`);
      print(`// ${[op, ...described(problem)].join(' ')}`);
      print(`// Device: ${deviceLine(device.info)}`);
      if (kernel !== undefined && isDefault(device, op, problem, launches)) {
        print(`// --kernel ${kernel} changes nothing: it is the default here, or cannot compute this problem.`);
      }
      for (const text of kernelTexts(launches, packageRoot)) print(`\n${text}`);
    },
  };
}

/** The ops with the options that they take, and the kernels that some of them choose from. */
export function printShaderList(device: Device, print: (text: string) => void): void {
  const rows = Object.entries(CALLS).map(([op, { axes, takes }]) => [op, axes, takes.map(flagOf).join('\n')]);
  print(table(['op', '--shape', 'options'], joinRows(rows, 0)));
  print(`\nKernels to choose from with --kernel; every other op has one for each of its steps.`);
  print(pinnableKernels(device));
}

function launchesOf(device: Device, op: string, problem: Problem): LabelledLaunch[] {
  const { dtype, backward: requiresGrad = false } = problem;
  const zeros: Zeros = {
    device,
    floats: (shape, own = dtype) => device.zeros(shape, { dtype: own, requiresGrad }),
    others: (shape, own) => device.zeros(shape, { dtype: own }),
  };
  const launches: LabelledLaunch[] = [];
  device.scope(() => {
    let work!: () => unknown;
    device.runtime.launchesOf(() => {
      const call = CALLS[op].prepare(zeros, problem);
      work = call;
      if (!requiresGrad) return;
      const output = call()!;
      const gradient = device.zeros(output.shape, { dtype: output.dtype });
      work = () => output.backward(gradient);
    });
    launches.push(...device.runtime.launchesOf(() => void work()));
  });
  return launches;
}

/** Whether the device would compile the same without the kernel that is pinned. */
function isDefault(device: Device, op: string, problem: Problem, launches: readonly LabelledLaunch[]): boolean {
  const { kernels } = device;
  device.kernels = { ...kernels, pinned: new Map() };
  try {
    const key = (all: readonly LabelledLaunch[]) =>
      JSON.stringify(all.map(({ shader, constants }) => [shader.name, constants]));
    return key(launchesOf(device, op, problem)) === key(launches);
  } finally {
    device.kernels = kernels;
  }
}

/** Each distinct source once, under a heading that says how it is launched. */
function kernelTexts(launches: readonly LabelledLaunch[], packageRoot: URL): string[] {
  const bySource = new Map<string, LabelledLaunch[]>();
  for (const launch of launches) {
    const source = annotatedSource({ ...launch, shader: asWritten(launch.shader, packageRoot) });
    bySource.set(source, [...(bySource.get(source) ?? []), launch]);
  }
  return [...bySource].map(([source, [first, ...rest]], i) => {
    const { shader, constants, label } = first;
    const constantList = Object.entries(constants).map(([name, value]) => `${name} = ${value}`);
    const sizes = [first, ...rest].map(({ workgroups }) => workgroups.join(' × '));
    return [
      `// ======== ${i + 1} of ${bySource.size}: ${shader.name}.wgsl, of ${label}`,
      `// constants: ${constantList.join(', ') || 'the defaults'}`,
      `// workgroups: ${sizes.join(', then ')}`,
      source,
    ].join('\n');
  });
}

function checkOp(given: string | undefined): string {
  const names = Object.keys(CALLS);
  if (given === undefined) throw new ArgumentError(`shader: op must be one of ${names.join(', ')}, got nothing`);
  if (names.includes(given)) return given;
  const near = nearest(given, names);
  const hint = near ? ` (did you mean ${near}?)` : '';
  throw new ArgumentError(`shader: op must be one of ${names.join(', ')}, got '${given}'${hint}`);
}

/** Reads an option's words; each is called with what follows its flag, or with `true`. */
const PARSERS: { readonly [Name in OptionName]: (text: string) => NonNullable<Problem[Name]> } = {
  causal: isOn,
  window: parseWindow,
  keys: (text) => parseCount('--keys', text),
  kvHeads: (text) => parseCount('--kv-heads', text),
  dropout: (text) => parsePositive('--dropout', text),
  softcap: (text) => parsePositive('--softcap', text),
  mask: parseMask,
  backward: isOn,
};

/** `--kv-heads` of `kvHeads`. */
function flagOf(name: OptionName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function parseProblem(op: string, words: ShaderWords): Problem {
  const { takes, example } = CALLS[op];
  const { shape = example, dtype = 'float32' } = words;
  const given = (Object.keys(PARSERS) as OptionName[]).filter((name) => words[name] !== undefined);
  const foreign = given.find((name) => !takes.includes(name));
  if (foreign) {
    const flags = takes.map(flagOf).join(', ') || 'no option of this kind';
    throw new ArgumentError(
      `shader: ${flagOf(foreign)} must come with an op that takes it, got ${op}, which takes ${flags}`,
    );
  }
  if (dtype !== 'float32' && dtype !== 'float16') {
    throw new ArgumentError(`shader: --dtype must be float32 or float16, got '${dtype}'`);
  }
  const options = Object.fromEntries(given.map((name) => [name, PARSERS[name](String(words[name]))]));
  return { shape: parseShape(op, shape), dtype, ...options };
}

function parseShape(op: string, text: string): number[] {
  const { axes, example } = CALLS[op];
  const lengths = text.split(/[x×]/).map((length) => (/^\d+$/.test(length) ? Number(length) : 0));
  const fits = axes === 'any' || lengths.length === axes.split('x').length;
  if (fits && lengths.every((length) => length > 0)) return lengths;
  const form = axes === 'any' ? 'lengths' : axes;
  throw new ArgumentError(`shader: --shape of ${op} must be ${form}, such as ${example}, got '${text}'`);
}

function isOn(): boolean {
  return true;
}

function parseWindow(text: string): { left: number; right: number } {
  const [left, right = left, ...rest] = text.split(',').map((keys) => (/^(-1|\d+)$/.test(keys) ? Number(keys) : NaN));
  if (left + right >= -2 && rest.length === 0) return { left, right };
  throw new ArgumentError(`shader: --window must be keys to the left and right, such as 64,0, got '${text}'`);
}

function parseCount(flag: string, text: string): number {
  if (/^[1-9]\d*$/.test(text)) return Number(text);
  throw new ArgumentError(`shader: ${flag} must be a whole number of 1 or more, got '${text}'`);
}

function parsePositive(flag: string, text: string): number {
  if (Number(text) > 0) return Number(text);
  throw new ArgumentError(`shader: ${flag} must be a positive number, got '${text}'`);
}

function parseMask(text: string): 'bool' | 'float' {
  if (text === 'bool' || text === 'float') return text;
  throw new ArgumentError(`shader: --mask must be bool or float, got '${text}'`);
}

/** The problem in the words of the command line. */
function described({ shape, dtype, ...options }: Problem): string[] {
  const flags = (Object.keys(options) as OptionName[]).map((name) => {
    const value = options[name];
    if (value === true) return flagOf(name);
    return `${flagOf(name)} ${typeof value === 'object' ? `${value.left},${value.right}` : value}`;
  });
  return [shape.join('x'), dtype, ...flags];
}
