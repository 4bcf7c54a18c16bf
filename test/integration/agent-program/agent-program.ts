import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

/*
 * The real program as a child process on loopback, as an operator starts it: flags, variables, files, signals, and what
 * it says.
 */

const root = resolve(import.meta.dirname, '../../..');
const node = join(root, 'node_modules/.bin/node');
const ownMain = join(root, 'src/main.ts');

export type LogLine = Readonly<Record<string, unknown>>;

export interface Program {
  readonly process: ChildProcess;
  /** The log lines so far. */
  readonly lines: readonly LogLine[];
  readonly stderr: () => string;
  /** Resolves with the first line, past or future, that has these values; rejects when the program ends without it. */
  line(match: LogLine): Promise<LogLine>;
  /** Resolves when it has ended. */
  readonly ended: Promise<Ended>;
  /** Sends SIGTERM and resolves when it has ended. */
  stop(): Promise<Ended>;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** The whole environment besides PATH: what this machine sets would keep the program from starting. */
  readonly env?: Readonly<Record<string, string>>;
  readonly nodeFlags?: readonly string[];
  readonly uid?: number;
  /** Descriptors that it may have open. */
  readonly nofile?: number;
  /** What starts it, such as a shell that enters a cgroup and then becomes it. */
  readonly within?: readonly string[];
  /** The program itself, when it is not that of the checkout. */
  readonly main?: string;
}

const running = new Set<ChildProcess>();

/** Ends what the tests of this file have left running. */
export function killPrograms(): void {
  for (const child of running) child.kill('SIGKILL');
}

export function startProgram(
  args: readonly string[],
  { env = {}, nodeFlags = [], uid, nofile, within = [], main = ownMain }: ProgramOptions = {},
): Program {
  // prlimit becomes the program: the pid is the same.
  const limited = nofile === undefined ? [] : ['prlimit', `--nofile=${nofile}:${nofile}`];
  const [command = node, ...flags] = [...within, ...limited, node, ...nodeFlags, main, ...args];
  const child = spawn(command, flags, {
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid !== undefined && { uid }),
  });
  running.add(child);
  const lines: LogLine[] = [];
  const waiting = new Set<() => void>();
  let isOver = false;
  let stdout = '';
  let stderr = '';
  const wake = () => {
    for (const check of waiting) check();
  };
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    stdout += `${line}\n`;
    if (line.startsWith('{"')) lines.push(JSON.parse(line));
    wake();
  });
  const ended = once(child, 'close').then(([code]): Ended => {
    running.delete(child);
    isOver = true;
    wake();
    return { code: code as number | null, stdout, stderr };
  });
  return {
    process: child,
    lines,
    stderr: () => stderr,
    ended,
    line(match) {
      const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
      const check = () => {
        const found = lines.find((line) => Object.entries(match).every(([key, value]) => line[key] === value));
        if (found === undefined && !isOver) return;
        waiting.delete(check);
        if (found !== undefined) resolve(found);
        else reject(new Error(`The program ended without ${JSON.stringify(match)}:\n${stdout}${stderr}`));
      };
      waiting.add(check);
      check();
      return promise;
    },
    stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

/** Runs the program to its end. */
export const runProgram = (args: readonly string[], options?: ProgramOptions): Promise<Ended> =>
  startProgram(args, options).ended;

/** Ports that were free a moment ago, each another one. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  // Whoever was given one may not have bound it yet.
  if (ports.some((port) => givenPorts.has(port))) return freePorts(count);
  for (const port of ports) givenPorts.add(port);
  return ports;
}

const givenPorts = new Set<number>();

/** Ports of one sidecar. */
export interface AgentPorts {
  readonly hbone: number;
  readonly metrics: number;
  readonly health: number;
  readonly admin: number;
}

export async function freeAgentPorts(): Promise<AgentPorts> {
  const [hbone = 0, metrics = 0, health = 0, admin = 0] = await freePorts(4);
  return { hbone, metrics, health, admin };
}

/** Settings that keep a sidecar on loopback and on ports of its own. */
export function settingsOf({ hbone, metrics, health, admin }: AgentPorts): Record<string, string> {
  return {
    hbonePort: String(hbone),
    hboneBind: '127.0.0.1',
    metricsPort: String(metrics),
    metricsBind: '127.0.0.1',
    healthPort: String(health),
    healthBind: '127.0.0.1',
    adminListen: `127.0.0.1:${admin}`,
    drainDelay: '0s',
  };
}

const kebab = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

export const asFlags = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries(settings).flatMap(([name, value]) => [`--${kebab(name)}`, value]);

export const asVariables = (settings: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [
      `REMORA_${kebab(name).replaceAll('-', '_').toUpperCase()}`,
      value,
    ]),
  );

export interface Agent extends Program {
  readonly ports: AgentPorts;
}

/** A sidecar on loopback, on ports of its own. It may not be ready yet, or never. */
export async function startAgent(
  settings: Readonly<Record<string, string>>,
  options: ProgramOptions = {},
): Promise<Agent> {
  const ports = await freeAgentPorts();
  return { ...startProgram(['agent', ...asFlags({ ...settingsOf(ports), ...settings })], options), ports };
}

export async function readyAgent(
  settings: Readonly<Record<string, string>>,
  options: ProgramOptions = {},
): Promise<Agent> {
  const agent = await startAgent(settings, options);
  await agent.line({ msg: 'Ready' });
  return agent;
}

/** One page of a sidecar. */
export async function page(port: number, path: string): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: 'close' } });
  return { status: response.status, text: await response.text() };
}
