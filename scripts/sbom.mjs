/**
 * Prints the software bill of materials of the product as CycloneDX JSON: the packages that `dependencies` bring, for one
 * CPU, and nothing of what builds or tests it. From the lockfile alone, so the same commit always prints the same.
 *
 *   npm run --silent sbom -- [--cpu x64|arm64]
 *
 * CycloneDX and not SPDX, although npm writes both: it is what vulnerability scanners read best, and every package has
 * its digest and its package URL in it.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { npmCommand } from './setup/npm.mjs';

const root = resolve(import.meta.dirname, '..');

/** Of all packages: with `--omit=dev` npm 11 also leaves out those of the product that a tool needs as well. */
function npmSbom() {
  const args = [
    'sbom',
    '--sbom-format=cyclonedx',
    '--sbom-type=application',
    '--package-lock-only',
    '--loglevel=error',
  ];
  const [command, ...prefix] = npmCommand();
  return execFileSync(command, [...prefix, ...args], { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
}

/**
 * `name@version` of what `dependencies` bring, each found in the lockfile as Node.js would find it. The lockfile's own
 * marks say too much: what an optional peer of the product would bring counts there as production.
 */
function productPackages(cpu) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const found = new Set();
  const follow = (name, from) => {
    const path = foldersAbove(from)
      .map((folder) => `${folder}node_modules/${name}`)
      .find((candidate) => candidate in packages);
    if (path === undefined || found.has(path) || !isForImage(packages[path], cpu)) return;
    found.add(path);
    const { dependencies, optionalDependencies } = packages[path];
    for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) follow(next, path);
  };
  // Not the optional ones: they bring the Node.js for checkouts, where an image has the one of its base.
  for (const name of Object.keys(packages[''].dependencies)) follow(name, '');
  return new Set([...found].map((path) => `${path.replace(/^.*node_modules\//, '')}@${packages[path].version}`));
}

/** `node_modules/a/node_modules/b/`, `node_modules/a/`, and the root. */
function foldersAbove(path) {
  return path === '' ? [''] : [`${path}/`, ...foldersAbove(path.replace(/\/?node_modules\/(@[^/]+\/)?[^/]+$/, ''))];
}

function isForImage({ cpu, os }, imageCpu) {
  return (cpu === undefined || cpu.includes(imageCpu)) && (os === undefined || os.includes('linux'));
}

function withOnlyTheProduct(bom, product) {
  const components = bom.components.filter((component) => product.has(component['bom-ref']));
  const refs = new Set([bom.metadata.component, ...components].map((component) => component['bom-ref']));
  const dependencies = bom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((dependency) => refs.has(dependency)) }));
  // Both are new in each run, and would make of every build another image.
  const { serialNumber: _serialNumber, ...rest } = bom;
  const { timestamp: _timestamp, ...metadata } = bom.metadata;
  // npm names the root after its folder.
  const component = { ...metadata.component, name: 'remora' };
  return { ...rest, metadata: { ...metadata, component }, components, dependencies };
}

const { values } = parseArgs({ options: { cpu: { type: 'string', default: process.arch } } });
const bom = withOnlyTheProduct(JSON.parse(npmSbom()), productPackages(values.cpu));
process.stdout.write(`${JSON.stringify(bom, null, 2)}\n`);
