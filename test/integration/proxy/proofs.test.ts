import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/clock.ts';
import { systemClock, timestamp } from '../../../src/clock.ts';
import { createRevocations } from '../../../src/identity/revocations.ts';
import type { TrustBundles } from '../../../src/identity/trust-bundle.ts';
import type { PeerBook } from '../../../src/proxy/peer-book.ts';
import { createPeerBook } from '../../../src/proxy/peer-book.ts';
import type { Proof } from '../../../src/proxy/proof.ts';
import { shownConnection } from '../../../src/proxy/shown.ts';
import { makeAuthority } from '../../support/certificates.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import type { TestAuthority } from '../../support/identities.ts';
import { bundlesOf, createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const webId = 'spiffe://cluster.local/ns/shop/sa/web';
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const hourMs = 3_600_000;
const graceMs = 600_000;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** A real clock whose wall time a test moves. */
interface SteppedClock extends Clock {
  step(ms: number): void;
}

function steppedClock(): SteppedClock {
  let offsetMs = 0;
  return {
    ...systemClock,
    now: () => systemClock.now() + offsetMs,
    step(ms) {
      offsetMs += ms;
    },
  };
}

async function application(onConnection: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    cleanups.push(() => socket.destroy());
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

interface Mesh {
  readonly clock: SteppedClock;
  readonly web: RunningDataPlane;
  readonly api: RunningDataPlane;
  /** The book of `web`. */
  readonly peers: PeerBook;
  dial(): Promise<Socket>;
  /** A new certificate for an hour from now, or longer, of another authority if need be. */
  rotate(plane: RunningDataPlane, issuer?: TestAuthority, lifetimeMs?: number): void;
}

/** `web` carries its application's connections to the application behind `api`; both have an hour to live. */
async function mesh(onConnection: (socket: Socket) => void, peerCertificateGraceMs = graceMs): Promise<Mesh> {
  const clock = steppedClock();
  const delivery = { ip: '127.0.0.1', port: await application(onConnection) };
  const identity = (serviceAccount: string, issuer = authority, lifetimeMs = hourMs) =>
    createTestIdentity(issuer, {
      namespace: 'shop',
      serviceAccount,
      nowMs: clock.now(),
      // OpenSSL has a clock of its own.
      certificate: { notBeforeMs: systemClock.now() - 60_000, notAfterMs: clock.now() + lifetimeMs },
    });
  const adjust = <T extends object>(settings: T) => ({ ...settings, peerCertificateGraceMs });
  const peers = createPeerBook(clock);
  const api = await runDataPlane({ identity: identity('api'), deliveries: [delivery], clock, adjust });
  const web = await runDataPlane({
    identity: identity('web'),
    declared: [{ target: delivery, peer: apiId }],
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
    clock,
    parts: { peers },
    adjust,
  });
  cleanups.push(
    () => api.stop(),
    () => web.stop(),
  );
  return {
    clock,
    web,
    api,
    peers,
    async dial() {
      const socket = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0, allowHalfOpen: true });
      socket.on('error', () => undefined);
      cleanups.push(() => socket.destroy());
      await once(socket, 'connect');
      return socket;
    },
    rotate(plane, issuer, lifetimeMs) {
      const { spiffeId, bundles } = plane.identity;
      const next = identity(spiffeId.path.split('/').at(-1) ?? '', issuer, lifetimeMs);
      plane.identity = { ...next, bundles };
      plane.identityChanged(plane.identity);
    },
  };
}

const echo = (socket: Socket) => void socket.pipe(socket);

/** Whether what is written comes back. */
async function answers(socket: Socket): Promise<boolean> {
  const word = randomBytes(8);
  const answer = once(socket, 'data') as Promise<[Buffer]>;
  socket.write(word);
  return (await answer)[0].equals(word);
}

/** Tunnels that are open, by the book of those who chain to a root. */
const bookedTunnels = ({ peers }: Mesh) => [...peers.byRoot().values()].map(({ open }) => open);

