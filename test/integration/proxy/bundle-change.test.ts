import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import type { TrustBundles } from '../../../src/identity/trust-bundle.ts';
import { maxRootNameBytes, parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import type { TestAuthority } from '../../support/identities.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

/*
 * Goal: other trust bundles are no event for a connection whose peer is still trusted. Method: a server of a thousand
 * connections, of two trust domains and under three roots, whose bundles change while all of them are in the middle of
 * sending; the application sends everything back.
 */

const [stays, leaves, comes] = ['stays', 'leaves', 'comes'].map((subject) =>
  createTestAuthority('cluster.local', { root: { subject } }),
) as [TestAuthority, TestAuthority, TestAuthority];
const partner = createTestAuthority('partner.example');
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const bundles = (...own: readonly TestAuthority[]): TrustBundles =>
  parseTrustBundles({
    'cluster.local': own.map(({ bundlePem }) => bundlePem).join(''),
    'partner.example': partner.bundlePem,
  });

async function echo(): Promise<number> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    cleanups.push(() => socket.destroy());
    socket.on('error', () => undefined).pipe(socket);
  });
  await once(server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }), 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const identityOf = (issuer: TestAuthority, serviceAccount: string, generation = 1) =>
  createTestIdentity(issuer, { namespace: 'shop', serviceAccount, generation, bundles: bundles(stays, leaves) });

interface Carried {
  readonly socket: Socket;
  readonly sent: Buffer[];
  readonly received: Promise<Buffer>;
}

function sendOn({ socket, sent }: Carried): void {
  const chunk = randomBytes(3000);
  sent.push(chunk);
  socket.write(chunk);
}

it('B8: a thousand connections whose peers stay trusted lose no byte while the bundles change, and the others are closed', async () => {
  const target = { ip: '127.0.0.1', port: await echo() };
  const api = await runDataPlane({ identity: identityOf(stays, 'api'), deliveries: [target] });
  cleanups.push(() => api.stop());
  const clientOf = async (issuer: TestAuthority, name: string): Promise<RunningDataPlane> => {
    const hbonePort = api.addresses.hbone[0]?.port ?? 0;
    const plane = await runDataPlane({
      identity: identityOf(issuer, name),
      declared: [{ target, peer: apiId }],
      hbonePort,
    });
    cleanups.push(() => plane.stop());
    return plane;
  };
  const dial = async (plane: RunningDataPlane): Promise<Socket> => {
    const port = plane.addresses.declared[0]?.port ?? 0;
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true }).on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  const dialAll = async (plane: RunningDataPlane, count: number): Promise<Socket[]> => {
    const sockets: Socket[] = [];
    // By twenties, which is far below what may be opening at once.
    while (sockets.length < count) {
      const some = await Promise.all(Array.from({ length: Math.min(20, count - sockets.length) }, () => dial(plane)));
      for (const socket of some) {
        socket.write('?');
        await once(socket, 'data');
      }
      sockets.push(...some);
    }
    return sockets;
  };
  const [own, federated, lost] = [
    await clientOf(stays, 'web'),
    await clientOf(partner, 'web'),
    await clientOf(leaves, 'old'),
  ];
  const carried = [...(await dialAll(own, 600)), ...(await dialAll(federated, 400))].map(
    (socket): Carried => ({ socket, sent: [], received: readAll(socket) }),
  );
  const doomed = await dialAll(lost, 20);
  const endings = Promise.all(doomed.map(ending));

  expect([...api.accounts.live()]).toHaveLength(1020);
  const retrust = (next: TrustBundles) => {
    api.identity = { ...api.identity, generation: api.identity.generation + 1, bundles: next };
    api.identityChanged(api.identity);
  };
  const steps = [bundles(stays, leaves, comes), bundles(comes, stays, leaves), bundles(stays, comes), bundles(stays)];
  for (const next of steps) {
    for (const one of carried) sendOn(one);
    retrust(next);
    for (const one of carried) sendOn(one);
    // What was written has reached the data planes and is on its way.
    await new Promise(setImmediate);
  }
  expect(new Set(await endings)).toEqual(new Set(['reset']));
  for (const one of carried) one.socket.end();
  const whole = await Promise.all(
    carried.map(async ({ sent, received }) => Buffer.concat(sent).equals(await received)),
  );
  expect(whole.filter((isWhole) => isWhole)).toHaveLength(1000);

  const closed = api.lines.filter(({ direction }) => direction === 'inbound').map(({ reason }) => reason);
  expect(closed.filter((reason) => reason === 'bundle_change')).toHaveLength(20);
  const refused = await dial(lost);
  expect(await ending(refused)).toBe('reset');
  expect(await api.line({ direction: 'inbound', outcome: 'handshake' })).toMatchObject({ reason: 'untrusted' });
}, 120_000);

it('B5: a handshake has room for the names of as many roots as are allowed, and more are refused before they could end all handshakes', async () => {
  const room = maxRootNameBytes;
  const named = (bytes: number) =>
    Array.from({ length: Math.floor(bytes / 1024) }, (_, index) => {
      // What is around a common name in a certificate is some 20 bytes.
      const subject = `${index}`.padStart(1000, 'x');
      return createTestAuthority('partner.example', { root: { subject } }).bundlePem;
    }).join('');
  const pem = { 'cluster.local': stays.bundlePem, 'partner.example': named(room - 1024) };
  const many = parseTrustBundles(pem);
  expect(() => parseTrustBundles({ ...pem, 'partner.example': named(room + 1024) })).toThrow(
    expect.objectContaining({ reason: 'too_large', message: expect.stringContaining('bytes of names') }),
  );
  const target = { ip: '127.0.0.1', port: await echo() };
  const api = await runDataPlane({ identity: { ...identityOf(stays, 'api'), bundles: many }, deliveries: [target] });
  const web = await runDataPlane({
    identity: { ...identityOf(stays, 'web'), bundles: many },
    declared: [{ target, peer: apiId }],
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
  });
  cleanups.push(
    () => api.stop(),
    () => web.stop(),
  );
  const socket = connect(web.addresses.declared[0]?.port ?? 0, '127.0.0.1');
  cleanups.push(() => socket.destroy());
  socket.write('hello');
  expect(String((await once(socket, 'data'))[0])).toBe('hello');
});
