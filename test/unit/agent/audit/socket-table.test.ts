import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { SocketLine } from '../../../../src/agent/audit/socket-table.ts';
import { parseSocketLine, readSocketTable } from '../../../../src/agent/audit/socket-table.ts';

const folder = mkdtempSync(join(tmpdir(), 'remora-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const heading = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';
const line = (local: string, remote: string, state = '01', uid = 1000, inode = 4711) =>
  `   7: ${local} ${remote} ${state} 00000000:00000000 02:000A7214 00000000  ${uid}        0 ${inode} 2 0000000000000000 20 4 30 10 -1      `;

async function all(path: string, maxLines?: number) {
  const sockets: SocketLine[] = [];
  const isWhole = await readSocketTable(path, (socket) => sockets.push(socket), maxLines);
  return { sockets, isWhole };
}

describe('a line of the table of sockets', () => {
  it.each([
    ['0200007F:1F90', '0706000A:C350', '127.0.0.2', '10.0.6.7'],
    [
      'B80D0120000000000000000001000000:1F90',
      '000080FE00000000FF005450AEFD1256:C350',
      '2001:db8::1',
      'fe80::5054:ff:5612:fdae',
    ],
    ['0000000000000000FFFF00000706000A:1F90', '0000000000000000FFFF0000010000E0:C350', '10.0.6.7', '224.0.0.1'],
    ['00000000000000000000000006000000:1F90', '00000000000000000000000001000000:C350', '::6', '::1'],
  ])('has the addresses %s and %s', (local, remote, localIp, remoteIp) => {
    expect(parseSocketLine(line(local, remote))).toEqual({
      state: 'established',
      local: { ip: localIp, port: 8080 },
      remote: { ip: remoteIp, port: 50_000 },
      uid: 1000,
      inode: 4711,
    });
  });

  it.each([
    ['01', 'established'],
    ['0A', 'listening'],
    ['04', 'half-closed'],
    ['05', 'half-closed'],
    ['08', 'half-closed'],
    ['09', 'other'],
    ['02', 'other'],
    ['06', 'other'],
  ])('has the state %s', (state, expected) => {
    expect(parseSocketLine(line('0200007F:1F90', '0200007F:C350', state))).toMatchObject({ state: expected });
  });

  it.each([
    ['another number of digits', line('0200007:1F90', '0200007F:C350')],
    ['a port that is none', line('0200007F:1F9', '0200007F:C350')],
    ['lower case', line('0200007f:1F90', '0200007F:C350')],
    ['nothing', ''],
    ['an inode that is not a number', line('0200007F:1F90', '0200007F:C350').replace('4711', 'x')],
    ['half of it', line('0200007F:1F90', '0200007F:C350').slice(0, 60)],
  ])('is refused with %s', (_, text) => {
    expect(() => parseSocketLine(text)).toThrow(SyntaxError);
  });
});

describe('the table of sockets', () => {
  it('is read whole, whatever pieces it comes in', async () => {
    const path = join(folder, 'large');
    const lines = Array.from({ length: 3000 }, (_, i) => line('0200007F:1F90', '0706000A:C350', '01', i, 100 + i));
    writeFileSync(path, `${[heading, ...lines].join('\n')}\n`);
    const { sockets, isWhole } = await all(path);
    expect(isWhole).toBe(true);
    expect(sockets.map(({ uid }) => uid)).toEqual(lines.map((_, i) => i));
    expect(sockets.at(-1)?.inode).toBe(3099);
  });

  it('is read up to its limit, and says so', async () => {
    const path = join(folder, 'limit');
    const lines = Array.from({ length: 11 }, () => line('0200007F:1F90', '0706000A:C350'));
    writeFileSync(path, `${[heading, ...lines].join('\n')}\n`);
    expect(await all(path, 11)).toMatchObject({ isWhole: true, sockets: { length: 11 } });
    expect(await all(path, 10)).toMatchObject({ isWhole: false, sockets: { length: 10 } });
  });

  it('is empty when the kernel has none', async () => {
    expect(await all(join(folder, 'missing'))).toEqual({ sockets: [], isWhole: true });
  });

  it('has both ends of a real connection, with the inodes of their descriptors', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const socket = connect(port, '127.0.0.1');
    await new Promise((resolve) => server.once('connection', resolve));
    const { sockets } = await all('/proc/net/tcp');
    const ours = sockets.filter(({ local, remote }) => local.port === port || remote.port === port);
    expect(ours.map(({ state }) => state).sort()).toEqual(['established', 'established', 'listening']);
    expect(ours.find(({ remote }) => remote.port === port)?.local).toEqual({ ip: '127.0.0.1', port: socket.localPort });
    expect(ours.every(({ uid }) => uid === process.getuid?.())).toBe(true);
    socket.destroy();
    server.close();
  });
});
