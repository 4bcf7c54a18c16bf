import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { delimiter } from 'node:path';
import { BenchError } from './errors.ts';

/*
 * The processes of a run. None outlives it: whatever ends the run calls endPrograms, and `exit` is the last resort.
 */

const running = new Set<ChildProcess>();
let isEnding = false;
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Servers of Debian are in /usr/sbin; the rest of the environment could change whom TLS trusts. */
const environment = { PATH: [process.env.PATH ?? '', '/usr/sbin', '/sbin'].join(delimiter) };

/** Starts a server that is to run until the end; its output is thrown away but for errors. */
export function startServer(command: string, args: readonly string[]): number {
  const child = start(command, args, 'ignore');
  const errors = collect(child.stderr);
  child.once('close', (code, signal) => {
    if (isEnding) return;
    const why = `${command} ended with ${code ?? signal}: ${errors().trim().slice(-2000) || 'it said nothing'}`;
    console.error(`bench: ${why}`);
    process.exit(1);
  });
  return child.pid ?? 0;
}

/** Runs a program to its end and resolves with its output; throws BenchError when it fails or exceeds `deadlineMs`. */
export async function runProgram(command: string, args: readonly string[], deadlineMs: number): Promise<string> {
  const child = start(command, args, 'pipe');
  const [output, errors] = [collect(child.stdout), collect(child.stderr)];
  const deadline = setTimeout(() => child.kill('SIGKILL'), deadlineMs);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearTimeout(deadline);
  if (code !== 0) throw new BenchError(`${[command, ...args].join(' ')} ended with ${code ?? signal}: ${errors()}`);
  return output();
}

/** Ends everything that was started, and resolves when it is gone. */
export async function endPrograms(): Promise<void> {
  isEnding = true;
  const closed = [...running].map((child) => once(child, 'close'));
  for (const child of running) child.kill('SIGKILL');
  await Promise.all(closed);
}

/** Ports of loopback that were free a moment ago, each another one. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

function start(command: string, args: readonly string[], stdout: 'ignore' | 'pipe'): ChildProcess {
  const child = spawn(command, args, { env: environment, stdio: ['ignore', stdout, 'pipe'] });
  running.add(child);
  child.once('close', () => running.delete(child));
  child.once('error', (error) => {
    console.error(`bench: ${command} cannot be started: ${error.message}`);
    process.exit(69);
  });
  return child;
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = '';
  stream?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return () => text;
}
