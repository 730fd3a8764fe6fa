/** Rows of a result as text. */
import pc from 'picocolors';
import { compareRow, digits, formatError, isOurs, NOTHING, table } from '../../dist/bench-peers.js';

/** @typedef {import('../result.ts').PeerRow} Row */

/** All libraries on one problem, and a last line that compares ours. */
export function rowTable(/** @type {Row} */ row) {
  const ours = row.entries.find(isOurs);
  const cells = row.entries.map((entry) => {
    const { library, version, timing, failure } = entry;
    if (!timing) return [library, version, NOTHING, NOTHING, NOTHING, pc.yellow(wrapped(failure))];
    return [
      library,
      version,
      digits(timing.median),
      `${digits(timing.low)}–${digits(timing.high)}`,
      ours?.timing ? digits(timing.median / ours.timing.median) : NOTHING,
      verdict(entry),
    ];
  });
  const head = ['library', 'version', 'ms', '95 %', '÷ ours', 'result'];
  return [pc.bold(row.name), table(head, cells), bestLine(row)].join('\n');
}

function verdict({ isRight, error }) {
  if (isRight) return pc.green(`right, ${formatError(error)}`);
  return pc.red(error === undefined ? 'wrong: not a number' : `wrong by ${formatError(error)}`);
}

function wrapped(text) {
  return text.replace(/(.{40,60}) /g, '$1\n');
}

function bestLine(row) {
  const { ours, best, ratio } = compareRow(row);
  if (!ours) return pc.red('ours has no right result');
  if (!best) return 'best right WebGPU peer: none';
  return `best right WebGPU peer: ${best.library}, ours is ${pc.bold(`${digits(ratio)}×`)} as fast`;
}

/** Their time over ours: problems down, libraries across. */
export function ratioTable(/** @type {readonly Row[]} */ rows) {
  const names = [
    ...new Set(rows.flatMap(({ entries }) => entries.filter((entry) => !isOurs(entry)).map(({ library }) => library))),
  ];
  const cells = rows.map((row) => {
    const ours = row.entries.find(isOurs);
    const ratios = names.map((name) => {
      const { timing, isRight } = row.entries.find(({ library }) => library === name) ?? {};
      if (!timing || !ours.timing) return NOTHING;
      const ratio = digits(timing.median / ours.timing.median);
      return isRight ? ratio : pc.red(`${ratio}\nwrong`);
    });
    return [row.name, ours.timing ? digits(ours.timing.median) : NOTHING, ...ratios];
  });
  return table(['their time ÷ ours', 'ours, ms', ...names.map((name) => name.replaceAll(/[- ]/g, '$&\n'))], cells);
}
