/**
 * What the tests run in (cells.mjs). Deno and Bun come from npm, in versions that are fixed here: a hundred megabytes each, which
 * `npm ci` spares everybody who does not run the matrix. The browsers are the Chromium that the development dependency
 * @sparticuz/chromium brings, and the system's Firefox. Where one is missing, `prepare` returns why.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const VITEST = 'node_modules/vitest/vitest.mjs';
const WEB = ['--config', 'test/matrix/web.config.ts'];

/** Chromium with WebGPU on Linux, which starts nothing in the background that would want the network. */
export const CHROMIUM_FLAGS = [
  '--headless=new',
  '--no-sandbox', // root has none
  '--enable-unsafe-webgpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
];

/**
 * @param {string} scratch a folder that outlives the tests
 * @returns `{ command, options, env, version }`, with vitest's entry as the last of `command`; or `{ missing }`
 */
export function prepare({ runtime = 'node', driver }, scratch) {
  try {
    return RUNTIMES[runtime](scratch, driver);
  } catch (error) {
    return { missing: error.message };
  }
}

const RUNTIMES = {
  node: () => ({ command: [process.execPath, VITEST], options: [], env: {}, version: process.versions.node }),
  deno: (scratch, driver) => {
    const deno = fromNpm('deno', '2.9.6', ['@deno', 'deno']);
    const env = driver === 'swiftshader' ? swiftShader(scratch) : {};
    const command = [deno, 'run', '--allow-all', '--node-modules-dir=manual', VITEST];
    return { command, options: WEB, env, version: '2.9.6' };
  },
  bun: () => {
    const bun = fromNpm('bun', '1.4.5', ['@oven', 'bin/bun']);
    return { command: [bun, '--bun', VITEST], options: [], env: {}, version: '1.4.5' };
  },
  chromium: (scratch) => page('chromium', unpackChromium(scratch), libraries(scratch)),
  firefox: () => page('firefox', onPath(['firefox-esr', 'firefox']), {}),
};

function page(name, path, env) {
  const { stdout, error } = spawnSync(path, ['--version'], { encoding: 'utf8', env: { ...process.env, ...env } });
  const version = /\d+(\.\d+)+/.exec(stdout ?? '')?.[0];
  if (!version) throw new Error(`${path} does not start${error ? `: ${error.message}` : ''}`);
  const variables = { WEBGPU_ATTENTION_TEST_BROWSER: name, WEBGPU_ATTENTION_TEST_BROWSER_PATH: path };
  return { command: [process.execPath, VITEST], options: WEB, env: { ...env, ...variables }, version };
}

/** The binary of a runtime that npm distributes as one package for each platform, which need no install scripts. */
function fromNpm(name, version, [scope, binary]) {
  const folder = join(root, 'node_modules/.cache/webgpu-attention', `${name}-${version}`);
  const find = () => {
    const packages = join(folder, 'node_modules', scope);
    const names = existsSync(packages) ? readdirSync(packages) : [];
    return names.map((each) => join(packages, each, binary)).find((path) => existsSync(path));
  };
  if (find()) return find();
  mkdirSync(folder, { recursive: true });
  const flags = ['--prefix', folder, '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status } = spawnSync('npm', ['install', ...flags, `${name}@${version}`], { stdio: 'inherit' });
  const path = status === 0 ? find() : undefined;
  if (!path) throw new Error(`${name}@${version} could not be installed from npm`);
  return path;
}

function onPath(names) {
  const paths = names.flatMap((name) => process.env.PATH.split(delimiter).map((folder) => join(folder, name)));
  const found = paths.find((path) => existsSync(path));
  if (!found) throw new Error(`there is no ${names.join(' or ')} on the PATH`);
  return found;
}

/**
 * Unpacks the Chromium of @sparticuz/chromium with its SwiftShader and a Vulkan loader, and returns its path. It is made for AWS
 * Lambda, and brings its libraries only where it believes to be there.
 */
function unpackChromium(scratch) {
  if (`${process.platform}-${process.arch}` !== 'linux-x64')
    throw new Error('@sparticuz/chromium is for Linux x64 only');
  const script = `
    import chromium from '@sparticuz/chromium';
    console.log(await chromium.executablePath());`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: scratch, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x' },
  });
  if (status !== 0) throw new Error(`@sparticuz/chromium cannot be unpacked: ${stderr.trim().split('\n').at(-1)}`);
  // its own file names Lambda's folders and /tmp/fonts; without a font Chromium ends at the first text
  writeFileSync(
    join(scratch, 'fonts/fonts.conf'),
    `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${join(scratch, 'fonts/fonts')}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${join(scratch, 'fonts/cache')}</cachedir>
</fontconfig>
`,
  );
  return stdout.trim();
}

function libraries(scratch) {
  return { LD_LIBRARY_PATH: join(scratch, 'al2023/lib'), FONTCONFIG_PATH: join(scratch, 'fonts') };
}

/** The variables by which a program that asks Vulkan for a driver gets SwiftShader. */
function swiftShader(scratch) {
  unpackChromium(scratch);
  return { VK_ICD_FILENAMES: join(scratch, 'vk_swiftshader_icd.json'), LD_LIBRARY_PATH: scratch };
}
