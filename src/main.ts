#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { openFilesLimit } from './descriptors.ts';
import { codeOf, exitCodes, messageOf, RemoraError, UnavailableError } from './errors.ts';
import type { Host, Subcommand } from './host.ts';
import { version } from './version.ts';

interface Entry {
  readonly does: string;
  /** Of a server, which runs until it is stopped and holds a private key: the flags of Node.js that it runs with. */
  readonly serverFlags?: readonly string[];
  load(): Promise<{ run: Subcommand }>;
}

/**
 * Given to a server by starting it again in the same process.
 *
 * No prototype to pollute, no signal that opens the inspector in front of somebody's payments, no variable of the
 * environment in a diagnostic report. And garbage is collected when memory is short: V8 does not know of the container's
 * limit.
 */
const hardened = ['--disable-proto=delete', '--disable-sigusr1', '--report-exclude-env', '--expose-gc'];
/**
 * Every byte of a connection passes through a buffer outside V8's heap, 16 or 64 KiB each, and becomes garbage at once. V8
 * counts it towards the limit of a heap of 11 MiB, and by default collected the whole heap for every 12 MiB that were
 * carried; with a fourfold limit, CPU per byte fell by a third. And small young generations throw buffers away before there
 * are many of them: memory after load fell by a third. `npm run bench` shows both.
 */
const forBuffers = ['--heap-growing-percent=300', '--max-semi-space-size=2'];
const hardenedMarker = 'REMORA_NODE_FLAGS_SET';

/** Every subcommand is loaded when it is run and not before: a sidecar never loads the certificate authority. */
const subcommands: Readonly<Record<string, Entry>> = {
  init: {
    does: 'write the redirect rules of this pod, prove that they capture, exit',
    load: () => import('./redirect/command.ts'),
  },
  agent: {
    does: 'run the sidecar',
    serverFlags: [...hardened, ...forBuffers],
    load: () => import('./sidecar.ts'),
  },
  'control-plane': {
    does: 'run the certificate authority, discovery and policy server',
    serverFlags: hardened,
    load: () => import('./control-plane/command.ts'),
  },
  authority: {
    does: 'make the root and the keys of a mesh, once',
    load: () => import('./control-plane/authority-command.ts'),
  },
  inject: { does: 'add the sidecar to Kubernetes YAML', load: () => import('./injector/command.ts') },
  token: {
    does: 'print a workload token of the embedded issuer',
    load: () => import('./control-plane/token-command.ts'),
  },
  wait: { does: 'wait until the sidecar of this pod is ready', load: () => import('./cli/wait/command.ts') },
  status: { does: 'show a running agent at one glance', load: () => import('./cli/status/command.ts') },
  connections: {
    does: 'show the connections that a running agent carries',
    load: () => import('./cli/connections/command.ts'),
  },
  handshakes: {
    does: "show a running agent's handshakes that failed last, and what to do",
    load: () => import('./cli/handshakes/command.ts'),
  },
  certs: {
    does: "show a running agent's certificates, and who needs which root",
    load: () => import('./cli/certs/command.ts'),
  },
  mesh: {
    does: 'list the sidecars of a mesh as they report themselves to the control plane',
    load: () => import('./control-plane/mesh/command.ts'),
  },
  'strict-preview': {
    does: 'say what switching to STRICT now would break',
    load: () => import('./cli/strict-preview/command.ts'),
  },
  validate: {
    does: "check Istio's policy and the other objects of a registry",
    load: () => import('./control-plane/validate/command.ts'),
  },
  policy: {
    does: 'preview policy that is not applied yet: whom it would refuse',
    load: () => import('./control-plane/preview/policy-command.ts'),
  },
  explain: {
    does: 'say what would become of a connection, step by step, and why',
    load: () => import('./cli/explain/command.ts'),
  },
  demo: { does: 'run a whole mesh on this machine and show it', load: () => import('./cli/demo/command.ts') },
};

