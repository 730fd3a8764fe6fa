#!/usr/bin/env node
import { runCommandLine } from './commands.ts';

// A reader that stops early, such as head, causes no error; the attention maps are written all the same.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

// The build puts this file at dist/cli.js, one folder below the package's root.
process.exitCode = await runCommandLine(process.argv, new URL('../', import.meta.url));