const renewed = (plane: RunningDataPlane) =>
  plane.observation(({ event, args }) => event === 'proofRenewed' && args[1] === 'renewed');
const renewals = (plane: RunningDataPlane) =>
  plane.observed.filter(({ event }) => event === 'proofRenewed').map(({ args }) => args[1]);

/** Of the one connection that is carried. */
const proofOf = ({ accounts }: RunningDataPlane): Proof => {
  const [connection] = accounts.live();
  if (connection?.proof === undefined) throw new Error('No connection is carried in a tunnel');
  return connection.proof;
};
const handshakes = (plane: RunningDataPlane) =>
  plane.observed.filter(({ event }) => event === 'handshakeSucceeded').length;
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('a connection and a rotation', () => {
  it("N26: a transfer of 64 MiB goes on beyond the ends of both sides' first certificates, with equal hashes", async () => {
    const up = randomBytes(64 * 1024 * 1024);
    const received = Promise.withResolvers<Buffer>();
    const { clock, web, api, dial, rotate } = await mesh((socket) => {
      received.resolve(readAll(socket));
      socket.once('end', () => socket.end());
    });
    const client = await dial();
    const part = up.length / 4;
    const send = (from: number, to: number) => new Promise((resolve) => client.write(up.subarray(from, to), resolve));
    await send(0, part);
    for (const round of [1, 2]) {
      const proved = renewed(web);
      for (const plane of [api, web]) rotate(plane);
      clock.step(10_000);
      await proved;
      clock.step(0.6 * hourMs);
      await send(round * part, (round + 1) * part);
    }
    await send(3 * part, up.length);
    for (const plane of [web, api]) plane.revocationsChanged();
    client.end();
    expect(sha256(await received.promise)).toBe(sha256(up));
    expect(await web.line({ direction: 'outbound', outcome: 'closed' })).toMatchObject({ reason: 'eof' });
    expect(await api.line({ direction: 'inbound', outcome: 'closed' })).toMatchObject({ reason: 'eof' });
  });

  it('asks a peer that rotates alone, and tells nobody, before its certificate ends', async () => {
    const { clock, web, api, dial, rotate } = await mesh(echo);
    const client = await dial();
    expect(await answers(client)).toBe(true);
    const { peer } = proofOf(web);
    clock.step(60_000);
    rotate(api);
    const proved = renewed(web);
    clock.step(peer.notAfterMs - clock.now() - 60_000);
    await proved;
    expect(proofOf(web).peer.notAfterMs).toBe(api.identity.notAfterMs);
    clock.step(90_000);
    for (const plane of [web, api]) plane.revocationsChanged();
    expect(await answers(client)).toBe(true);
    expect(handshakes(web)).toBe(2);
  });

  it('shows the certificate of a rotation that comes while the one before is being proved', async () => {
    const { clock, web, api, dial, rotate } = await mesh(echo);
    expect(await answers(await dial())).toBe(true);
    const [accepted, first] = [renewed(api), renewed(web)];
    rotate(web);
    clock.step(10_000);
    await accepted;
    rotate(web);
    await first;
    const second = renewed(web);
    clock.step(10_000);
    await second;
    expect(proofOf(api).peer.notAfterMs).toBe(web.identity.notAfterMs);
  });

  it('says so when a peer that should have a newer certificate shows the same one again and again', async () => {
    const { clock, web, dial } = await mesh(echo);
    const client = await dial();
    expect(await answers(client)).toBe(true);
    const asked = () => web.observation(({ event, args }) => event === 'proofRenewed' && args[1] === 'not_newer');
    for (const _ of [1, 2, 3]) {
      const next = asked();
      clock.step((proofOf(web).peer.notAfterMs - clock.now()) * 0.81);
      await next;
    }
    const msg = 'A tunnel could not be proved anew; its connections end unless that changes';
    expect(await web.line({ msg })).toMatchObject({ peerId: apiId, result: 'not_newer', connections: 1 });
    expect(await answers(client)).toBe(true);
  });
});

