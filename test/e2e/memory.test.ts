import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { descriptorBudget, openFilesLimit } from '../../src/descriptors.ts';
import type { Agent } from '../integration/agent-program/agent-program.ts';
import { freePorts, killPrograms, page, startAgent } from '../integration/agent-program/agent-program.ts';
import { authority, idOf, useFolder, writeIdentity } from '../integration/agent-program/identity-files.ts';
import { http2Peer } from '../support/http2-peer.ts';
import type { MemoryCgroup } from '../support/memory-cgroup.ts';
import { createMemoryCgroup } from '../support/memory-cgroup.ts';

/*
 * Goal: a sidecar whose memory is short refuses connections and lives, and takes them again when others have ended; one
 * that has enough carries as many as it may. Method: the bundle of the image as the two ends of a static tunnel, in cgroups
 * with a limit, and more idle connections than there are places. The kernel counts how often the limit was reached.
 */

useFolder();

const root = resolve(import.meta.dirname, '../..');
const whyNot = process.getuid?.() === 0 ? '' : '(needs root)';
const mib = 1024 * 1024;

let bundle: string;
beforeAll(() => {
  bundle = mkdtempSync(join(tmpdir(), 'remora-memory-'));
  execFileSync(process.execPath, [join(root, 'scripts/build.mjs'), 'src/main.ts', bundle, '--image']);
});
afterAll(() => rmSync(bundle, { recursive: true }));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An application that sends back what it gets. */
async function application(): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  await once(server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }), 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const sides = ['server', 'client'] as const;
type Side = (typeof sides)[number];

async function ends(limitsMib: Readonly<Partial<Record<Side, number>>>) {
  const port = await application();
  const cgroups: MemoryCgroup[] = [];
  const started: Agent[] = [];
  cleanups.push(async () => {
    killPrograms();
    await Promise.all(started.map(({ ended }) => ended));
    for (const cgroup of cgroups) cgroup.close();
  });
  const within = (side: Side) => {
    const limitMib = limitsMib[side];
    if (limitMib === undefined) return {};
    const cgroup = createMemoryCgroup(limitMib * mib);
    cgroups.push(cgroup);
    return { within: cgroup.command };
  };
  const start = async (side: Side, settings: Readonly<Record<string, string>>) => {
    const agent = await startAgent(settings, { main: join(bundle, 'main.mjs'), ...within(side) });
    started.push(agent);
    await agent.line({ msg: 'Ready' });
    return agent;
  };
  const server = await start('server', {
    ...writeIdentity('db'),
    deliver: `127.0.0.1:${port}`,
    allowPeers: idOf('web'),
  });
  const [listen = 0] = await freePorts(1);
  const client = await start('client', {
    ...writeIdentity('web'),
    listen: `127.0.0.1:${listen}`,
    target: `127.0.0.1:${port}`,
    peer: idOf('db'),
    via: `127.0.0.1:${server.ports.hbone}`,
  });
  return { agents: { server, client }, port, listen, counters: () => cgroups.map((cgroup) => cgroup.counters()) };
}

/** Resolves with whether it is carried: what it sends comes back. */
function says(socket: Socket, text: string): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('data', () => resolve(true));
    socket.once('close', () => resolve(false));
    socket.write(text);
  });
}

async function dial(port: number): Promise<Socket | undefined> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  return (await says(socket, 'hello')) ? socket : undefined;
}

/** The value of a line of the metrics page that begins with `name` and holds `label`; 0 without such a line. */
async function metric({ ports }: Agent, name: string, label: string): Promise<number> {
  const lines = (await page(ports.metrics, '/metrics')).text.split('\n');
  const line = lines.find((one) => one.startsWith(`${name}{`) && one.includes(label));
  return Number(line?.split(' ').at(-1) ?? 0);
}

const denied = (agent: Agent, reason: string) => metric(agent, 'remora_connections_denied_total', `reason="${reason}"`);

const directions = { server: 'direction="inbound"', client: 'direction="outbound"' } as const;
const unharmed = { failures: 0, oomKills: 0 };

