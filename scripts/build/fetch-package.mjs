import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { npmCommand } from '../setup/npm.mjs';

const packFlags = ['--ignore-scripts', '--loglevel=error', '--json'];

/**
 * Fetches one package of package-lock.json, for whatever platform it is, and unpacks it into a new folder. Returns the
 * package's folder; its parent is the caller's to remove. Throws when it is not the one that the lockfile names.
 */
export function fetchPackage(root, name) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const { version, integrity } = packages[`node_modules/${name}`] ?? {};
  if (integrity === undefined) throw new Error(`package-lock.json has no integrity for ${name}`);
  const folder = mkdtempSync(join(tmpdir(), 'remora-package-'));
  try {
    const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
    const [command, ...npm] = npmCommand();
    const pack = execFileSync(
      command,
      [...npm, 'pack', `${name}@${version}`, ...packFlags, `--pack-destination=${folder}`],
      options,
    );
    // npm 12 answers with an object by name where earlier ones answer with a list.
    const [{ filename }] = Object.values(JSON.parse(pack));
    requireIntegrity(join(folder, filename), name, integrity);
    execFileSync('tar', ['-xzf', join(folder, filename), '-C', folder], options);
    rmSync(join(folder, filename));
    return join(folder, 'package');
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
}

/** Subresource integrity, as in the lockfile: `sha512-<base64>`. */
function requireIntegrity(tarball, name, integrity) {
  const [algorithm = ''] = integrity.split('-');
  const found = `${algorithm}-${createHash(algorithm).update(readFileSync(tarball)).digest('base64')}`;
  if (found !== integrity)
    throw new Error(`${name} has the digest ${found}, expected ${integrity} as in package-lock.json`);
}
