/**
 * Tests the package from its tarball, as `npm pack` writes it and a user installs it; needs npm's registry:
 *
 *     npm run test:package
 *
 * The last line is `N passed, N failed`.
 */
import { installPacked } from './installed.mjs';
import { testPage } from './page.mjs';
import { testStart } from './start.mjs';
import { testTypes } from './types.mjs';

const installed = installPacked();
try {
  console.log(`tarball: ${(installed.bytes / 1e6).toFixed(2)} MB\n`);
  const results = [
    testStart(installed, console.log),
    await testPage(installed, console.log),
    await testTypes(installed.folder, console.log),
  ];
  const [passed, failed] = ['passed', 'failed'].map((key) => results.reduce((sum, result) => sum + result[key], 0));
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
} finally {
  installed.dispose();
}
