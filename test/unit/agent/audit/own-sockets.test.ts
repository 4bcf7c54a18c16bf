import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { ownInodes } from '../../../../src/agent/audit/own-sockets.ts';
import { readSocketTable } from '../../../../src/agent/audit/socket-table.ts';
import { systemClock } from '../../../../src/clock.ts';

it('knows the sockets of this process by their inodes, among any number of descriptors', async () => {
  const servers = Array.from({ length: 600 }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))));
  const ports = new Set(servers.map((server) => (server.address() as { port: number }).port));
  const own = await ownInodes(systemClock);
  const found: boolean[] = [];
  await readSocketTable('/proc/net/tcp', ({ local, state, inode }) => {
    if (state === 'listening' && ports.has(local.port)) found.push(own.has(inode));
  });
  expect(found).toEqual(servers.map(() => true));
  for (const server of servers) server.close();
});