describe('a tunnel that ends while it is proved anew', () => {
  it('is not counted as open by anybody', async () => {
    const running = await mesh(echo);
    const { clock, web, api, dial, rotate } = running;
    expect(await answers(await dial())).toBe(true);
    const [tunnel] = web.pool.tunnels();
    const [accepted, proved] = [renewed(api), renewed(web)];
    rotate(web);
    clock.step(10_000);
    await accepted;
    tunnel?.destroy();
    await proved;
    await tunnel?.closed;
    expect(bookedTunnels(running)).toEqual([1]);
  });
});

describe('a connection whose peer does not prove itself anew', () => {
  it.each(['inbound', 'outbound'] as const)(
    'R23: is closed as peer_certificate_expired at the end of the certificate plus the grace, seen from %s',
    async (direction) => {
      const { clock, web, api, dial } = await mesh(echo);
      const client = await dial();
      expect(await answers(client)).toBe(true);
      const [judge, other] = direction === 'inbound' ? [api, web] : [web, api];
      clock.step(hourMs);
      judge.revocationsChanged();
      expect(await answers(client)).toBe(true);
      expect(
        await judge.line({ msg: 'The certificate of a peer has ended and was not proved anew', direction }),
      ).toMatchObject({ peerId: direction === 'inbound' ? webId : apiId, connections: 1 });
      clock.step(graceMs - 60_000);
      judge.revocationsChanged();
      expect(await answers(client)).toBe(true);
      const ended = ending(client);
      clock.step(60_000);
      judge.revocationsChanged();
      expect(await ended).toBe('reset');
      expect(await judge.line({ direction, outcome: 'closed' })).toMatchObject({ reason: 'peer_certificate_expired' });
      await other.line({ outcome: 'closed' });
    },
  );

  it('R23: is closed by the clock alone, at once without a grace and never where the grace is never', async () => {
    const none = await mesh(echo, 0);
    const cut = await none.dial();
    expect(await answers(cut)).toBe(true);
    const ended = ending(cut);
    none.clock.step(hourMs + 1_000);
    expect(await ended).toBe('reset');
    const never = await mesh(echo, Number.POSITIVE_INFINITY);
    const kept = await never.dial();
    expect(await answers(kept)).toBe(true);
    never.clock.step(1000 * hourMs);
    for (const plane of [never.web, never.api]) plane.revocationsChanged();
    expect(await answers(kept)).toBe(true);
  });

  it('shows when it will be closed long before', async () => {
    const { clock, web, api, dial } = await mesh(echo);
    expect(await answers(await dial())).toBe(true);
    const endsAtMs = proofOf(web).endsAtMs;
    expect(endsAtMs).toBe(proofOf(web).peer.notAfterMs + graceMs);
    expect(Math.abs(proofOf(api).endsAtMs - clock.now() - hourMs - graceMs)).toBeLessThan(60_000);
    const [connection] = web.accounts.live();
    expect(connection && shownConnection(connection, clock.now())).toMatchObject({
      peerNotAfter: timestamp(endsAtMs - graceMs),
      endsAt: timestamp(endsAtMs),
    });
  });

  it('gets no company: nothing new is carried in its tunnel', async () => {
    const { clock, web, dial, rotate, api } = await mesh(echo);
    const first = await dial();
    expect(await answers(first)).toBe(true);
    clock.step(hourMs);
    for (const plane of [web, api]) rotate(plane);
    expect(await answers(await dial())).toBe(true);
    expect(await answers(first)).toBe(true);
    expect(handshakes(web)).toBe(2);
  });
});

const retrust = (plane: RunningDataPlane, bundles: TrustBundles) => {
  plane.identity = { ...plane.identity, bundles };
  plane.identityChanged(plane.identity);
};

