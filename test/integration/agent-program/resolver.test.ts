import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { ending } from '../../support/sockets.ts';
import type { Agent } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent } from './agent-program.ts';
import { idOf, useFolder, writeIdentity } from './identity-files.ts';

/*
 * Goal: a resolver that swallows every question costs new connections to names, and nothing else of the process.
 * Method: the real program on loopback, with /etc/resolv.conf of its own that names a socket of this test, which never
 * answers. Needs root, for a mount namespace and port 53.
 */

useFolder();

const closing: (() => void)[] = [];
afterEach(() => {
  killPrograms();
  for (const close of closing.splice(0)) close();
});

const resolver = `127.53.${(process.pid >> 8) & 255}.${(process.pid & 127) + 1}`;

/** Takes questions and never answers; what runs the program so that it asks here. */
async function silentResolver() {
  const questions: Buffer[] = [];
  const socket = createSocket('udp4', (question) => void questions.push(question));
  socket.bind(53, resolver);
  await once(socket, 'listening');
  const folder = mkdtempSync(join(tmpdir(), 'remora-resolver-'));
  const file = join(folder, 'resolv.conf');
  writeFileSync(file, `nameserver ${resolver}\n`);
  closing.push(
    () => socket.close(),
    () => rmSync(folder, { recursive: true }),
  );
  const within = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file];
  return { questions, within };
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  closing.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function echoes(socket: Socket): Promise<void> {
  socket.write('ping');
  expect(String((await once(socket, 'data'))[0])).toBe('ping');
}

const timeouts = ({ lines }: Agent) => lines.filter(({ reason }) => reason === 'upstream_timeout').length;

it('N16: a resolver that never answers fails connections to names at their deadline, and no file, page or other connection waits', async () => {
  const application = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
  await once(application.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => application.close());
  const { port } = application.address() as AddressInfo;
  const server = await readyAgent({ ...writeIdentity('db'), deliver: `127.0.0.1:${port}`, allowPeers: idOf('web') });
  const { questions, within } = await silentResolver();
  const listens = await freePorts(5);
  const targets = ['127.0.0.1', 'one.test', 'two.test', 'three.test', 'four.test'];
  const tunnels = targets.map(
    (target, index) => `127.0.0.1:${listens[index]} ${target}:${port} ${idOf('db')} 127.0.0.1:${server.ports.hbone}`,
  );
  const client = await readyAgent(
    { ...writeIdentity('web'), connectTimeout: '2s' },
    { within, env: { REMORA_TUNNELS: tunnels.join(',') } },
  );
  const [direct = 0, ...named] = listens;
  const before = await dial(direct);
  await echoes(before);
  const lost = await Promise.all([...named, ...named].map(dial));
  const endings = lost.map(ending);
  await expect.poll(() => questions.length, { timeout: 20_000 }).toBeGreaterThan(0);
  await echoes(before);
  await echoes(await dial(direct));
  expect((await page(client.ports.health, '/healthz/ready')).status).toBe(200);
  expect(new Set(await Promise.all(endings))).toEqual(new Set(['reset']));
  await expect.poll(() => timeouts(client), { timeout: 20_000 }).toBe(lost.length);
  await echoes(before);
});