function host(args: readonly string[]): Host {
  return {
    args,
    env: process.env,
    program: [process.execPath, ...process.execArgv, process.argv[1] ?? ''],
    nodeFlags: process.execArgv,
    versions: { node: process.versions.node, openssl: process.versions.openssl ?? 'unknown' },
    cwd: process.cwd(),
    pid: process.pid,
    uid: process.getuid?.() ?? -1,
    gid: process.getgid?.() ?? -1,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    onStopSignal(handler) {
      process.on('SIGTERM', handler);
      process.on('SIGINT', handler);
      return () => {
        process.off('SIGTERM', handler);
        process.off('SIGINT', handler);
      };
    },
    exit: (code) => process.exit(code),
    residentBytes: () => process.memoryUsage.rss(),
    collectGarbage:
      typeof gc === 'undefined' ? undefined : () => gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' }),
    descriptorLimit,
  };
}

function descriptorLimit(): number {
  try {
    return openFilesLimit(readFileSync('/proc/self/limits', 'utf8'));
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

function helpText(): Command {
  const program = new Command('remora').version(version).usage('<command> [options]');
  for (const [name, { does }] of Object.entries(subcommands)) program.command(name).description(does);
  return program.helpCommand(false);
}

/** Replaces this process by itself with further flags, once; the pid stays. */
function harden(nodeFlags: readonly string[]): void {
  // Habits of other programs, where they mean "read your files again" or "open your log again"; here files are watched.
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => undefined);
  if (process.env[hardenedMarker] !== undefined || process.execve === undefined) return;
  // Through /proc: the path that it was started with may be out of reach for this user by now.
  const argv = [process.argv0, ...nodeFlags, ...process.execArgv, ...process.argv.slice(1)];
  process.execve('/proc/self/exe', argv, { ...process.env, [hardenedMarker]: '1' });
}

async function run(argv: readonly string[]): Promise<number> {
  if (Number.parseInt(process.versions.node, 10) < 24) {
    throw new UnavailableError(`Node.js ${process.versions.node} is too old, expected 24 or newer`);
  }
  const [first = '', second = ''] = argv;
  // `remora help inject` is `remora inject --help`.
  const isHelpOf = first === 'help' && Object.hasOwn(subcommands, second);
  const name = isHelpOf ? second : first;
  const args = isHelpOf ? ['--help'] : argv.slice(1);
  const subcommand = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
  if (subcommand !== undefined) {
    if (subcommand.serverFlags !== undefined) harden(subcommand.serverFlags);
    return (await subcommand.load()).run(host(args));
  }
  if (name === '--version' || name === '-V') {
    process.stdout.write(`${version}\n`);
    return exitCodes.ok;
  }
  const isHelp = name === '--help' || name === '-h' || name === 'help';
  const out = isHelp ? process.stdout : process.stderr;
  if (!isHelp && name !== '')
    out.write(`remora: unknown command '${name}', expected one of ${Object.keys(subcommands).join(', ')}\n`);
  out.write(helpText().helpInformation());
  return isHelp ? exitCodes.ok : exitCodes.usage;
}

/** One sentence for what the operator can act on; a stack only for a mistake of ours. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (error instanceof RemoraError) {
    for (const line of error.message.split('\n')) process.stderr.write(`remora: ${line}\n`);
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
  process.stderr.write(`remora: internal error, please report it: ${text}\n`);
  return exitCodes.failure;
}

for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => process.exit(report(error)));
}
// Whoever reads the output may stop; anything else, such as a full disk, is worth a sentence.
process.stdout.on('error', (error) => {
  if (codeOf(error) !== 'EPIPE') process.stderr.write(`remora: the output cannot be written: ${messageOf(error)}\n`);
  process.exit(exitCodes.failure);
});

/** A pipe takes 64 KiB at a time, and the rest of a long answer would end with the process. */
async function outputWritten(): Promise<void> {
  if (process.stdout.writableLength === 0) return;
  await new Promise<void>((resolve) => void process.stdout.write('', () => resolve()));
}

// At once: a peer that does not close its end must not keep a process that has stopped.
try {
  const code = await run(process.argv.slice(2));
  await outputWritten();
  process.exit(code);
} catch (error) {
  process.exit(report(error));
}