describe('a connection under trust bundles that change', () => {
  const next = createTestAuthority('cluster.local', { root: { subject: 'the next root' } });
  const both = bundlesOf({ ...authority, bundlePem: authority.bundlePem + next.bundlePem });
  it.each(['inbound', 'outbound'] as const)(
    'B7: is closed as bundle_change when the root of its peer is removed, seen from %s, and new handshakes fail at once',
    async (direction) => {
      const { web, api, dial } = await mesh(echo);
      const client = await dial();
      expect(await answers(client)).toBe(true);
      const judge = direction === 'inbound' ? api : web;
      retrust(judge, both);
      expect(await answers(client)).toBe(true);
      const ended = ending(client);
      retrust(judge, bundlesOf(next));
      expect(await ended).toBe('reset');
      expect(await judge.line({ direction, outcome: 'closed' })).toMatchObject({ reason: 'bundle_change' });
      const refused = await dial();
      expect(await ending(refused)).toBe('reset');
      expect(await judge.line({ direction, outcome: 'handshake' })).toMatchObject({ reason: 'untrusted' });
    },
  );

  it('B7: goes on when its peer has proved itself under a root that stays', async () => {
    const { clock, web, api, dial, rotate } = await mesh(echo);
    for (const plane of [web, api]) retrust(plane, both);
    const client = await dial();
    expect(await answers(client)).toBe(true);
    const proved = renewed(web);
    for (const plane of [api, web]) rotate(plane, next);
    clock.step(10_000);
    await proved;
    for (const plane of [web, api]) retrust(plane, bundlesOf(next));
    expect(await answers(client)).toBe(true);
    expect(proofOf(api).peer.rootFingerprint).toBe(bundlesOf(next).domains.get('cluster.local')?.[0]?.fingerprint);
  });
});

describe('a connection whose root is issued anew for the same key', () => {
  it('is proved anew with the same certificates, and lasts as long as the new root lets them', async () => {
    const ending = { subject: 'the root', notAfterMs: systemClock.now() + hourMs };
    const first = makeAuthority(ending);
    const { key, subjectKeyId } = first;
    const second = makeAuthority({ ...ending, key, subjectKeyId, notAfterMs: systemClock.now() + 100 * hourMs });
    const authorityOf = (root: typeof first) => createTestAuthority('cluster.local', { chain: [root] });
    const { clock, web, api, dial, rotate } = await mesh(echo);
    for (const plane of [web, api]) {
      plane.identity = { ...plane.identity, bundles: bundlesOf(authorityOf(first)) };
      rotate(plane, authorityOf(first), 50 * hourMs);
    }
    const client = await dial();
    expect(await answers(client)).toBe(true);
    const { endsAtMs } = proofOf(web);
    for (const plane of [web, api]) retrust(plane, bundlesOf(authorityOf(second)));
    const proved = renewed(web);
    clock.step(0.8 * hourMs);
    await proved;
    expect(proofOf(web).endsAtMs).toBeGreaterThan(endsAtMs + 40 * hourMs);
    expect(await answers(client)).toBe(true);
  });
});

describe('a connection of somebody who is revoked', () => {
  it.each([
    ['its certificate', 'inbound'],
    ['its certificate', 'outbound'],
    ['its identity', 'inbound'],
    ['its identity', 'outbound'],
  ] as const)('C28: is closed as revoked when %s is, seen from %s', async (what, direction) => {
    const { web, api, dial } = await mesh(echo);
    const client = await dial();
    expect(await answers(client)).toBe(true);
    const judge = direction === 'inbound' ? api : web;
    const { peer } = proofOf(judge);
    const ended = ending(client);
    judge.revocations = createRevocations(
      what === 'its identity'
        ? { certificates: [], identities: [peer.spiffeId.uri] }
        : { certificates: [{ serials: [peer.serial] }], identities: [] },
    );
    judge.revocationsChanged();
    expect(await ended).toBe('reset');
    expect(await judge.line({ direction, outcome: 'closed' })).toMatchObject({ reason: 'revoked' });
    expect(await ending(await dial())).toBe('reset');
    expect(await judge.line({ direction, outcome: 'handshake' })).toMatchObject({ reason: 'revoked' });
  });

  it('C28: goes on when somebody else is revoked, or when nobody can know who is', async () => {
    const { web, api, dial } = await mesh(echo);
    const client = await dial();
    expect(await answers(client)).toBe(true);
    for (const plane of [web, api]) {
      plane.revocations = createRevocations({
        certificates: [{ serials: ['4A00'] }],
        identities: [`${webId}2`],
        unknown: 'the list is stale',
      });
      plane.revocationsChanged();
    }
    expect(await answers(client)).toBe(true);
  });
});

