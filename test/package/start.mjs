/** What the tarball holds, and a user's first steps with it: without Dawn, then with it and the embedded driver. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { install, root } from './installed.mjs';

/** Prints a line for each check. Returns the number that passed and failed. */
export function testStart({ folder, tarball, bytes }, print) {
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

  check('the tarball has less than 1 MB', bytes < 1e6, `${bytes} bytes`);
  const broken = brokenLinks(join(folder, 'node_modules/webgpu-attention'));
  check('links between its documents lead to files in it', broken.length === 0, broken.join('\n'));

  const tools = join(folder, 'tools');
  mkdirSync(tools);
  install(tools, ['@arethetypeswrong/cli@0.18.5']);
  const attw = join(tools, 'node_modules/@arethetypeswrong/cli/dist/index.js');
  const judged = node([attw, tarball, '--profile', 'esm-only', '--no-color', '--no-emoji']);
  check('are-the-types-wrong finds nothing for users of ESM', judged.status === 0, judged.text);

  const required = program('require.cjs', `const { flashAttention } = require('webgpu-attention');\n${REQUIRED}`);
  check('require() gives what import gives', required.stdout.trim() === 'function true', required.text);

  const missing = program('missing.mjs', `import { createDevice } from 'webgpu-attention';\nawait createDevice();\n`);
  check(
    'without the optional dependencies createDevice says what to install',
    missing.status === 1 && /AdapterNotFoundError: createDevice: .* run npm i webgpu$/m.test(missing.text),
    missing.text,
  );

  // what `npm i webgpu` would do, and the driver for machines without a GPU. Each link is a package's: npm, which removes here what
  // it did not install, would go through the link of a scope and remove the package behind it.
  mkdirSync(join(folder, 'node_modules/@sparticuz'));
  for (const name of ['webgpu', 'debug', 'ms', '@sparticuz/chromium']) {
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), 'junction');
  }
  const started = program('quick-start.mjs', readFileSync(join(root, 'examples/quick-start.mjs'), 'utf8'));
  check('the quick start runs', started.status === 0 && started.stdout.includes('Float32Array'), started.text);

  const demo = node(['node_modules/webgpu-attention/dist/cli.js', 'demo']);
  check(
    'the demo runs, on weights of its own',
    demo.status === 0 && demo.stdout.includes('difference from the CPU'),
    demo.text,
  );

  const weights = join(folder, 'node_modules/webgpu-attention-six-modules');
  symlinkSync(join(root, 'examples/six-modules'), weights, 'junction');
  const compared = node(['node_modules/webgpu-attention/dist/cli.js', 'demo', '--module', 'ScaledDotProductAttention']);
  check(
    "with their package, the demo runs PyTorch's weights",
    compared.status === 0 && compared.stdout.includes('difference from PyTorch'),
    compared.text,
  );
  return total;
}

const { NODE_OPTIONS: _options, ...ENV } = { ...process.env, NO_COLOR: '1', WEBGPU_ATTENTION_TUNING: 'off' };

const REQUIRED = `import('webgpu-attention').then((module) => console.log(
  typeof flashAttention, module.flashAttention === flashAttention
));\n`;

/** The relative links and pictures of all Markdown below a folder that lead to no file. */
function brokenLinks(folder) {
  const pages = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.md'));
  return pages.flatMap((page) => {
    const links = [...readFileSync(join(folder, page), 'utf8').matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)];
    const targets = links.map(([, link]) => join(folder, dirname(page), link));
    return targets.filter((target) => !existsSync(target)).map((target) => `${page}: ${target}`);
  });
}
