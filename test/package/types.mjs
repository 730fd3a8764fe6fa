/**
 * The declarations that are shipped, under each version of TypeScript that is promised, with each way to find modules, and with
 * and without the libraries that declare WebGPU. A user's programs (consumer/) are compiled against the installed package.
 */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { install, readJson, root } from './installed.mjs';

const VERSIONS = ['5.8.3', '5.9.3', '6.0.3', '7.0.2'];

const RESOLUTIONS = [
  { module: 'nodenext', moduleResolution: 'nodenext' },
  { module: 'esnext', moduleResolution: 'bundler' },
];

const LIBRARIES = [
  { name: 'neither', lib: ['es2022'], types: [] },
  { name: '@webgpu/types', lib: ['es2022'], types: ['@webgpu/types'] },
  { name: 'DOM', lib: ['es2022', 'dom'], types: [] },
  { name: 'both', lib: ['es2022', 'dom'], types: ['@webgpu/types'] },
];

const run = promisify(execFile);

/** Compiles everything, and prints a table. Returns the number of settings that passed and failed. */
export async function testTypes(folder, print) {
  cpSync(join(root, 'test/package/consumer'), join(folder, 'consumer'), { recursive: true });
  writeFileSync(join(folder, 'consumer/entries.ts'), importsOfEntries(folder));
  const { devDependencies } = readJson(join(root, 'package.json'));
  install(folder, [`@webgpu/types@${devDependencies['@webgpu/types']}`], ['--omit=optional']);
  const compilers = join(folder, 'compilers');
  mkdirSync(compilers);
  install(
    compilers,
    VERSIONS.map((version) => `typescript-${version}@npm:typescript@${version}`),
  );
  const total = { passed: 0, failed: 0 };
  print(`${'TypeScript'.padEnd(12)}${'modules'.padEnd(10)}${LIBRARIES.map(({ name }) => name.padEnd(15)).join('')}`);
  for (const version of VERSIONS) {
    for (const resolution of RESOLUTIONS) {
      const errors = await Promise.all(LIBRARIES.map((libraries) => compile(folder, version, resolution, libraries)));
      const cells = errors.map((error) => (error === undefined ? 'ok' : 'FAILED').padEnd(15));
      print(`${version.padEnd(12)}${resolution.moduleResolution.padEnd(10)}${cells.join('')}`);
      for (const error of errors) {
        if (error === undefined) total.passed++;
        else {
          total.failed++;
          print(error);
        }
      }
    }
  }
  return total;
}

/** What the compiler says against it; undefined if nothing. */
async function compile(folder, version, resolution, { name, lib, types }) {
  // TypeScript's DOM library declares WebGPU since version 6
  const declaresGpu = types.length > 0 || (lib.includes('dom') && Number.parseInt(version, 10) >= 6);
  const files = ['api', 'models', 'entries', declaresGpu ? 'own-gpu' : 'no-gpu-types'];
  if (lib.includes('dom')) files.push('signals');
  const settings = {
    compilerOptions: { ...resolution, target: 'es2022', lib, types, strict: true, noEmit: true, skipLibCheck: false },
    files: files.map((file) => `../../consumer/${file}.ts`),
  };
  const place = join(folder, 'settings', `${version}-${resolution.moduleResolution}-${name.replace('/', '-')}`);
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'tsconfig.json'), JSON.stringify(settings));
  try {
    await run(process.execPath, [join(folder, `compilers/node_modules/typescript-${version}/bin/tsc`), '-p', place]);
    return undefined;
  } catch (error) {
    return against(`${error.stdout}${error.stderr}`);
  }
}

/**
 * The errors except those in others' declarations: `@webgpu/types` names types of the DOM's library, and contradicts those of
 * TypeScript 6's and 7's, whether or not this package is there.
 */
function against(output) {
  const errors = output.split('\n').filter((line) => /error TS\d+/.test(line));
  if (errors.length === 0) return output; // the compiler itself failed
  const ours = errors.filter((line) => !/(@webgpu\/types\/dist\/|\/lib\.\w+\.)[\w.]*d\.ts/.test(line.split('(')[0]));
  return ours.length > 0 ? ours.join('\n') : undefined;
}

/** A program that imports every entry that has types. */
function importsOfEntries(folder) {
  const { name, exports } = readJson(join(folder, 'node_modules/webgpu-attention/package.json'));
  const entries = Object.keys(exports).filter((entry) => exports[entry].types);
  const lines = entries.map((entry, i) => `import * as entry${i} from '${name}${entry.slice(1)}';`);
  return `${lines.join('\n')}\nvoid [${entries.map((_, i) => `entry${i}`).join(', ')}];\n`;
}