describe('a tunnel that cannot be proved anew', () => {
  /** Passes connections on to whichever port it was told last. */
  async function crossing(port: number) {
    let target = port;
    const server = createServer((socket) => {
      const onward = connect(target, '127.0.0.1');
      for (const end of [socket, onward]) end.on('error', () => undefined);
      socket.pipe(onward).pipe(socket);
      cleanups.push(() => socket.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(() => server.close());
    return {
      port: (server.address() as AddressInfo).port,
      lead(next: number) {
        target = next;
      },
    };
  }
  const failed = (plane: RunningDataPlane, result: string) =>
    plane.observation(({ event, args }) => event === 'proofRenewed' && args[1] === result);
  const msg = 'A tunnel could not be proved anew; its connections end unless that changes';

  it('N26: is told from its namesake: another sidecar with the same identity at the same address proves nothing', async () => {
    const clock = steppedClock();
    const delivery = { ip: '127.0.0.1', port: await application(echo) };
    const identity = (serviceAccount: string) =>
      createTestIdentity(authority, {
        namespace: 'shop',
        serviceAccount,
        certificate: { notAfterMs: clock.now() + hourMs },
      });
    const first = await runDataPlane({ identity: identity('api'), deliveries: [delivery], clock });
    const second = await runDataPlane({ identity: identity('api'), deliveries: [delivery], clock });
    const way = await crossing(first.addresses.hbone[0]?.port ?? 0);
    const declared = [{ target: delivery, peer: apiId }];
    const web = await runDataPlane({ identity: identity('web'), declared, hbonePort: way.port, clock });
    for (const plane of [first, second, web]) cleanups.push(() => plane.stop());
    const client = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0 });
    client.on('error', () => undefined);
    cleanups.push(() => client.destroy());
    expect(await answers(client)).toBe(true);
    way.lead(second.addresses.hbone[0]?.port ?? 0);
    const refused = failed(web, 'refused');
    web.identity = identity('web');
    web.identityChanged(web.identity);
    clock.step(10_000);
    await refused;
    expect(await web.line({ msg })).toMatchObject({ peerId: apiId, result: 'refused', connections: 1 });
    expect(proofOf(web).provedAtMs).toBeLessThan(clock.now() - 9_000);
    expect(await answers(client)).toBe(true);
    // The first one is there again.
    way.lead(first.addresses.hbone[0]?.port ?? 0);
    const proved = renewed(web);
    for (const tunnel of web.pool.tunnels()) if (tunnel.streams() === 0) tunnel.destroy();
    clock.step(60_000);
    await proved;
  });

  it('says so when its peer cannot be reached for it, and is proved as soon as it can', async () => {
    const { clock, web, api, dial, rotate } = await mesh(echo);
    const client = await dial();
    expect(await answers(client)).toBe(true);
    const bundles = web.identity.bundles;
    const unreachable = failed(web, 'unreachable');
    rotate(web);
    web.identity = { ...web.identity, bundles: bundlesOf(createTestAuthority('other.example')) };
    clock.step(10_000);
    await unreachable;
    expect(await web.line({ msg })).toMatchObject({ peerId: apiId, result: 'unreachable', connections: 1 });
    web.identity = { ...web.identity, bundles };
    const proved = renewed(web);
    clock.step(60_000);
    await proved;
    expect(await answers(client)).toBe(true);
    expect(renewals(api)).toContain('renewed');
  });
});
