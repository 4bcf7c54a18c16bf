import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { descriptorBudget, descriptorsFor } from '../../../src/descriptors.ts';
import type { Agent, ProgramOptions } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent, startAgent } from './agent-program.ts';
import { idOf, useFolder, writeIdentity } from './identity-files.ts';

/*
 * Goal: too few descriptors cost connections, orderly and with their reason, and nothing else.
 * Method: the real program twice on loopback as the two ends of a static tunnel, one of them short of descriptors: by a
 * limit that it starts with, which it shares out, or by one that is lowered under it, where the kernel says EMFILE.
 */

useFolder();

const closing: (() => void)[] = [];
afterEach(() => {
  killPrograms();
  for (const close of closing.splice(0)) close();
});

const answer = Buffer.alloc(100_000, 'remora');
const clients = 300;
const { connections: room } = descriptorBudget(64);

/** An application that answers when it is told to, and from then on at once. */
async function application() {
  const { promise: mayAnswer, resolve: release } = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => void mayAnswer.then(() => socket.end(answer)));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => server.close());
  return { port: (server.address() as AddressInfo).port, release };
}

interface Ends {
  readonly client: Agent;
  readonly server: Agent;
  ask(): Promise<Answer>;
}

interface EndOptions {
  readonly client?: ProgramOptions;
  readonly server?: ProgramOptions;
  readonly target?: string;
}

/** The two ends of one tunnel. */
async function ends(port: number, options: EndOptions = {}): Promise<Ends> {
  const deliver = { deliver: `127.0.0.1:${port}`, allowPeers: idOf('web') };
  const server = await readyAgent({ ...writeIdentity('db'), ...deliver }, options.server);
  const [listen = 0] = await freePorts(1);
  const settings = {
    ...writeIdentity('web'),
    filePollInterval: '1h',
    listen: `127.0.0.1:${listen}`,
    target: `${options.target ?? '127.0.0.1'}:${port}`,
    peer: idOf('db'),
    via: `127.0.0.1:${server.ports.hbone}`,
  };
  const client = await readyAgent(settings, options.client);
  return { client, server, ask: () => ask(listen) };
}

type Answer = 'whole' | 'refused' | `${number} bytes`;

/** One client of the application: refused when the connection ends without a byte. */
async function ask(port: number): Promise<Answer> {
  const socket: Socket = connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.write('hello');
  closing.push(() => socket.destroy());
  await new Promise((resolve) => socket.once('close', resolve));
  const received = Buffer.concat(chunks);
  if (received.equals(answer)) return 'whole';
  return received.length === 0 ? 'refused' : `${received.length} bytes`;
}

const descriptorsOf = ({ process }: Agent) => readdirSync(`/proc/${process.pid}/fd`).map(Number);

async function denials({ ports }: Agent, reason: string): Promise<number> {
  const { text } = await page(ports.metrics, '/metrics');
  const pattern = new RegExp(`^remora_connections_denied_total\\{.*reason="${reason}"\\} (\\d+)$`, 'm');
  return Number(pattern.exec(text)?.[1] ?? 0);
}

/** Asks for readiness, one request after the other, until it is told to stop. */
function watchReadiness({ ports }: Agent) {
  const statuses: number[] = [];
  let isStopped = false;
  const asking = (async () => {
    while (!isStopped) {
      const answer = await page(ports.health, '/healthz/ready').catch(() => ({ status: 0 }));
      statuses.push(answer.status);
    }
  })();
  return async () => {
    isStopped = true;
    await asking;
    return statuses;
  };
}

/** All clients at once; the application answers once the others were refused. */
async function flood(short: Agent, reason: string, { ask }: Ends, release: () => void) {
  const stopWatching = watchReadiness(short);
  const answers = Array.from({ length: clients }, ask);
  await expect.poll(() => denials(short, reason), { timeout: 20_000 }).toBe(clients - room);
  release();
  const counts = Object.groupBy(await Promise.all(answers), (each) => each);
  return { whole: counts.whole?.length, refused: counts.refused?.length, statuses: new Set(await stopWatching()) };
}

const orderly = { whole: room, refused: clients - room, statuses: new Set([200]) };

