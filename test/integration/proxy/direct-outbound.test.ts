import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { formatAddress } from '../../../src/addresses.ts';
import { systemClock } from '../../../src/clock.ts';
import { createRevocations } from '../../../src/identity/revocations.ts';
import { resetSocket } from '../../../src/proxy/leg.ts';
import { createPeerBook } from '../../../src/proxy/peer-book.ts';
import type { Observed } from '../../support/data-plane.ts';
import {
  application,
  caller,
  dialService,
  directServer,
  endPeers,
  idOf,
  mesh,
  registryOf,
  shown,
  unreachable,
} from '../../support/direct-peers.ts';
import { explaining } from '../../support/explaining.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

/*
 * Goal: an endpoint that takes mutual TLS on its own port gets what the application sends, and nobody else does. Method: a
 * sidecar in this process whose captured connections go to servers of node:tls.
 */

afterEach(endPeers);

const partner = createTestAuthority('partner.example');
const handshakesOf = (observed: readonly Observed[]) =>
  observed.filter(({ event }) => event.startsWith('handshake')).map(({ event, args }) => [event, args[0], args[1]]);

describe('an endpoint that takes mutual TLS on its own port', () => {
  it('is dialled there as the identity that is expected, and shown ours', async () => {
    const api = await directServer();
    const peers = createPeerBook(systemClock);
    const plane = await caller(registryOf({ address: formatAddress(api.address) }), { parts: { peers } });
    const openNow = () => [...peers.byRoot().values()].map(({ open }) => open);
    const socket = await dialService(plane);
    const far = await api.next();
    expect(far.alpnProtocol).toBe('istio');
    expect(far.getPeerX509Certificate()?.subjectAltName).toBe(`URI:${idOf('web')}`);
    expect(far.getProtocol()).toBe('TLSv1.3');
    far.write('!');
    await once(socket, 'data');
    expect(openNow()).toEqual([1]);
    socket.end('from the application');
    expect((await readAll(far)).toString()).toBe('from the application');
    far.end('and back');
    expect((await readAll(socket)).toString()).toBe('and back');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({
      transport: 'direct',
      security: 'mutual_tls',
      peerId: idOf('api'),
      localId: idOf('web'),
      service: 'api.shop',
      endpoint: formatAddress(api.address),
      tlsVersion: 'TLSv1.3',
      bytesSent: 20,
      bytesReceived: 9,
      reason: 'eof',
    });
    expect(await plane.line({ direction: 'outbound' })).not.toHaveProperty('tunnel');
    await expect.poll(openNow).toEqual([0]);
    expect(handshakesOf(plane.observed)).toMatchObject([['handshakeSucceeded', 'outbound', expect.any(Number)]]);
  });

  it('T23: may select none of the protocols that are offered, as a sidecar of Istio does, and no other one', async () => {
    const silent = await directServer({ ALPNProtocols: undefined });
    const plane = await caller(registryOf({ address: formatAddress(silent.address) }));
    const socket = await dialService(plane);
    const far = await silent.next();
    expect(far.alpnProtocol).toBe(false);
    far.end('hello');
    expect((await readAll(socket)).toString()).toBe('hello');
    const other = await directServer({ ALPNProtocols: ['h2'] });
    const refused = await caller(registryOf({ address: formatAddress(other.address) }));
    expect(await ending(await dialService(refused))).toBe('reset');
    expect(await refused.line({ direction: 'outbound' })).toMatchObject({ outcome: 'handshake', reason: 'alpn' });
  });

  it('is explained as what becomes of it', async () => {
    const api = await directServer();
    const plane = await caller(registryOf({ address: formatAddress(api.address) }));
    await dialService(plane);
    await api.next();
    const { verdict, endpoints } = await explaining(plane).to('10.96.0.10:80');
    expect(verdict.sentence).toBe(
      `10.96.0.10:80 (api.shop) would be reached through mutual TLS at ${formatAddress(api.address)} as ${idOf('api')}`,
    );
    expect(endpoints).toMatchObject([
      { transport: 'direct', expectedId: idOf('api'), use: 'chosen_from', connections: 1, tunnels: 0 },
    ]);
  });

  it('carries what it says first, before the application has said anything', async () => {
    const api = await directServer();
    const plane = await caller(registryOf({ address: formatAddress(api.address) }));
    const socket = await dialService(plane);
    (await api.next()).write('220 ready');
    expect(String((await once(socket, 'data'))[0])).toBe('220 ready');
  });
});

