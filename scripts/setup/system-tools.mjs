import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { say } from './errors.mjs';

/** Debian's package for each tool that a command may ask for. */
const debianPackages = {
  nft: 'nftables',
  ip: 'iproute2',
  buildah: 'buildah',
  debootstrap: 'debootstrap',
  podman: 'podman',
  catatonit: 'catatonit',
  runc: 'runc',
  cni: 'containernetworking-plugins',
};

/** A tool that is no program on the PATH. */
const fixedPaths = { cni: ['/usr/lib/cni/bridge', '/usr/libexec/cni/bridge', '/opt/cni/bin/bridge'] };

const aptDeadlineMs = 5 * 60_000;
const aptOptions = [
  '-q',
  '-y',
  '-o',
  'Acquire::Retries=1',
  '-o',
  'Acquire::http::Timeout=20',
  '-o',
  'DPkg::Lock::Timeout=60',
];

/** Those of `tools` that are not installed. Also looks where root's tools are, which are seldom on a user's PATH. */
export function missingTools(tools) {
  return tools.filter((tool) => find(tool) === undefined);
}

/** True for root on a system with apt-get. */
export function canInstallTools() {
  return process.getuid() === 0 && find('apt-get') !== undefined;
}

/** Tries to install `tools`; what is still missing afterwards is for `explainMissing`. */
export function installTools(tools) {
  const packages = tools.map((tool) => debianPackages[tool]);
  say(`installing ${packages.join(' and ')} for ${tools.join(' and ')}.`);
  const install = ['install', '--no-install-recommends', ...packages];
  if (areKnown(packages) && aptGet(install)) return;
  if (aptGet(['update'])) aptGet(install);
}

/** One sentence about each tool that is missing. Never an error: the demo falls back to loopback. */
export function explainMissing(tools) {
  for (const tool of tools) {
    const isForDemo = ['nft', 'ip'].includes(tool);
    say(
      `\`${tool}\` is missing, so ${isForDemo ? 'the demo runs on loopback and ' : ''}tests that need it are skipped. ` +
        `Install the package ${debianPackages[tool]} as root, for example with \`apt-get install ${debianPackages[tool]}\`.`,
    );
  }
}

/** A container's image often comes without package lists: apt-get would only say that it knows no such package. */
function areKnown(packages) {
  return spawnSync('apt-cache', ['show', ...packages], { stdio: 'ignore' }).status === 0;
}

function aptGet(args) {
  const { status } = spawnSync('apt-get', [...aptOptions, ...args], {
    stdio: ['ignore', process.stderr, process.stderr],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: aptDeadlineMs,
  });
  return status === 0;
}

function find(program) {
  if (program in fixedPaths) return fixedPaths[program].find(isExecutable);
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, program)).find(isExecutable);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
