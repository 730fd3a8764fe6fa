/**
 * Times the package against other libraries: `npm run bench:peers -- --help`. README.md beside this file explains how, and what
 * is fair about it.
 */
import { execSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  ArgumentError,
  deviceSlug,
  differencesOf,
  driverName,
  formatResult,
  loadDrawing,
  parseResult,
  renderHtml,
  WebGPUAttentionError,
} from '../../dist/bench-peers.js';
import { comparePeers } from './compare.mjs';
import { LIBRARIES } from './libraries.mjs';
import { Peer } from './peer.mjs';
import { PROBLEMS } from './problems.mjs';
import { ratioTable, rowTable } from './tables.mjs';

const HELP = `npm run bench:peers -- [options]

  --filter WORD      problems whose name holds the word, as 'causal'
  --peer WORD        libraries whose name holds the word, beside ours
  --rounds N         turns of each library (7)
  --calls N          calls a turn, one wait for all of them (1)
  --adapter KIND     hardware, software, lavapipe or embedded
  --json FILE        writes the result
  --save             puts the result into bench/results, into the device's file
  --into FILE        the same, into this file
  --html FILE        that file as a page with charts`;

const OPTIONS = {
  filter: { type: 'string', default: '' },
  peer: { type: 'string', default: '' },
  rounds: { type: 'string', default: '7' },
  calls: { type: 'string', default: '1' },
  adapter: { type: 'string' },
  json: { type: 'string' },
  save: { type: 'boolean', default: false },
  into: { type: 'string' },
  html: { type: 'string' },
  help: { type: 'boolean', default: false },
};

try {
  await main();
} catch (error) {
  console.error(error instanceof WebGPUAttentionError ? `error: ${error.message}` : error);
  process.exitCode = 1;
}

async function main() {
  const options = readOptions();
  if (options.help) return console.log(HELP);
  installLibraries();
  const date = new Date().toISOString();
  const peers = [];
  try {
    const environment = await openPeers(options, peers);
    const { device } = environment;
    console.log(`Device: ${device.name}; driver: ${driverName(device)}\n`);
    const file = options.save ? resultFile(device) : options.into;
    if (file) checkResult(file, environment); // before minutes are spent
    const rows = [];
    for (const problem of options.problems) {
      const row = await comparePeers(problem, peers, { ...options, progress });
      rows.push(row);
      progress('');
      console.log(`${rowTable(row)}\n`);
    }
    if (rows.length > 1) console.log(ratioTable(rows));
    if (options.json) write(options.json, `${JSON.stringify({ date, ...environment, rows }, undefined, 2)}\n`);
    if (file) {
      const result = { ...readResult(file), peers: { date, rows } };
      write(file, formatResult(result));
      if (options.html) write(options.html, renderHtml(result, await loadDrawing()));
    }
  } finally {
    for (const peer of peers) peer.close();
  }
}

function readOptions() {
  let values;
  try {
    ({ values } = parseArgs({ options: OPTIONS }));
  } catch (error) {
    throw new ArgumentError(`bench:peers: ${error.message}`, { cause: error });
  }
  const { filter, peer, calls, save, into, html } = values;
  const [ours, ...others] = LIBRARIES;
  const chosen = { problems: named('filter', filter, PROBLEMS), libraries: [ours, ...named('peer', peer, others)] };
  if ((save || into) && (filter || peer || calls !== '1')) {
    throw new ArgumentError(
      'bench:peers: --save and --into must come without --filter, --peer and --calls: they keep whole runs, call by call',
    );
  }
  if (html && !save && !into) throw new ArgumentError('bench:peers: --html must come with --save or --into');
  return { ...values, ...chosen, rounds: count('rounds', values.rounds), calls: count('calls', calls) };
}

function named(option, word, all) {
  const found = all.filter(({ name }) => name.includes(word));
  if (found.length > 0) return found;
  throw new ArgumentError(
    `bench:peers: --${option} must be part of one of ${all.map(({ name }) => `'${name}'`).join(', ')}, got '${word}'`,
  );
}

function count(option, text) {
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text);
  throw new ArgumentError(`bench:peers: --${option} must be a whole number of 1 or more, got '${text}'`);
}

/** Installs what bench/peers/package-lock.json names, unless it is there. */
function installLibraries() {
  const age = (path) => statSync(new URL(path, import.meta.url), { throwIfNoEntry: false })?.mtimeMs ?? -Infinity;
  if (age('node_modules/.package-lock.json') >= age('package-lock.json')) return;
  // None needs its install script; that of onnxruntime-node would fetch CUDA libraries.
  execSync('npm ci --ignore-scripts', { cwd: fileURLToPath(new URL('.', import.meta.url)), stdio: 'inherit' });
}

/** Opens ours, adds all to `peers` with ours first, and returns what ours found itself on. */
async function openPeers({ libraries: [ours, ...others], adapter }, peers) {
  const first = new Peer(ours, adapter ? { ...process.env, WEBGPU_ATTENTION_ADAPTER: adapter } : process.env);
  peers.push(first);
  let opened;
  try {
    opened = await first.open();
  } catch (error) {
    throw new WebGPUAttentionError(`bench:peers: ${error.message}`, { cause: error });
  }
  const { environment, manifest } = opened;
  const env = { ...process.env, WEBGPU_ATTENTION_ADAPTER: environment.device.isSoftware ? 'software' : 'hardware' };
  // Every library's Vulkan loader heeds this, even if the library has its own Dawn.
  if (manifest) Object.assign(env, { VK_DRIVER_FILES: manifest, VK_ICD_FILENAMES: manifest });
  peers.push(...others.map((library) => new Peer(library, env, environment.device.name)));
  return environment;
}

function resultFile(device) {
  return fileURLToPath(new URL(`../results/${deviceSlug(device)}.json`, import.meta.url));
}

/** Refuses to mix times from different machines. */
function checkResult(file, environment) {
  const differences = differencesOf(readResult(file), environment);
  if (differences.length === 0) return;
  throw new ArgumentError(
    `bench:peers: ${file} must be a result of this machine and driver, got one of another ${differences.join('; ')}`,
  );
}

function readResult(file) {
  let text;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const hint = "'npm run bench -- --save' makes one";
    throw new ArgumentError(`bench:peers: ${file} must be a benchmark's result to put this into; ${hint}`, {
      cause: error,
    });
  }
  return parseResult(text, file);
}

function write(file, text) {
  writeFileSync(file, text);
  console.log(`Written: ${file}`);
}

/** One line that is overwritten; only on a terminal. */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
