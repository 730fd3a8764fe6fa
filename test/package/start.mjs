/** A user's first steps with the installed package: without Dawn, then with it and the embedded driver. */
import { spawnSync } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './installed.mjs';

/** Prints a line for each check. Returns the number that passed and failed. */
export function testStart({ folder, bytes }, print) {
  const total = { passed: 0, failed: 0 };
  const check = (what, isRight, seen = '') => {
    total[isRight ? 'passed' : 'failed']++;
    print(isRight ? `ok      ${what}` : `FAILED  ${what}\n${seen}`);
  };
  const node = (args) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env: ENV });
    return { status, text: `${stdout}${stderr}`, stdout };
  };
  const program = (name, text) => {
    writeFileSync(join(folder, name), text);
    return node([name]);
  };

  check('the tarball has less than 1.5 MB', bytes < 1.5e6, `${bytes} bytes`);
  const links = linksOf(readFileSync(join(folder, 'node_modules/webgpu-attention/README.md'), 'utf8'));
  check(
    "the README's links lead somewhere from anywhere",
    links.every((link) => /^https:|^#/.test(link)),
    `${links}`,
  );

  const required = program('require.cjs', `const { flashAttention } = require('webgpu-attention');\n${REQUIRED}`);
  check('require() gives what import gives', required.stdout.trim() === 'function true', required.text);

  const missing = program('missing.mjs', `import { createDevice } from 'webgpu-attention';\nawait createDevice();\n`);
  check(
    'without the optional dependencies createDevice says what to install',
    missing.status === 1 && /AdapterNotFoundError: createDevice: .* run npm i webgpu$/m.test(missing.text),
    missing.text,
  );

  // what `npm i webgpu` would do, and the driver for machines without a GPU
  for (const name of ['webgpu', 'debug', 'ms', '@sparticuz']) {
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), 'junction');
  }
  const started = program('quick-start.mjs', readFileSync(join(root, 'examples/quick-start.mjs'), 'utf8'));
  check('the quick start runs', started.status === 0 && started.stdout.includes('Float32Array'), started.text);

  const demo = node([join('node_modules/webgpu-attention/dist/cli.js'), 'demo']);
  check('the demo runs, on weights of its own', demo.status === 0 && demo.stdout.includes('LocalAttention'), demo.text);
  return total;
}

const { NODE_OPTIONS: _options, ...ENV } = { ...process.env, NO_COLOR: '1', WEBGPU_ATTENTION_TUNING: 'off' };

const REQUIRED = `import('webgpu-attention').then((module) => console.log(
  typeof flashAttention, module.flashAttention === flashAttention
));\n`;

/** Where the Markdown's links and pictures lead. */
function linksOf(markdown) {
  return [...markdown.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target);
}
