import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { fetchPackage } from '../build/fetch-package.mjs';
import { workContainer, workFolder } from './leftovers.mjs';
import { run, runAloud, StepError, succeeds } from './tool.mjs';

const root = resolve(import.meta.dirname, '../..');
const suite = 'bookworm';
const packages = ['ca-certificates', 'iproute2', 'nftables'];
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Debian's and npm's names for the CPUs, by the name that images have for them. */
const cpus = { amd64: 'x64', arm64: 'arm64' };
const ownArch = process.arch === 'x64' ? 'amd64' : process.arch;

/**
 * Makes a base image where none can be pulled: Debian's smallest system with nft and ip, the Node.js of the npm package
 * that this checkout pins, and the npm that runs us, for the build stage. Returns its name. With an image of the same
 * recipe in the storage it does nothing; the name is given when the image is whole.
 */
export function makeStandIn({ arch = ownArch, mirror = 'http://deb.debian.org/debian' } = {}) {
  if (process.getuid() !== 0) throw new StepError('Making the stand-in needs root, for debootstrap');
  const cpu = cpus[arch];
  if (cpu === undefined) throw new StepError(`There is no stand-in for '${arch}', expected amd64 or arm64`);
  const nodePackage = `node-linux-${cpu}`;
  const nodeVersion = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).optionalDependencies[nodePackage];
  const name = `localhost/remora-node:${recipe(nodeVersion)}-${arch}`;
  if (succeeds('buildah', ['inspect', '--type=image', name])) return name;
  const folder = workFolder();
  try {
    const system = join(folder.path, 'system');
    installDebian(system, arch, mirror);
    installNode(system, nodePackage);
    installNpm(system);
    importSystem(system, join(folder.path, 'system.tar'), name, arch);
    removeEarlierRecipes(name, arch);
  } finally {
    folder.remove();
  }
  return name;
}

/** Another recipe is another name. This file is the recipe, but for Node's version. */
function recipe(nodeVersion) {
  const digest = createHash('sha256')
    .update(readFileSync(import.meta.filename))
    .digest('hex');
  return `${nodeVersion}-${digest.slice(0, 8)}`;
}

function installDebian(system, arch, mirror) {
  const what = ['--variant=minbase', `--arch=${arch}`, `--include=${packages.join(',')}`];
  runAloud('debootstrap', [...what, suite, system, mirror]);
  // Package lists and archives: half of all bytes, and nothing is installed from them.
  for (const waste of ['var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/man', 'usr/share/locale']) {
    rmSync(join(system, waste), { recursive: true, force: true });
    mkdirSync(join(system, waste), { recursive: true });
  }
}

function installNode(system, nodePackage) {
  const installed = join(root, 'node_modules', nodePackage);
  const source = existsSync(installed) ? installed : fetchPackage(root, nodePackage);
  copyFileSync(join(source, 'bin/node'), join(system, 'usr/local/bin/node'));
  if (source !== installed) rmSync(dirname(source), { recursive: true });
}

/** Where the public images of Node.js have it. */
function installNpm(system) {
  const script = process.env.npm_execpath ?? run('npm', ['exec', '--', 'node', '-p', 'process.env.npm_execpath']);
  const target = join(system, 'usr/local/lib/node_modules/npm');
  cpSync(dirname(dirname(script)), target, { recursive: true, dereference: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(system, 'usr/local/bin/npm'));
}

function importSystem(system, tarball, name, arch) {
  run('tar', ['--numeric-owner', '-C', system, '-cf', tarball, '.']);
  const container = workContainer();
  run('buildah', ['from', '--quiet', `--name=${container}`, 'scratch']);
  try {
    run('buildah', ['add', '--quiet', container, tarball, '/']);
    run('buildah', ['config', `--env=PATH=${path}`, `--arch=${arch}`, '--os=linux', '--cmd=node', container]);
    run('buildah', ['commit', '--quiet', container, name]);
  } finally {
    run('buildah', ['rm', container]);
  }
}

function removeEarlierRecipes(name, arch) {
  const names = run('buildah', ['images', '--format', '{{.Name}}:{{.Tag}}']).split('\n');
  const isEarlier = (other) =>
    other.startsWith('localhost/remora-node:') && other.endsWith(`-${arch}`) && other !== name;
  for (const earlier of names.filter(isEarlier)) succeeds('buildah', ['rmi', earlier]);
}
