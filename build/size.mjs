/**
 * What programs that use the package weigh, as a bundler makes them for a browser: minified, and compressed by gzip. Fails
 * where one is over its budget, and then lists its largest modules.
 *
 *     npm run size                 the table
 *     npm run size -- --modules    with each program's modules
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { Rolldown } from 'tsdown';

/** Budgets in kB (1,000 bytes) of gzip: of what is loaded at once, and of what is loaded on demand. */
const PROGRAMS = {
  'createDevice, matmul': {
    source: `export { createDevice, matmul } from 'webgpu-attention';`,
    budgets: [37, 43],
  },
  'createDevice, flashAttention': {
    source: `export { createDevice, flashAttention } from 'webgpu-attention';`,
    budgets: [63, 17],
  },
  everything: { source: `export * from 'webgpu-attention';`, budgets: [129, 21] },
  'everything, and the models': {
    source: `export * from 'webgpu-attention'; export * from 'webgpu-attention/models';`,
    budgets: [150, 21],
  },
};
/** The file for pages without a bundler, which loads nothing on demand. */
const BROWSER = { path: 'dist/browser.js', budget: 167 };
const MODULES_SHOWN = 25;

const { values } = parseArgs({ options: { modules: { type: 'boolean', default: false } } });
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-size-'));
try {
  for (const part of ['package.json', 'dist']) cpSync(join(root, part), join(folder, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  for (const [name, { source, budgets }] of Object.entries(PROGRAMS)) {
    const { minified, compressed, later, modules } = await weigh(source);
    const [now, onDemand] = budgets;
    const isOver = compressed > now * 1000 || later > onDemand * 1000;
    const weights = `${kB(minified)} minified, ${kB(compressed)} gzip of ${now}, ${kB(later)} of ${onDemand} more on demand`;
    report(isOver, name, weights);
    if (isOver || values.modules) {
      for (const [bytes, module] of modules.slice(0, MODULES_SHOWN)) console.log(`        ${kB(bytes)}  ${module}`);
    }
  }
  const whole = readFileSync(join(root, BROWSER.path));
  const compressed = gzip(whole);
  report(
    compressed > BROWSER.budget * 1000,
    BROWSER.path,
    `${kB(whole.length)} minified, ${kB(compressed)} gzip of ${BROWSER.budget}`,
  );
} finally {
  rmSync(folder, { recursive: true });
}

async function weigh(source) {
  const input = join(folder, 'program.js');
  writeFileSync(input, source);
  const bundler = await Rolldown.rolldown({ input, platform: 'browser', logLevel: 'silent' });
  const { output } = await bundler.generate({ format: 'esm', minify: true });
  await bundler.close();
  const byName = new Map(output.map((chunk) => [chunk.fileName, chunk]));
  const first = new Set();
  const load = (name) => {
    if (first.has(name)) return;
    first.add(name);
    byName.get(name).imports.forEach(load);
  };
  load(output.find(({ isEntry }) => isEntry).fileName);
  const total = (chunks, weightOf) => chunks.reduce((sum, { code }) => sum + weightOf(code), 0);
  const [now, rest] = [true, false].map((isFirst) => output.filter(({ fileName }) => first.has(fileName) === isFirst));
  const modules = now.flatMap((chunk) =>
    Object.entries(chunk.modules).map(([id, { renderedLength }]) => [renderedLength, id.replace(folder, '')]),
  );
  return {
    minified: total(now, (code) => code.length),
    compressed: total(now, gzip),
    later: total(rest, gzip),
    modules: modules.sort((a, b) => b[0] - a[0]),
  };
}

function report(isOver, name, weights) {
  console.log(`${isOver ? 'OVER' : 'ok  '}  ${name}: ${weights}`);
  if (isOver) process.exitCode = 1;
}

function gzip(code) {
  return gzipSync(code, { level: 9 }).length;
}

function kB(bytes) {
  return `${(bytes / 1000).toFixed(1)} kB`;
}
