#!/usr/bin/env node
import { runCommandLine } from './commands.ts';

// A reader that has seen enough, such as head, is no error, and the attention maps are written all the same.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

// Built, this is dist/cli.js, one below the package's root.
process.exitCode = await runCommandLine(process.argv, new URL('../', import.meta.url));
