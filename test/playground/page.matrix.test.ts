/** The playground as a visitor uses it, in headless Chromium: clicks, typing, keys. Skipped where that does not start. */
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { parseResult } from '../../bench/result-text.ts';
import { openBrowser, servePlayground } from './browser.ts';

const found = await openBrowser();
if (typeof found === 'string') console.warn(`SKIPPED test/playground/page.matrix.test.ts: ${found}`);

describe.skipIf(typeof found === 'string')('the playground in Chromium', async () => {
  if (typeof found === 'string') return;
  const browser: Browser = found;
  const folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-playground-'));
  const { url, close } = await servePlayground(folder);
  afterAll(async () => {
    await browser.close();
    await close();
    rmSync(folder, { recursive: true });
  });

  let errors: string[] = [];
  afterEach(() => {
    expect(errors).toEqual([]);
    errors = [];
  });

  async function open(options: BrowserContextOptions = {}, before?: string): Promise<Page> {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(120_000);
    const page = await context.newPage();
    page.on('console', (message) => void (message.type() === 'error' && errors.push(message.text())));
    page.on('pageerror', (error) => void errors.push(String(error)));
    await page.addInitScript(
      `window.shifts = [];
       new PerformanceObserver((list) => {
         for (const { hadRecentInput, sources } of list.getEntries()) {
           // CodeMirror makes the numbers of lines anew as they come into view
           const own = sources.filter(({ node }) => !node?.parentElement?.closest('.cm-gutters'));
           if (!hadRecentInput) window.shifts.push(...own.map(({ node }) => node?.id || node?.outerHTML || 'a text'));
         }
       }).observe({ type: 'layout-shift', buffered: true });`,
    );
    if (before) await page.addInitScript(before);
    await page.goto(url);
    return page;
  }

  const readout = (page: Page) => page.locator('#readout');
  /** Waits until the text is another, and returns it. */
  async function changed(page: Page, selector: string, from: string): Promise<string> {
    await page.waitForFunction(
      `document.querySelector(${JSON.stringify(selector)}).textContent !== ${JSON.stringify(from)}`,
    );
    return (await page.locator(selector).textContent())!;
  }

  test('a sentence is typed, cells and heads are chosen, options switched', async () => {
    const page = await open({ viewport: { width: 1280, height: 900 } });
    await readout(page).getByText('looks at').waitFor();
    await page.locator('#device').getByText('swiftshader').waitFor();
    expect(await page.locator('#heads button').count()).toBe(16);

    await page.locator('#sentence').fill('');
    await page.locator('#sentence').pressSequentially('The cat saw the dog.');
    await page.waitForFunction(`document.querySelectorAll('#tokens button').length === 7`);
    expect(await page.locator('#tokens button').allTextContents()).toEqual([
      '⏎',
      'The',
      'cat',
      'saw',
      'the',
      'dog',
      '.',
    ]);
    expect(await readout(page).textContent()).toContain('“.” (6)');

    const matrix = page.locator('#matrix');
    await matrix.focus();
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    expect(await readout(page).textContent()).toMatch(/“dog” \(5\) looks at “The” \(1\): 0\.\d{3} · layer 2, head 1/);
    await page.keyboard.press('End');
    expect(await readout(page).textContent()).toContain('hidden, because it comes later (causal)');

    const box = (await matrix.boundingBox())!;
    await page.mouse.move(box.x + box.width * 0.3, box.y + box.height * 0.97);
    expect(await readout(page).textContent()).toContain('“.” (6)');

    const one = (await readout(page).textContent())!;
    await page.locator('#heads button').nth(13).click();
    expect(await changed(page, '#readout', one)).toContain('layer 4, head 2');
    await page.keyboard.press('ArrowLeft');
    expect(await readout(page).textContent()).toContain('layer 4, head 1');

    await page.mouse.move(0, 0); // or scrolling would bring another cell under it
    await matrix.focus();
    await page.keyboard.press('Home');
    for (let row = 6; row >= 0; row--) await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('End');
    const hiddenByBand = (await readout(page).textContent())!;
    expect(hiddenByBand).toContain('“The” (1) looks at “.” (6): hidden');
    await page.locator('#causal').uncheck();
    expect(await changed(page, '#readout', hiddenByBand)).toMatch(/: 0\.\d{3} ·/);
    await page.locator('#has-window').check();
    await readout(page).getByText('outside of the window').waitFor();
    await page.locator('#causal').check();

    await page.locator('#tiles').selectOption('flash');
    await page.locator('#block').selectOption('2');
    await page.locator('#tiles-count').getByText('flash visits 9 tiles of 16').waitFor();
    await page.locator('#window').fill('1');
    await page.locator('#tiles-count').getByText('flash visits 7 tiles of 16').waitFor();
    await page.locator('#tiles').selectOption('local');
    await page.locator('#tiles-count').getByText('local visits 6 tiles of 16').waitFor();

    await page.locator('#has-window').uncheck();
    await page.locator('#alibi').check();
    await page.locator('#has-softcap').check();
    await page.locator('#tokens button').nth(2).click();
    await page.locator('#tokens button[aria-pressed="true"]').getByText('cat').waitFor();
    await page.locator('#show-all').click();
    await page.waitForFunction(`document.querySelectorAll('#tokens [aria-pressed="true"]').length === 0`);
    expect(await page.locator('#attention-error').textContent()).toBe('');
    expect(await page.evaluate('window.shifts')).toEqual([]);
    await page.context().close();
  });

  test('a modifier changes the matrix while it is typed, and errors are shown at their line', async () => {
    const page = await open({ viewport: { width: 1280, height: 900 } });
    await readout(page).getByText('looks at').waitFor();
    await page.locator('#sentence').fill('The cat saw the dog.');
    await readout(page).getByText('“.” (6)').waitFor();
    const status = page.locator('#modifier-status');
    await page.locator('#matrix').focus();
    await page.keyboard.press('End');
    await page.keyboard.press('ArrowLeft');
    const plain = (await readout(page).textContent())!;
    expect(plain).toMatch(/“\.” \(6\) looks at “dog” \(5\): 0\.\d{3}/);
    await page.locator('#example').selectOption('Every second key');
    await status.getByText('Applied to every layer.').waitFor();
    expect(await readout(page).textContent()).toContain('looks at “dog” (5): 0.000');

    const replace = async (source: string) => {
      await page.locator('#editor .cm-content').click();
      await page.keyboard.press('Control+A');
      await page.keyboard.insertText(source);
    };
    const scoreMod = (body: string) =>
      `fn score_mod(score: f32, batch: u32, head: u32, query: u32, key: u32) -> f32 {\n  ${body}\n}\n`;
    await replace(scoreMod('return score + wrong;'));
    await status.getByText("Line 2, column 18: unknown name 'wrong'").waitFor();
    await page.locator('#editor .cm-lint-marker-error').waitFor();
    await replace(scoreMod('return score + query;'));
    await status.getByText(/^Line 2, column 10: no matching overload/).waitFor();
    await replace(scoreMod('return select(-100.0, 100.0, key == 5u);'));
    await status.getByText('Applied to every layer.').waitFor();
    expect(await readout(page).textContent()).toContain('looks at “dog” (5): 1.000');
    expect(await page.locator('#editor .cm-lint-marker-error').count()).toBe(0);
    await page.locator('#applies').uncheck();
    await status.getByText('Not applied.').waitFor();
    expect(await readout(page).textContent()).toBe(plain);
    await page.context().close();
  });

  test('workers compare kernels, write and measure, and the result is one that bench/results takes', async () => {
    const page = await open({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
    await page.locator('#longest').selectOption('128');
    await page.locator('#compare-start').click();
    await page.locator('#compare-status').getByText('Measured in a worker').waitFor();
    expect(await page.locator('#bars .bar-line').count()).toBe(9);
    expect(await page.locator('#bars tr.flash').textContent()).toMatch(/flashAttention.* ms.*none.*e-\d.*: /);
    expect(await page.locator('#chart-time circle').count()).toBe(3);

    await page.locator('#prompt').fill('The cat sang: la di do. The dog sang it too: la di');
    await page.locator('#temperature').fill('0');
    await page.keyboard.press('Tab');
    await page.locator('#text-start').press('Enter');
    await page
      .locator('#text-status')
      .getByText(/tokens\. The first came after/)
      .waitFor();
    expect(await page.locator('#written').textContent()).toMatch(/^The cat sang.* too: la di do\./);

    await page.locator('#set').selectOption('look');
    await page.locator('#measure-start').click();
    await page.locator('#measure-status').getByText('SwiftShader').waitFor();
    expect(await page.locator('#results tr').count()).toBe(3);
    const downloading = page.waitForEvent('download');
    await page.locator('#download').click();
    const download = await downloading;
    expect(download.suggestedFilename()).toBe('swiftshader.json');
    const { cases, failures, host } = parseResult(await readFile(await download.path(), 'utf8'), 'swiftshader.json');
    expect(cases.map(({ name }) => name)).toContain('softmax 1x8x1024x1024 float32');
    expect([failures, host.platform]).toEqual([undefined, 'browser']);
    expect(await page.locator('#report').getAttribute('href')).toContain('template=benchmark.yml');
    expect(await page.evaluate('window.shifts')).toEqual([]);
    await page.context().close();
  });

  // on a CPU driver the kernels of gradients take half a minute to compile
  test.runIf(process.env['WEBGPU_ATTENTION_MATRIX'] === '1')(
    'a worker trains a model, and its loss is drawn',
    async () => {
      const page = await open();
      await page.locator('#training-start').click();
      await page.locator('#training-status').getByText('Step 3 of 300').waitFor();
      await page.locator('#training-start').click();
      await page.locator('#training-status').getByText('steps done. Loss').waitFor();
      expect(await page.locator('#chart-loss path').count()).toBeGreaterThan(0);
      expect(await page.evaluate('window.shifts')).toEqual([]);
      await page.context().close();
    },
  );

  test.each(['light', 'dark'] as const)('a phone shows it without scrolling sideways, %s', async (colorScheme) => {
    const page = await open({ viewport: { width: 375, height: 812 }, isMobile: true, hasTouch: true, colorScheme });
    await readout(page).getByText('looks at').waitFor();
    await page.locator('#matrix').tap();
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    expect(await page.evaluate('window.shifts')).toEqual([]);
    await page.context().close();
  });

  test('without WebGPU it says what to do in this browser', async () => {
    const page = await open({}, `Object.defineProperty(navigator, 'gpu', { value: undefined });`);
    await page.locator('#missing').getByText('Chrome or Edge on Linux (this browser)').waitFor();
    expect(await page.locator('#missing-reason').textContent()).toContain('there is no WebGPU here');
    expect(await page.locator('#page').isVisible()).toBe(false);
    await page.context().close();
  });
});
