import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { paths } from '../../../src/control-api.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import { logOutputLimits } from '../../../src/log-output.ts';
import { spiffeId } from '../../support/identities.ts';
import type { Program } from '../agent-program/agent-program.ts';
import { freePorts, killPrograms, runProgram, startProgram } from '../agent-program/agent-program.ts';

/*
 * Goal: whoever reads the log of a control plane, and stops to, keeps no sidecar from its certificate. Method: the real
 * program, whose standard output is not read, with more lines than a pipe and its bound have room for.
 */

/** The longest names make the longest lines. */
const longest = Array.from({ length: 4 }, () => 'x'.repeat(62)).join('.');
const names = { namespace: 'n'.repeat(63), 'service-account': longest, pod: longest };
/** One line each, of more than 900 bytes. */
const certificates = 2000;
/** What a pipe, and this process behind it, take of them. */
const pipeBytes = 256 * 1024;
const csr = createCsr(createKey(), spiffeId('spiffe://cluster.local/ns/shop/sa/web'));

let folder: string;
let connections: Agent;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'remora-stalled-'));
  connections = new Agent({ keepAlive: true, maxSockets: 8 });
});
afterEach(() => {
  connections.destroy();
  killPrograms();
  rmSync(folder, { recursive: true });
});

/** A control plane that serves, and how to ask it for certificates. Then nobody reads its log any more. */
async function unread(): Promise<{ plane: Program; certify(): Promise<void> }> {
  const [state, root] = [join(folder, 'state'), join(folder, 'root.pem')];
  const [port, metricsPort] = await freePorts(2);
  const listen = [`--listen=127.0.0.1:${port}`, `--metrics-listen=127.0.0.1:${metricsPort}`];
  const plane = startProgram(['control-plane', `--state-dir=${state}`, `--write-root=${root}`, ...listen]);
  await plane.line({ msg: 'Control plane ready' });
  const given = Object.entries(names).map(([name, value]) => `--${name}=${value}`);
  const token = (await runProgram(['token', `--state-dir=${state}`, ...given])).stdout.trim();
  const options = {
    agent: connections,
    host: '127.0.0.1',
    port,
    path: paths.certificates,
    method: 'POST',
    ca: readFileSync(root),
    servername: 'localhost',
    headers: { authorization: `Bearer ${token}` },
  };
  const status = async () => {
    const [response] = (await once(request(options).end(JSON.stringify({ csr })), 'response')) as [IncomingMessage];
    await once(response.resume(), 'end');
    return response.statusCode;
  };
  plane.process.stdout?.pause();
  const certify = async () => {
    const statuses = await Promise.all(Array.from({ length: certificates }, status));
    expect(new Set(statuses)).toEqual(new Set([200]));
  };
  return { plane, certify };
}

it('X11: a log of the control plane that nobody reads keeps nobody from a certificate, and holds a bounded number of lines', async () => {
  const { plane, certify } = await unread();
  await certify();
  plane.process.stdout?.resume();
  const { suppressed } = await plane.line({ reason: 'output_blocked' });
  const issued = plane.lines.filter(({ msg }) => msg === 'Certificate issued');
  expect(issued).toHaveLength(certificates - Number(suppressed));
  expect(Buffer.byteLength(issued.map((line) => JSON.stringify(line)).join('\n'))).toBeLessThan(
    logOutputLimits.bytes + pipeBytes,
  );
});

it('X11: a log of the control plane that nobody reads does not keep the process from ending', async () => {
  const { plane, certify } = await unread();
  await certify();
  expect(await plane.stop()).toMatchObject({ code: 0, stderr: '' });
});

it('X11: a log of the control plane whose reader has gone does not keep the process from ending', async () => {
  const { plane } = await unread();
  const { stdout } = plane.process;
  await once(stdout!.destroy(), 'close');
  expect(await plane.stop()).toMatchObject({ code: 0, stderr: '' });
});
