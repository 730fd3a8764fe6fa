/**
 * What a GPU's compiler makes of the kernels, without the GPU: `npm run bench:static -- --help`. README.md beside this file says
 * what the figures mean.
 */
import { fork } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ArgumentError, CHIPS, differences, formatRecord, kernelTable, recordOf } from '../../dist/bench-static.js';
import { buildDriver, driverOf, missing } from './environment.mjs';

/** Libraries of bench/peers that compute on WebGPU. */
const PEERS = ['onnxruntime-node', 'onnxruntime-web', 'tfjs-backend-webgpu', 'jax-js'];

const HELP = `npm run bench:static -- [options]

  --chip NAME        ${Object.keys(CHIPS).join(', ')} (navi31)
  --filter WORD      problems whose name holds the word
  --no-loops         a row for each kernel, without its hot loops
  --peers            kernels of other libraries instead
  --keep FOLDER      keeps the machine code there
  --save             writes bench/static/<chip>.json
  --check            compares with that file; skips, loudly, where this machine cannot`;

const OPTIONS = {
  chip: { type: 'string', default: 'navi31' },
  filter: { type: 'string', default: '' },
  'no-loops': { type: 'boolean', default: false },
  peers: { type: 'boolean', default: false },
  keep: { type: 'string' },
  save: { type: 'boolean', default: false },
  check: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
};

try {
  await main();
} catch (error) {
  console.error(error instanceof ArgumentError ? `error: ${error.message}` : error);
  process.exitCode = 1;
}

async function main() {
  const options = readOptions();
  if (options.help) return console.log(HELP);
  const file = fileURLToPath(new URL(`${options.chip}.json`, import.meta.url));
  const recorded = options.check ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  const webgpu = createRequire(import.meta.url)('webgpu/package.json').version;
  if (recorded && recorded.webgpu !== webgpu) {
    throw new ArgumentError(
      `bench:static: Dawn must be the recorded webgpu ${recorded.webgpu}, got ${webgpu}; ` +
        "'npm run bench:static -- --save' records what this one makes of the kernels",
    );
  }
  const lacks = missing();
  if (lacks) return cannotRun(options, lacks);
  if (options.peers) requirePeers();
  const result = await compileAll(options, recorded?.mesa);
  if (result.skipped) return cannotRun(options, result.skipped);
  const record = recordOf({ chip: CHIPS[options.chip], webgpu, ...result });
  console.log(kernelTable(record, { loops: !options['no-loops'] }));
  if (options.save && result.errors.length === 0) {
    writeFileSync(file, formatRecord(record));
    console.log(`Written: ${file}`);
  }
  const worse = recorded ? differences(recorded, record) : [];
  for (const line of [...result.errors, ...worse]) console.error(`error: ${line}`);
  if (result.errors.length + worse.length > 0) process.exitCode = 1;
  else if (recorded) console.log('Nothing is worse than recorded.');
}

function readOptions() {
  let values;
  try {
    ({ values } = parseArgs({ options: OPTIONS }));
  } catch (error) {
    throw new ArgumentError(`bench:static: ${error.message}`, { cause: error });
  }
  const { chip, filter, peers, save, check } = values;
  if (!(chip in CHIPS)) {
    throw new ArgumentError(`bench:static: --chip must be one of ${Object.keys(CHIPS).join(', ')}, got '${chip}'`);
  }
  if (save && check)
    throw new ArgumentError('bench:static: --save must come without --check: it would compare with itself');
  if ((save || check) && (filter !== '' || peers)) {
    throw new ArgumentError(
      'bench:static: --save and --check must come without --filter and --peers: they take all kernels',
    );
  }
  return values;
}

/** The libraries are those of bench/peers, a package of its own. */
function requirePeers() {
  const folder = fileURLToPath(new URL('../peers/', import.meta.url));
  const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const absent = Object.keys(dependencies).filter((name) => !existsSync(join(folder, 'node_modules', name)));
  if (absent.length === 0) return;
  throw new ArgumentError(
    `bench:static: --peers needs ${absent.join(', ')}, which must be installed (500 MB): ` +
      'npm ci --ignore-scripts --prefix bench/peers',
  );
}

function cannotRun({ check }, reason) {
  if (!check) throw new ArgumentError(`bench:static: it cannot run here: ${reason}`);
  console.log(`SKIPPED bench:static --check: ${reason}`);
}

/** Compiles and measures in processes of their own: for each size of wave, and once without Dawn's clamps. */
async function compileAll({ chip, filter, keep, peers }, mesa) {
  const folder = keep ?? mkdtempSync(join(tmpdir(), 'bench-static-'));
  const sizes = CHIPS[chip].waves.map((wave) => ({ name: `wave${wave}`, wave, clamps: 'clamped' }));
  const own = [...sizes, { name: 'unclamped', wave: 64, clamps: 'unclamped' }];
  // libraries in processes of their own, so that two copies of Dawn never share one
  const runs = peers
    ? PEERS.flatMap((library) => sizes.map((size) => ({ ...size, script: 'peer-worker.mjs', subject: library })))
    : own.map((size) => ({ ...size, script: 'worker.mjs', subject: filter }));
  const result = { costs: {}, errors: [], mesa: '' };
  const driver = mkdtempSync(join(tmpdir(), 'bench-static-driver-'));
  try {
    buildDriver(driver);
    for (const { name, wave, clamps, script, subject } of runs) {
      const out = join(folder, peers ? `${subject}-${name}` : name);
      mkdirSync(out, { recursive: true });
      result.costs[name] ??= {};
      const env = { ...process.env, ...driverOf(driver, chip, wave), GPU_STATIC_DIR: out };
      const ended = work(script, [chip, subject, clamps], env, (message) => {
        const { kernel, cost, error, skip } = message;
        if (skip) return skip;
        if (message.mesa) result.mesa = message.mesa;
        if (mesa && message.mesa && message.mesa !== mesa)
          return `Mesa must be the recorded '${mesa}', got '${message.mesa}'`;
        if (error) result.errors.push(`${kernel}, ${name}: ${error}`);
        else if (kernel) result.costs[name][kernel] = cost;
        if (kernel) progress(`${name}: ${kernel}`);
        return undefined;
      });
      // another library's crash does not end the run
      const skipped = await (peers
        ? ended.catch((error) => void result.errors.push(`${subject}, ${name}: ${error.message}`))
        : ended);
      if (skipped) return { skipped };
    }
    progress('');
    return result;
  } finally {
    if (!keep) rmSync(folder, { recursive: true, force: true });
    rmSync(driver, { recursive: true, force: true });
  }
}

/** Runs a worker to its end, or until `receive` gives a reason to stop, which it returns. */
function work(script, words, env, receive) {
  const worker = fork(fileURLToPath(new URL(script, import.meta.url)), words, {
    env,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let said = '';
  worker.stderr.on('data', (text) => (said += text));
  return new Promise((resolve, reject) => {
    let isDone = false;
    worker.on('message', (message) => {
      isDone ||= message.done === true;
      const reason = receive(message);
      if (!reason) return;
      isDone = true;
      worker.kill();
      resolve(reason);
    });
    worker.on('error', reject);
    worker.on('exit', (code, signal) => {
      if (isDone) resolve(undefined);
      else if (said.includes('bench:static: ')) resolve(`Mesa's AMD driver does not load: ${said.trim()}`); // the shim's words
      else reject(new Error(`bench:static: a worker ended with ${signal ?? `status ${code}`}:\n${said}`));
    });
  });
}

/** One line that is overwritten; only on a terminal. */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