describe('a limit that the sidecar starts with', () => {
  it('is shared out, and said in one line when fewer connections fit than configured', async () => {
    const app = await application();
    const { client, server } = await ends(app.port, { client: { nofile: 64 } });
    const warnings = client.lines.filter(({ nofile }) => nofile !== undefined);
    expect(warnings).toMatchObject([{ level: 'warn', nofile: 64, maxConnections: 10_000, connections: room }]);
    expect(String(warnings[0]?.remedy)).toContain(String(descriptorsFor(10_000)));
    expect(server.lines.filter(({ nofile }) => nofile === 64)).toEqual([]);
  });

  it('that leaves room for no connection ends it with 78', async () => {
    const settings = { ...writeIdentity('db'), deliver: '127.0.0.1:9', allowPeers: idOf('web') };
    const { ended } = await startAgent(settings, { nofile: 40 });
    expect(await ended).toMatchObject({ code: 78, stderr: 'remora: nofile is 40, expected at least 42\n' });
  });

  it('X6: serves whole what fits, refuses the rest as descriptor_limit, and has every descriptor back', async () => {
    const app = await application();
    const both = await ends(app.port, { client: { nofile: 64 } });
    const before = descriptorsOf(both.client).length;
    expect(await flood(both.client, 'descriptor_limit', both, app.release)).toEqual(orderly);
    expect(await both.client.line({ reason: 'descriptor_limit' })).toMatchObject({ outcome: 'denied' });
    // One more: the tunnel stays.
    await expect.poll(() => descriptorsOf(both.client).length).toBeLessThanOrEqual(before + 1);
    expect(await both.ask()).toBe('whole');
  });

  it('X6: refuses in a tunnel as connection_limit what the serving end has no room for', async () => {
    const app = await application();
    const both = await ends(app.port, { server: { nofile: 64 } });
    const before = descriptorsOf(both.server).length;
    expect(await flood(both.server, 'connection_limit', both, app.release)).toEqual(orderly);
    // Two tunnels: one takes 256 connections.
    await expect.poll(() => descriptorsOf(both.server).length).toBeLessThanOrEqual(before + 2);
    expect(await both.ask()).toBe('whole');
  });
});

it('A15: connections to the pages take no more than their part of a small limit, from however many addresses', async () => {
  const nofile = 128;
  const app = await application();
  const { client } = await ends(app.port, { client: { nofile } });
  const before = descriptorsOf(client).length;
  for (let index = 0; index < 120; index += 1) {
    const { metrics, health, admin } = client.ports;
    const port = [metrics, health, admin][index % 3] ?? 0;
    const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.1.${1 + (index % 40)}` });
    socket.on('error', () => undefined);
    closing.push(() => socket.destroy());
    await once(socket, 'connect');
  }
  const full = before + descriptorBudget(nofile).pages;
  await expect.poll(() => descriptorsOf(client).length).toBe(full);
  // It got the place of another.
  expect((await page(client.ports.health, '/healthz/ready')).status).toBe(200);
  await expect.poll(() => descriptorsOf(client).length).toBe(full - 1);
});

describe('a limit that is lowered under the sidecar', () => {
  /** Leaves it so many free descriptors; returns what lifts the limit. */
  function leave(agent: Agent, free: number): () => void {
    const used = new Set(descriptorsOf(agent));
    const limit = (soft: number) => execFileSync('prlimit', [`--pid=${agent.process.pid}`, `--nofile=${soft}:`]);
    let soft = 0;
    for (let left = free; left > 0 || used.has(soft); soft += 1) if (!used.has(soft)) left -= 1;
    limit(soft);
    return () => void limit(1024);
  }

  it.each([
    ['at a dial to a peer', '127.0.0.1'],
    ['at a lookup', 'localhost'],
  ])('refuses %s as descriptor_limit, and goes on when descriptors are free', async (_, target) => {
    const app = await application();
    app.release();
    const both = await ends(app.port, { target });
    const lift = leave(both.client, 1);
    expect(await both.ask()).toBe('refused');
    expect(await both.client.line({ reason: 'descriptor_limit' })).toMatchObject({ outcome: 'denied' });
    lift();
    expect(await denials(both.client, 'descriptor_limit')).toBe(1);
    expect(await both.ask()).toBe('whole');
  });

  it('refuses at a dial to an application as descriptor_limit, and goes on when descriptors are free', async () => {
    const app = await application();
    app.release();
    const both = await ends(app.port);
    const before = descriptorsOf(both.server).length;
    expect(await both.ask()).toBe('whole');
    await expect.poll(() => descriptorsOf(both.server).length).toBe(before + 1);
    const lift = leave(both.server, 0);
    expect(await both.ask()).toBe('refused');
    expect(await both.server.line({ reason: 'descriptor_limit' })).toMatchObject({ outcome: 'denied' });
    lift();
    expect(await denials(both.server, 'descriptor_limit')).toBe(1);
    expect(await both.ask()).toBe('whole');
  });

  it('closes at accept what has no descriptor, and accepts again when one is free', async () => {
    const app = await application();
    app.release();
    const both = await ends(app.port);
    const lift = leave(both.client, 0);
    const refused = await Promise.all(Array.from({ length: 20 }, both.ask));
    expect(new Set(refused)).toEqual(new Set(['refused']));
    await expect(page(both.client.ports.metrics, '/metrics')).rejects.toThrow();
    await expect(page(both.client.ports.metrics, '/metrics')).rejects.toThrow();
    lift();
    expect(await both.ask()).toBe('whole');
    expect((await page(both.client.ports.metrics, '/metrics')).status).toBe(200);
  });
});
