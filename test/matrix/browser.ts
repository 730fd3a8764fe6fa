/**
 * Runs test files in a page of a headless browser. vitest serves the page and talks to it, so that a browser only has to be
 * started with the page's address: no driver and no protocol of automation is needed, and any browser will do.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineBrowserProvider } from '@vitest/browser';
import type { BrowserProvider, BrowserProviderOption } from 'vitest/node';
import { CHROMIUM_FLAGS } from './runtimes.mjs';

export type BrowserName = keyof typeof BROWSERS;

interface Browser {
  /** The command line's options for a profile folder. */
  readonly options: (profile: string) => string[];
  /** The settings file of a profile, by name. */
  readonly settings?: Readonly<Record<string, string>>;
}

const BROWSERS = {
  chromium: {
    options: (profile) => [...CHROMIUM_FLAGS, `--user-data-dir=${profile}`],
  },
  firefox: {
    options: (profile) => ['--headless', '--no-remote', '--profile', profile],
    settings: {
      'user.js': ['dom.webgpu.enabled', 'gfx.webgpu.ignore-blocklist', 'gfx.webrender.all']
        .map((name) => `user_pref("${name}", true);\n`)
        .join(''),
    },
  },
} satisfies Record<string, Browser>;

/** The browser of vitest's instance, started by the command WEBGPU_ATTENTION_TEST_BROWSER_PATH. */
export function browserCommand(): BrowserProviderOption {
  return defineBrowserProvider({
    name: 'command',
    supportedBrowser: Object.keys(BROWSERS),
    options: {},
    providerFactory: (project) => start(project.config.browser.name as BrowserName),
  });
}

function start(name: BrowserName): BrowserProvider {
  const profile = mkdtempSync(join(tmpdir(), `${name}-`));
  let child: ChildProcess | undefined;
  // vitest does not close its browser when it is told to end
  process.once('SIGTERM', () => {
    child?.kill();
    process.exit(143);
  });
  return {
    name: 'command',
    supportsParallelism: false,
    getCommandsContext: () => ({}),
    openPage: async (_session, url) => {
      const { options, settings = {} }: Browser = BROWSERS[name];
      for (const [file, text] of Object.entries(settings)) writeFileSync(join(profile, file), text);
      // Browsers fill stderr with warnings about the machine. What a page logs comes through vitest.
      child = spawn(process.env['WEBGPU_ATTENTION_TEST_BROWSER_PATH']!, [...options(profile), url], {
        stdio: 'ignore',
      });
      await once(child, 'spawn'); // rejects if it cannot be started
    },
    close: async () => {
      if (child && child.exitCode === null) {
        const ended = once(child, 'exit');
        child.kill();
        await ended;
      }
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