describe.skipIf(whyNot !== '')(`the memory of a sidecar ${whyNot}`, () => {
  it('X2: carries 10,000 idle connections at once, or as many as it has descriptors for, and refuses the next', async () => {
    const { agents, listen, counters } = await ends({ server: 512, client: 512 });
    const { connections } = descriptorBudget(openFilesLimit(readFileSync('/proc/self/limits', 'utf8')));
    const places = Math.min(10_000, connections);
    const used = () =>
      Promise.all(sides.map((side) => metric(agents[side], 'remora_memory_used_bytes', 'pool="container"')));
    const before = await used();
    const held: Socket[] = [];
    while (held.length < places) {
      const count = Math.min(100, places - held.length);
      const dialled = await Promise.all(Array.from({ length: count }, () => dial(listen)));
      held.push(...dialled.filter((socket) => socket !== undefined));
      expect(dialled).not.toContain(undefined);
    }
    const after = await used();
    expect(await Promise.all(Array.from({ length: 50 }, () => dial(listen)))).toEqual(Array(50).fill(undefined));
    expect(await denied(agents.client, connections <= 10_000 ? 'descriptor_limit' : 'connection_limit')).toBe(50);
    for (const side of sides)
      expect(await metric(agents[side], 'remora_connections_open', directions[side])).toBe(places);
    expect(new Set(await Promise.all(held.map((socket) => says(socket, 'again'))))).toEqual(new Set([true]));
    for (const socket of held) socket.destroy();
    expect(counters()).toEqual([unharmed, unharmed]);

    for (const [index, side] of sides.entries()) {
      const each = ((after[index] ?? 0) - (before[index] ?? 0)) / places;
      // Twice what is measured: a copy of something in each connection would be more.
      expect(each).toBeLessThan(40 * 1024);
      console.log(`${side} end: ${places} idle connections, ${(each / 1024).toFixed(1)} KiB each`);
    }
  });

  it('X2: carries 500 connections that have a tunnel each, for the price of a TLS connection more', async () => {
    const { agents, port, counters } = await ends({ server: 512 });
    const { hbone } = agents.server.ports;
    const used = () => metric(agents.server, 'remora_memory_used_bytes', 'pool="container"');
    const before = await used();
    const peers = 500;
    const dialTunnel = async () => {
      const session = await http2Peer(connect(hbone, '127.0.0.1'), authority, 'web');
      cleanups.push(() => session.destroy());
      const stream = session.request({ ':method': 'CONNECT', ':authority': `127.0.0.1:${port}` }, { endStream: false });
      stream.on('error', () => undefined);
      expect((await once(stream, 'response'))[0]).toMatchObject({ ':status': 200 });
    };
    for (let open = 0; open < peers; open += 20) await Promise.all(Array.from({ length: 20 }, dialTunnel));
    const each = ((await used()) - before) / peers;
    expect(await metric(agents.server, 'remora_tunnels_open', directions.server)).toBe(peers);
    expect(await metric(agents.server, 'remora_connections_open', directions.server)).toBe(peers);
    expect(each).toBeLessThan(200 * 1024);
    expect(counters()).toEqual([unharmed]);
    console.log(`${peers} tunnels with an idle connection: ${(each / 1024).toFixed(1)} KiB each`);
  });

  it('X3: holds 3,000 idle connections and 40 that nobody reads in the memory that the injector gives, and takes more', async () => {
    const { agents, listen, counters } = await ends({ server: 256, client: 256 });
    const { connections } = descriptorBudget(openFilesLimit(readFileSync('/proc/self/limits', 'utf8')));
    const idle = Math.min(3000, connections - 100);
    for (let open = 0; open < idle; open += 50)
      expect(await Promise.all(Array.from({ length: 50 }, () => dial(listen)))).not.toContain(undefined);
    for (let stalled = 0; stalled < 40; stalled += 1) {
      const socket = await dial(listen);
      socket?.pause().write(Buffer.alloc(8 * mib));
    }
    const carried = () => metric(agents.client, 'remora_bytes_total', 'flow="received"');
    let [before, now] = [-1, await carried()];
    while (now !== before) [before, now] = [now, await carried()];
    expect(now).toBeLessThan(40 * 8 * mib);
    expect(await dial(listen)).toBeDefined();
    expect(counters()).toEqual([unharmed, unharmed]);
    for (const side of sides) {
      const used = await metric(agents[side], 'remora_memory_used_bytes', 'pool="container"');
      console.log(`${side} end: ${idle} idle and 40 stalled connections, ${(used / mib).toFixed(1)} MiB`);
    }
  });

  it.each<[Side, number]>([
    ['server', 64],
    ['client', 96],
    ['server', 128],
  ])('X8: the %s end of a tunnel sheds below %i MiB, carries on, and recovers', async (side, limitMib) => {
    const { agents, listen, counters } = await ends({ [side]: limitMib });
    const short = agents[side];
    const held: Socket[] = [];
    let refused = 0;
    while (refused < 300 && held.length < 8000) {
      const dialled = await Promise.all(Array.from({ length: 100 }, () => dial(listen)));
      for (const socket of dialled) if (socket === undefined) refused += 1;
      held.push(...dialled.filter((socket) => socket !== undefined));
    }
    expect(refused).toBeGreaterThanOrEqual(300);
    expect(held.length).toBeGreaterThan(200);
    expect(await denied(short, 'memory_pressure')).toBeGreaterThan(0);
    expect((await page(short.ports.health, '/healthz/ready')).status).toBe(200);
    expect(new Set(await Promise.all(held.map((socket) => says(socket, 'again'))))).toEqual(new Set([true]));

    for (const socket of held) socket.destroy();
    await expect.poll(async () => (await dial(listen))?.destroy() !== undefined, { timeout: 60_000 }).toBe(true);
    expect(counters()).toEqual([unharmed]);
    console.log(`${side} end, ${limitMib} MiB: ${held.length} connections`);
  });
});
