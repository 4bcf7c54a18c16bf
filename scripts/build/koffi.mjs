import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fetchPackage } from './fetch-package.mjs';

/**
 * Copies koffi's native files to `folder`/native, where the bundle looks for them, in the build for glibc: so is the
 * Node.js of the image. Without `cpu` those of every platform that npm installed; with it, that one and no other.
 * Returns their paths.
 */
export function copyKoffi({ root, folder, cpu }) {
  const names = cpu === undefined ? readdirSync(join(root, 'node_modules/@koromix')) : [`koffi-linux-${cpu}`];
  return names.flatMap((name) => {
    const copy = join(folder, 'native', name, 'koffi.node');
    return copyNative(root, name, resolve(root, copy)) ? [copy] : [];
  });
}

/** False when the package holds no build for glibc. */
function copyNative(root, name, target) {
  const installed = join(root, 'node_modules/@koromix', name);
  const isInstalled = existsSync(installed);
  // npm installs only the packages of its own CPU, and `npm ci --cpu` would exchange those of all other tools as well.
  const source = isInstalled ? installed : fetchPackage(root, `@koromix/${name}`);
  try {
    const native = join(source, name.replace('koffi-', '').replace('-', '_'), 'koffi.node');
    if (!existsSync(native)) return false;
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(native, target);
    return true;
  } finally {
    if (!isInstalled) rmSync(dirname(source), { recursive: true });
  }
}
