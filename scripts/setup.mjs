/**
 * Makes a fresh clone ready: the packages of the lockfile, the pinned Node.js among them, and the system tools that are
 * named as arguments. `npm start`, `npm test` and the others run it first, under whatever Node.js npm itself runs on,
 * hence plain JavaScript without dependencies. With nothing to do it costs a twelfth of a second and writes nothing.
 *
 *   node scripts/setup.mjs [nft] [ip]
 */
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { SetupError, say } from './setup/errors.mjs';
import { withLock } from './setup/lock.mjs';
import { arePackagesFresh, checkoutAt, installPackages } from './setup/packages.mjs';
import { canInstallTools, explainMissing, installTools, missingTools } from './setup/system-tools.mjs';

async function setUp(root, wantedTools) {
  const checkout = checkoutAt(root);
  const missing = missingTools(wantedTools);
  const installsTools = missing.length > 0 && canInstallTools();
  if (installsTools || !arePackagesFresh(checkout)) {
    await withLock(root, async (lock) => {
      if (!arePackagesFresh(checkout)) await installPackages(checkout, lock);
      if (installsTools) installTools(missing);
    });
  }
  explainMissing(missingTools(missing));
}

try {
  await setUp(fileURLToPath(new URL('..', import.meta.url)), process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = error.exitCode;
}
