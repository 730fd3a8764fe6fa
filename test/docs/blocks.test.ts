/** Every code block of the documents is run, type-checked, or held against what its commands need. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { siteLink, slug, targetOf } from '../../docs/.vitepress/links.ts';
import { runCommandLine } from '../../src/cli/commands.ts';
import * as surface from '../../src/index.ts';
import * as models from '../../src/models.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { blocksOf, checkedPrograms, DOCUMENTS, isOnlyChecked, isScript, runningProgram } from './blocks.ts';
import { compileErrors } from './compile-programs.ts';
import { runProgram } from './run-program.ts';
import { shellErrors } from './shell.ts';

const ROOT = new URL('../../', import.meta.url);
const blocks = DOCUMENTS.flatMap(blocksOf);
const running = DOCUMENTS.flatMap((document) => runningProgram(document) ?? []);
const checked = DOCUMENTS.flatMap(checkedPrograms);
const shell = blocks.filter(({ language }) => language === 'sh');
/** Output, errors and drawings, which no program reads. */
const shown = blocks.filter(({ language }) => language === 'text');

const count = running.reduce((sum, program) => sum + program.blocks.length, 0);

test(`no block is left out: ${count} run, ${checked.length} are only type-checked, ${shell.length} are commands, ${shown.length} are text`, () => {
  const others = blocks.filter(
    (block) => !isScript(block) && block.language !== 'html' && !shell.includes(block) && !shown.includes(block),
  );
  expect(others.map(({ document, line, language }) => `${document}:${line}: ${language}`)).toEqual([]);
  const html = blocks.filter(({ language }) => language === 'html').length;
  expect(count + checked.length).toBeGreaterThanOrEqual(blocks.filter(isScript).length + html);
});

test('a block that is only type-checked says why it is not run', () => {
  const silent = blocks.filter(
    (block) => isScript(block) && isOnlyChecked(block) && !/^type-check: \S/.test(block.note),
  );
  expect(silent.map(({ document, line }) => `${document}:${line}`)).toEqual([]);
});

test('the blocks compile against the types of the library', () => {
  expect(compileErrors([...running, ...checked])).toEqual([]);
});

describe('the blocks run', () => {
  const ending = ['dispose', 'close'] as const;
  const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-docs-'));
  let device: surface.Device;

  beforeAll(async () => {
    device = await testDevice();
    // documents end their device; here all share one
    for (const name of ending) Object.defineProperty(device, name, { value: () => device.sync(), configurable: true });
  });
  afterAll(() => {
    for (const name of ending) Reflect.deleteProperty(device, name);
    rmSync(folder, { recursive: true });
  });

  const createDevice = (): Promise<surface.Device> => Promise.resolve(device);
  for (const program of running) {
    test(program.document, async ({ skip }) => {
      skip(!(await triesEveryKernel()), 'left to the matrix, and to drivers that compile faster than SwiftShader');
      await runProgram(
        program,
        {
          'webgpu-attention': { ...surface, createDevice },
          'webgpu-attention/models': models,
          'node:fs/promises': { writeFile: (name: string, data: string) => writeFile(join(folder, name), data) },
        },
        device,
      );
    });
  }
});

test('commands name scripts, options and files that exist', async () => {
  const help = new Map<string, string>();
  const write = vi.spyOn(console, 'info').mockImplementation((text: string) => void (printed += `${text}\n`));
  let printed = '';
  for (const name of ['demo', 'info', 'shader', 'tune', 'bench', 'bench compare', 'generate']) {
    printed = '';
    await runCommandLine(['node', 'webgpu-attention', ...name.split(' '), '--help'], ROOT);
    help.set(name, printed);
  }
  write.mockRestore();
  // "save this as FILE" before a block
  const files = new Set(
    DOCUMENTS.flatMap((document) =>
      [...readFileSync(new URL(document, ROOT), 'utf8').matchAll(/[Ss]ave this as `([^`]+)`/g)].map(([, file]) => file),
    ),
  );
  expect(shell.flatMap((block) => shellErrors(block, { help, files }))).toEqual([]);
});

test('links lead to files and headings', () => {
  const headings = (document: string): string[] => {
    const text = readFileSync(new URL(document, ROOT), 'utf8').replace(/^(`{3,}).*?^\1$/gms, '');
    return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => slug(heading.replace(/[`*]/g, '')));
  };
  const wrong = DOCUMENTS.flatMap((document) => {
    const text = readFileSync(new URL(document, ROOT), 'utf8').replace(/^(`{3,}).*?^\1$/gms, '');
    return [...text.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, href]) => {
      const target = targetOf(document, href);
      if (!target) return [];
      if (!existsSync(new URL(target.path, ROOT))) return [`${document}: ${href}`];
      const isMissing =
        target.hash !== '' && target.path.endsWith('.md') && !headings(target.path).includes(target.hash);
      if (isMissing) return [`${document}: ${href}`];
      expect(siteLink(document, href)).toMatch(/^(\/|https:)/);
      return [];
    });
  });
  expect(wrong).toEqual([]);
});