describe('an endpoint that is not who it should be', () => {
  it.each<[string, string, Parameters<typeof directServer>[0]]>([
    ['S22: another workload', 'peer_identity', shown(mesh.issue({ id: 'ns/shop/sa/db' }))],
    [
      'C1: of an unknown root',
      'untrusted',
      shown(createTestAuthority('cluster.local').issue({ id: 'ns/shop/sa/api' })),
    ],
    ['C27: vouched for by the root of another domain', 'untrusted', shown(partner.issue({ id: idOf('api') }))],
    ['C3: out of date', 'expired', shown(mesh.issue({ id: 'ns/shop/sa/api', notAfterMs: Date.now() - 1000 } as never))],
    ['S2: without an identity', 'svid_no_uri', shown(mesh.issue({ id: 'x', sans: [{ dns: 'api.shop' }] } as never))],
    ['T2: that speaks at most TLS 1.2', 'protocol_version', { maxVersion: 'TLSv1.2' }],
  ])('%s is refused as %s, and gets no byte', async (_, reason, options) => {
    const api = await directServer({ ...options, requestCert: false });
    const bundles = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web' }).bundles;
    const identity = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web', bundles });
    const plane = await caller(registryOf({ address: formatAddress(api.address) }), { identity });
    const socket = await dialService(plane);
    socket.write('secret');
    expect(await ending(socket)).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({
      outcome: 'handshake',
      reason,
      transport: 'direct',
      expectedId: idOf('api'),
      localId: idOf('web'),
    });
    expect(handshakesOf(plane.observed)).toEqual([['handshakeFailed', 'outbound', reason]]);
  });

  it('is passed over for another one, with every byte sent once', async () => {
    const impostor = await directServer(shown(mesh.issue({ id: 'ns/shop/sa/db' })));
    const api = await directServer();
    const addresses = [impostor, api].map(({ address }) => ({ address: formatAddress(address) }));
    const plane = await caller(registryOf(...addresses), { clock: createFakeClock(Date.now(), () => 0) });
    const socket = await dialService(plane);
    socket.end('once');
    const far = await api.next();
    expect((await readAll(far)).toString()).toBe('once');
    expect(impostor.dialled()).toBe(1);
    expect((await plane.line({ msg: 'Endpoint set aside' })).peerId).toBe(idOf('api'));
  });

  it.each<[string, () => Promise<{ port: number }>]>([
    ['does not listen', async () => ({ port: 1 })],
    ['is somebody else', async () => (await directServer(shown(mesh.issue({ id: 'ns/shop/sa/db' })))).address],
    ['speaks plaintext', async () => application((socket) => socket.end('220 hello'))],
  ])('never leads to plaintext, also when it %s', async (_, start) => {
    const { port } = await start();
    const plain = await unreachable();
    const plane = await caller(
      registryOf(
        { address: `127.0.0.1:${port}` },
        { address: formatAddress(plain), transport: 'plaintext', spiffeId: '' },
      ),
      { clock: createFakeClock(Date.now(), () => 0) },
    );
    expect(await ending(await dialService(plane))).toBe('reset');
    expect(plane.observed.filter(({ event }) => event === 'connectionOpened')).toEqual([]);
  });

  it('T12: that keeps silent is given up at the deadline of the handshake', async () => {
    const greeted = Promise.withResolvers<unknown>();
    const silent = await application((far) => far.once('data', greeted.resolve));
    const clock = createFakeClock();
    const plane = await caller(registryOf({ address: formatAddress(silent) }), { clock });
    const socket = await dialService(plane);
    const ended = ending(socket);
    await greeted.promise;
    await clock.advance(9_000);
    expect(socket.closed).toBe(false);
    await clock.advance(1_001);
    expect(await ended).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'handshake', reason: 'timeout' });
  });

  it('is left at once when the application gives up during the handshake', async () => {
    const gone = Promise.withResolvers<void>();
    const dialled = Promise.withResolvers<void>();
    const silent = await application((far) => {
      dialled.resolve();
      far.once('close', () => gone.resolve());
    });
    const plane = await caller(registryOf({ address: formatAddress(silent) }));
    const socket = await dialService(plane);
    await dialled.promise;
    socket.resetAndDestroy();
    await gone.promise;
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'reset' });
    expect(handshakesOf(plane.observed)).toEqual([]);
  });
});

