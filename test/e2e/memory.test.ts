import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Agent } from '../integration/agent-program/agent-program.ts';
import { freePorts, killPrograms, page, startAgent } from '../integration/agent-program/agent-program.ts';
import { idOf, useFolder, writeIdentity } from '../integration/agent-program/identity-files.ts';
import { createMemoryCgroup } from '../support/memory-cgroup.ts';

/*
 * Goal: a sidecar whose memory is short refuses connections and lives, and takes them again when others have ended.
 * Method: the bundle of the image as the two ends of a static tunnel, one of them in a cgroup with a limit, and more idle
 * connections than it has memory for. The kernel counts how often the limit was reached.
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

type Side = 'client' | 'server';

async function ends(limited: Side, limitMib: number) {
  const port = await application();
  const cgroup = createMemoryCgroup(limitMib * mib);
  const started: Agent[] = [];
  cleanups.push(async () => {
    killPrograms();
    await Promise.all(started.map(({ ended }) => ended));
    cgroup.close();
  });
  const start = async (side: Side, settings: Readonly<Record<string, string>>) => {
    const options = { main: join(bundle, 'main.mjs'), ...(side === limited && { within: cgroup.command }) };
    const agent = await startAgent(settings, options);
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
  return { short: limited === 'client' ? client : server, listen, cgroup };
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

async function denied({ ports }: Agent): Promise<number> {
  const { text } = await page(ports.metrics, '/metrics');
  const [, count = '0'] = /^remora_connections_denied_total\{.*reason="memory_pressure"\} (\d+)$/m.exec(text) ?? [];
  return Number(count);
}

describe.skipIf(whyNot !== '')(`a sidecar that is short of memory ${whyNot}`, () => {
  it.each<[Side, number]>([
    ['server', 64],
    ['client', 96],
    ['server', 128],
  ])('X8: the %s end of a tunnel sheds below %i MiB, carries on, and recovers', async (side, limitMib) => {
    const { short, listen, cgroup } = await ends(side, limitMib);
    const held: Socket[] = [];
    let refused = 0;
    while (refused < 300 && held.length < 8000) {
      const dialled = await Promise.all(Array.from({ length: 100 }, () => dial(listen)));
      for (const socket of dialled) if (socket === undefined) refused += 1;
      held.push(...dialled.filter((socket) => socket !== undefined));
    }
    expect(refused).toBeGreaterThanOrEqual(300);
    expect(held.length).toBeGreaterThan(200);
    expect(await denied(short)).toBeGreaterThan(0);
    expect((await page(short.ports.health, '/healthz/ready')).status).toBe(200);
    expect(new Set(await Promise.all(held.map((socket) => says(socket, 'again'))))).toEqual(new Set([true]));

    for (const socket of held) socket.destroy();
    await expect.poll(async () => (await dial(listen))?.destroy() !== undefined, { timeout: 60_000 }).toBe(true);
    expect(cgroup.counters()).toEqual({ failures: 0, oomKills: 0 });
    console.log(`${side} end, ${limitMib} MiB: ${held.length} connections`);
  });
});
