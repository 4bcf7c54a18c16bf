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
  haproxy: 'haproxy',
  nginx: 'nginx',
  'nginx-stream': 'libnginx-mod-stream',
  // With promtool.
  prometheus: 'prometheus',
  // Without the parts that make Debian start it.
  mariadbd: 'mariadb-server-core',
  mariadb: 'mariadb-client-core',
  'nats-server': 'nats-server',
};

const contenders = ['haproxy', 'nginx', 'nginx-stream'];

/** Tools whose packages are servers that Debian starts as soon as they are installed, and at each boot. */
const servers = [...contenders, 'prometheus', 'nats-server'];

/** A tool that is no program on the PATH. */
const fixedPaths = {
  cni: ['/usr/lib/cni/bridge', '/usr/libexec/cni/bridge', '/opt/cni/bin/bridge'],
  'nginx-stream': ['/usr/lib/nginx/modules/ngx_stream_module.so'],
};

/** What Debian asks before it starts a server; 101 forbids it, as in every container's image. */
const startPolicy = '/usr/sbin/policy-rc.d';

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

/**
 * Tries to install `tools`; what is still missing afterwards is for `explainMissing`. Servers only where nothing starts
 * them: who wants figures or tests has not asked for a web server on port 80.
 */
export function installTools(wanted) {
  const tools = wanted.filter((tool) => !servers.includes(tool) || staysStopped(tool));
  if (tools.length === 0) return;
  const packages = tools.map((tool) => debianPackages[tool]);
  say(`installing ${packages.join(' and ')} for ${tools.join(' and ')}.`);
  const install = ['install', '--no-install-recommends', ...packages];
  if (areKnown(packages) && aptGet(install)) return;
  if (aptGet(['update'])) aptGet(install);
}

/** One sentence about each tool that is missing. Never an error: the demo falls back to loopback. */
export function explainMissing(tools) {
  for (const tool of tools) {
    say(
      `\`${tool}\` is missing, so ${consequenceOf(tool)}. ` +
        `Install the package ${debianPackages[tool]} as root, for example with \`apt-get install ${debianPackages[tool]}\`.`,
    );
  }
}

function consequenceOf(tool) {
  if (contenders.includes(tool)) return 'there is no benchmark';
  return `${['nft', 'ip'].includes(tool) ? 'the demo runs on loopback and ' : ''}tests that need it are skipped`;
}

function staysStopped(server) {
  return spawnSync(startPolicy, [server, 'start'], { stdio: 'ignore' }).status === 101;
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