describe('a peer that refuses us', () => {
  const notAccepted =
    /^The peer has (ended|cut .*) the connection before it had said anything: .* not accept our certificate/;

  it('says so only after the handshake, which is no success then, and the line says what is known', async () => {
    const strangers = await directServer({ ca: partner.bundlePem });
    const plane = await caller(registryOf({ address: formatAddress(strangers.address) }));
    const socket = await dialService(plane);
    socket.resume().once('end', () => socket.end());
    const line = await plane.line({ direction: 'outbound' });
    expect(line).toMatchObject({ outcome: 'closed', bytesReceived: 0, transport: 'direct' });
    expect(line.detail).toMatch(notAccepted);
    expect(handshakesOf(plane.observed).filter(([event]) => event === 'handshakeSucceeded')).toEqual([]);
  });

  it('is a failed handshake when it resets the connection, and the application sees a reset', async () => {
    const api = await directServer();
    const plane = await caller(registryOf({ address: formatAddress(api.address) }));
    const socket = await dialService(plane);
    resetSocket(await api.next());
    expect(await ending(socket)).toBe('reset');
    const line = await plane.line({ direction: 'outbound' });
    expect(line).toMatchObject({ outcome: 'closed', reason: 'reset', bytesReceived: 0 });
    expect(line.detail).toMatch(notAccepted);
    expect(handshakesOf(plane.observed)).toEqual([['handshakeFailed', 'outbound', 'reset']]);
  });

  it('is not suspected where the application ended first', async () => {
    const api = await directServer();
    const plane = await caller(registryOf({ address: formatAddress(api.address) }));
    const socket = await dialService(plane);
    socket.end('one way');
    const far = await api.next();
    expect((await readAll(far)).toString()).toBe('one way');
    far.end();
    expect(await ending(socket)).toBe('end');
    const line = await plane.line({ direction: 'outbound' });
    expect(line).toMatchObject({ reason: 'eof' });
    expect(line).not.toHaveProperty('detail');
  });
});

describe('a direct connection', () => {
  const opened = async (options = {}) => {
    const api = await directServer();
    const plane = await caller(registryOf({ address: formatAddress(api.address) }), options);
    const socket = await dialService(plane);
    const far = await api.next();
    far.write('hello');
    await once(socket, 'data');
    return { plane, socket, far };
  };

  it('N3: is reset for the application when the peer resets it', async () => {
    const { plane, socket, far } = await opened();
    const ended = ending(socket);
    resetSocket(far);
    expect(await ended).toBe('reset');
    const line = await plane.line({ direction: 'outbound' });
    expect(line).toMatchObject({ outcome: 'closed', reason: 'reset' });
    expect(line).not.toHaveProperty('detail');
  });

  it('N4: is reset for the peer when the application resets it', async () => {
    const { plane, socket, far } = await opened();
    const ended = ending(far);
    socket.resetAndDestroy();
    expect(await ended).toBe('reset');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'reset' });
  });

  it('C28: is cut as `revoked` when its peer is revoked', async () => {
    const { plane, socket, far } = await opened();
    const ended = [ending(socket), ending(far)];
    plane.revocations = createRevocations({ certificates: [], identities: [idOf('api')] });
    plane.revocationsChanged();
    expect(await Promise.all(ended)).toEqual(['reset', 'reset']);
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'revoked' });
  });

  it('B7: is cut as `bundle_change` when the root of its peer is gone, and goes on when one is added', async () => {
    const { plane, socket, far } = await opened();
    const { bundles } = plane.identity;
    const rotated = createTestAuthority('cluster.local');
    plane.identity = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web', generation: 2, bundles });
    plane.identityChanged(plane.identity);
    far.write('still here');
    expect(String((await once(socket, 'data'))[0])).toBe('still here');
    const ended = [ending(socket), ending(far)];
    plane.identity = createTestIdentity(rotated, { namespace: 'shop', serviceAccount: 'web', generation: 3 });
    plane.identityChanged(plane.identity);
    expect(await Promise.all(ended)).toEqual(['reset', 'reset']);
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ outcome: 'closed', reason: 'bundle_change' });
  });

  it('R23: outlives the certificate of its peer by the grace, visibly, and is then cut', async () => {
    const clock = createFakeClock(Date.now());
    const { plane, socket, far } = await opened({ clock });
    const [live] = [...plane.accounts.live()];
    const { notAfterMs } = live?.proof?.peer ?? { notAfterMs: 0 };
    expect(live?.proof?.endsAtMs).toBe(notAfterMs + 600_000);
    const ended = [ending(socket), ending(far)];
    await clock.advance(notAfterMs - clock.now() + 1_000);
    await plane.line({ msg: 'The certificate of a peer has ended and was not proved anew' });
    expect(socket.closed).toBe(false);
    await clock.advance(601_000);
    expect(await Promise.all(ended)).toEqual(['reset', 'reset']);
    expect(await plane.line({ direction: 'outbound', outcome: 'closed' })).toMatchObject({
      reason: 'peer_certificate_expired',
    });
  });

  it('K3: is reset at the deadline of a stop, and counted once', async () => {
    const { plane, socket, far } = await opened();
    const ended = [ending(socket), ending(far)];
    expect(await plane.drain.finish(0)).toBe(1);
    expect(await Promise.all(ended)).toEqual(['reset', 'reset']);
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ reason: 'drain_deadline' });
  });

  it('N8: ends for the application where the peer ends TCP alone, which cannot be told from an end', async () => {
    const { plane, socket, far } = await opened();
    socket.end();
    const ended = ending(socket);
    await once(far.resume(), 'end');
    far.destroy();
    expect(await ended).toBe('end');
    expect(await plane.line({ direction: 'outbound' })).toMatchObject({ reason: 'eof' });
  });
});
