/** Results as JSON that people can read and compare; every field is checked when it is read. Loads in browsers. */
import { ArgumentError } from '../src/index.ts';
import { FORMAT, type BenchResult } from './result.ts';

/** Writes six digits of each number, more than a second run would repeat; shapes stay on one line. */
export function formatResult(result: BenchResult): string {
  const round = (_key: string, value: unknown) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
  const text = JSON.stringify(result, round, 2);
  return `${text.replace(/\[\s+([\d,\s]+?)\s+\]/g, (_, lengths: string) => `[${lengths.replace(/\s+/g, ' ')}]`)}\n`;
}

/**
 * @param file the text's name, for errors
 * @throws ArgumentError that says what is missing or wrong
 */
export function parseResult(text: string, file: string): BenchResult {
  const fail = (problem: string): never => {
    throw new ArgumentError(`bench: ${file} must be a benchmark's result, got one in which ${problem}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ArgumentError(`bench: ${file} must be JSON: ${(error as Error).message}`, { cause: error });
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (format !== FORMAT) fail(`format must be ${FORMAT}, got ${JSON.stringify(format)}`);
  const problem = RESULT(value, '');
  if (problem) fail(problem);
  return value as BenchResult;
}

/** Says what is wrong with the value at a path, if anything. */
type Check = (value: unknown, path: string) => string | undefined;

const number = typed('number');
const string = typed('string');
const boolean = typed('boolean');

function typed(type: 'number' | 'string' | 'boolean'): Check {
  return (value, path) =>
    typeof value === type ? undefined : `${path} must be a ${type}, got ${JSON.stringify(value)}`;
}

function listOf(item: Check): Check {
  return (value, path) =>
    Array.isArray(value)
      ? value.map((entry, i) => item(entry, `${path}[${i}]`)).find((problem) => problem !== undefined)
      : `${path} must be a list, got ${JSON.stringify(value)}`;
}

function record(required: Readonly<Record<string, Check>>, optional: Readonly<Record<string, Check>> = {}): Check {
  return (value, path) => {
    if (value === null || typeof value !== 'object') return `${path} must be an object, got ${JSON.stringify(value)}`;
    const fields = value as Record<string, unknown>;
    const given = Object.entries(optional).filter(([name]) => fields[name] !== undefined);
    return [...Object.entries(required), ...given]
      .map(([name, check]) => check(fields[name], path ? `${path}.${name}` : name))
      .find((problem) => problem !== undefined);
  };
}

const TIMING = record({ median: number, min: number, max: number, low: number, high: number, runs: number });

const CASE = record(
  {
    name: string,
    op: string,
    shape: listOf(number),
    dtype: string,
    causal: boolean,
    wall: TIMING,
    error: number,
    tolerance: number,
    flops: number,
    bytes: number,
    gflops: number,
    gbs: number,
    roofShare: number,
    extraBytes: number,
  },
  {
    window: number,
    mask: string,
    keyLength: number,
    keyLengths: listOf(number),
    kvHeads: number,
    heads: number,
    softcap: number,
    alibi: boolean,
    sinks: boolean,
    via: string,
    parts: number,
    kernel: string,
    gpu: TIMING,
  },
);

const PEERS = record({
  date: string,
  rows: listOf(
    record({
      name: string,
      entries: listOf(
        record(
          { library: string, version: string, isWebGpu: boolean },
          { timing: TIMING, error: number, isRight: boolean, failure: string },
        ),
      ),
    }),
  ),
});

const RESULT = record(
  {
    date: string,
    versions: record({ package: string, runtime: string }, { webgpu: string }),
    device: record({
      name: string,
      vendor: string,
      architecture: string,
      description: string,
      driver: string,
      isSoftware: boolean,
    }),
    host: record({ platform: string, cpu: string, cores: number }),
    roof: record(
      { f32Gflops: number, copyGBs: number, dispatchUs: number, passUs: number, submitUs: number },
      { f16Gflops: number },
    ),
    cases: listOf(CASE),
  },
  { failures: listOf(record({ name: string, reason: string })), peers: PEERS },
);
