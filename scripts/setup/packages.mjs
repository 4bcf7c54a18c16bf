import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { exitCodes, SetupError, say, writing } from './errors.mjs';
import { npmCommand } from './npm.mjs';

const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

/** What set-up needs to know about the checkout; throws where no package brings a Node.js. */
export function checkoutAt(root) {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const lockfile = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const platform = `${process.platform}-${process.arch}`;
  const nodePackage = `node-${platform}`;
  const nodeVersion = manifest.optionalDependencies?.[nodePackage];
  if (nodeVersion === undefined) {
    throw new SetupError(exitCodes.unavailable, `Remora runs on Linux, on x64 and arm64; this is ${platform}.`);
  }
  const { dependencies, optionalDependencies, devDependencies, overrides } = manifest;
  const wanted = JSON.stringify([platform, dependencies, optionalDependencies, devDependencies, overrides, lockfile]);
  return {
    root,
    nodePackage,
    nodeVersion,
    node: join(root, 'node_modules/.bin/node'),
    stamp: join(root, 'node_modules/.setup-stamp'),
    digest: createHash('sha256').update(wanted).digest('hex'),
  };
}

/** True when the last install finished, was of these very packages, and its Node.js runs. */
export function arePackagesFresh({ stamp, digest, node, nodeVersion }) {
  return readStamp(stamp) === digest && versionOf(node) === nodeVersion;
}

/** Installs exactly the lockfile, checks the Node.js that it brought, and writes the stamp last. */
export async function installPackages(checkout, lock) {
  say('installing the packages of package-lock.json; this happens once and takes half a minute.');
  writing(join(checkout.root, 'node_modules'), () => rmSync(checkout.stamp, { force: true }));
  await npmCi(checkout.root, lock);
  linkNode(checkout);
  writeFileSync(checkout.stamp, checkout.digest);
}

/** Ends with npm, or with a signal to set-up, which ends npm first. */
async function npmCi(root, lock) {
  const npm = startNpmCi(root);
  let interruptedBy;
  const interrupt = (signal) => {
    interruptedBy ??= signal;
    npm.kill();
  };
  for (const signal of Object.keys(signalNumbers)) process.on(signal, interrupt);
  try {
    if (npm.pid !== undefined) lock.extendTo(npm.pid);
    const end = await npm.ended;
    if (interruptedBy === undefined) requireSuccess(end);
    else throw new SetupError(128 + signalNumbers[interruptedBy], 'interrupted; the next run installs again.');
  } finally {
    npm.kill();
    for (const signal of Object.keys(signalNumbers)) process.off(signal, interrupt);
  }
}

/**
 * npm leads a process group of its own, so that all of it can be ended at once: an npm that lived on would remove
 * node_modules some seconds later, under the next run.
 */
function startNpmCi(root) {
  const [command, ...prefix] = npmCommand();
  const flags = ['--ignore-scripts', '--include=dev', '--include=optional', '--loglevel=error', '--progress=false'];
  const npm = spawn(command, [...prefix, 'ci', ...flags], {
    cwd: root,
    detached: true,
    stdio: ['ignore', process.stderr, process.stderr],
  });
  let isRunning = npm.pid !== undefined;
  const ended = new Promise((resolve) => {
    npm.once('error', (error) => resolve({ error }));
    npm.once('exit', (code, signal) => {
      isRunning = false;
      resolve({ code, signal });
    });
  });
  return { pid: npm.pid, ended, kill: () => isRunning && process.kill(-npm.pid, 'SIGKILL') };
}

function requireSuccess({ error, code, signal }) {
  if (code === 0) return;
  const how = error?.message ?? (signal === null ? `exit code ${code}` : `signal ${signal}`);
  throw new SetupError(
    exitCodes.unavailable,
    `\`npm ci\` failed (${how}); its own words are above. Check that a package registry can be reached, then run it again.`,
  );
}

/** npm 9 and 10 link no `.bin/node` when two packages offer one; and npm skips what it cannot verify, without a word. */
function linkNode({ root, node, nodePackage, nodeVersion }) {
  if (versionOf(node) === nodeVersion) return;
  mkdirSync(join(root, 'node_modules/.bin'), { recursive: true });
  rmSync(node, { force: true });
  symlinkSync(`../${nodePackage}/bin/node`, node);
  const found = versionOf(node);
  if (found === nodeVersion) return;
  throw new SetupError(
    exitCodes.unavailable,
    `npm brought ${found === undefined ? 'no Node.js that runs here' : `Node.js ${found}`}, but Remora needs ${nodeVersion}, ` +
      `from the package ${nodePackage}. Check that your registry serves that package, and that this system has glibc.`,
  );
}

function readStamp(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Undefined when it does not run. */
function versionOf(node) {
  const { status, stdout } = spawnSync(node, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? stdout.trim().replace(/^v/, '') : undefined;
}
