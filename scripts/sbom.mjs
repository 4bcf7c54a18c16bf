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
import { resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { npmCommand } from './setup/npm.mjs';

const root = resolve(import.meta.dirname, '..');

function npmSbom() {
  const args = ['sbom', '--sbom-format=cyclonedx', '--sbom-type=application', '--omit=dev', '--package-lock-only'];
  const [command, ...prefix] = npmCommand();
  return execFileSync(command, [...prefix, ...args, '--loglevel=error'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
}

/** Native code of other platforms, and the Node.js for checkouts: an image has the one of its base. */
function isInProduct({ name }, cpu) {
  if (name.startsWith('node-linux-')) return false;
  return !name.startsWith('@koromix/koffi-') || name === `@koromix/koffi-linux-${cpu}`;
}

function withOnlyTheProduct(bom, cpu) {
  const components = bom.components.filter((component) => isInProduct(component, cpu));
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
const bom = withOnlyTheProduct(JSON.parse(npmSbom()), values.cpu);
process.stdout.write(`${JSON.stringify(bom, null, 2)}\n`);
