/** Command lines of the training examples. */
import { parseArgs } from 'node:util';

/** What both take, beside the sizes that each has defaults for. */
const COMMON = {
  resume: { help: 'go on from the checkpoint in --out', default: false },
  stop: { help: 'end after this step, as if interrupted; --resume goes on from there', isNumber: true },
  smoke: { help: 'a few steps of a tiny model, to see that all works', default: false },
  adapter: { help: 'hardware, software, lavapipe or embedded' },
};

/**
 * Numbers where the default is one (whole ones where it is whole, from 0 to 1 where `isShare`), else text, and flags. Ends the process after `--help`, and with
 * one line for a mistake.
 *
 * @param {string} command what the user typed
 * @param {Readonly<Record<string, { help: string, default?: number | string | boolean, isShare?: boolean }>>} own
 * @param {Readonly<Record<string, number>>} smoke what `--smoke` sets, where the user did not
 */
export function readOptions(command, own, smoke) {
  const known = { ...own, ...COMMON };
  if (process.argv.includes('--help')) {
    console.log(helpOf(command, known));
    process.exit();
  }
  try {
    return parseOptions(process.argv.slice(2), known, smoke);
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exit(1);
  }
}

/** @param {readonly string[]} args */
export function parseOptions(args, known, smoke) {
  const options = Object.entries(known).map(([name, { default: value }]) => {
    return [name, { type: typeof value === 'boolean' ? 'boolean' : 'string' }];
  });
  const { values } = parseArgs({ args, options: Object.fromEntries(options) });
  const given = Object.entries(values).map(([name, value]) => [name, valueOf(name, known[name], value)]);
  const defaults = Object.entries(known).map(([name, option]) => [name, option.default]);
  return { ...Object.fromEntries(defaults), ...(values.smoke && smoke), ...Object.fromEntries(given) };
}

function valueOf(name, { default: usual, isNumber = typeof usual === 'number', isShare }, value) {
  if (!isNumber) return value;
  const number = value.trim() === '' ? NaN : Number(value);
  if (isShare) {
    if (number >= 0 && number <= 1) return number;
    throw new Error(`--${name} must be a number from 0 to 1, got '${value}'`);
  }
  const isWhole = usual === undefined || Number.isInteger(usual);
  const least = name === 'seed' ? 0 : isWhole ? 1 : Number.MIN_VALUE;
  if (number >= least && (isWhole ? Number.isSafeInteger(number) : Number.isFinite(number))) return number;
  const expected = isWhole ? `a whole number of ${least} or more` : 'a positive number';
  throw new Error(`--${name} must be ${expected}, got '${value}'`);
}

function helpOf(command, known) {
  const lines = Object.entries(known).map(([name, { help, default: value }]) => {
    const shown = value === undefined || value === false ? '' : ` (${value})`;
    return `  --${name.padEnd(8)} ${help}${shown}`;
  });
  return [`${command} [options]`, '', ...lines].join('\n');
}
