import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { formatAddress } from '../../../src/addresses.ts';
import { systemClock } from '../../../src/clock.ts';
import type { PolicyState } from '../../../src/control-api.ts';
import { createRevocations } from '../../../src/identity/revocations.ts';
import { resetSocket } from '../../../src/proxy/leg.ts';
import { createPeerBook } from '../../../src/proxy/peer-book.ts';
import type { Slots } from '../../../src/proxy/slots.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { CertificateSpec } from '../../support/certificates.ts';
import { ed25519Key } from '../../support/certificates.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import {
  application,
  caller,
  capturedPort,
  client,
  dial,
  dialCaptured,
  dialService,
  echo,
  endPeers,
  identityOf,
  idOf,
  mesh,
  registryOf,
  shown,
  startClient,
  unreachable,
} from '../../support/direct-peers.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';
import {
  clientHello,
  earlyDataExtensions,
  extension,
  record,
  recordTypes,
  tls13Extensions,
} from '../tls/client-hello.ts';

/*
 * Goal: on the captured port of an application that is STRICT nobody is served but a peer that has proved who it is, and
 * whoever is served loses no byte and is told a cut as a cut. Method: a sidecar in this process and clients of node:tls.
 */

afterEach(endPeers);

const by = (spec: CertificateSpec & { readonly id?: string }) => shown(mesh.issue({ id: 'ns/shop/sa/web', ...spec }));
const counted = ({ observed }: RunningDataPlane) =>
  observed
    .filter(({ event }) => event.startsWith('handshake'))
    .map(({ event, args }) => (event === 'handshakeFailed' ? args[1] : event));

/** A client that is refused: the reason in the line; the application must not be reached. */
async function refusal(options: ConnectionOptions, plane?: RunningDataPlane): Promise<unknown> {
  const taking = plane ?? (await capturedPort(await unreachable()));
  const secure = startClient(await dialCaptured(taking), options);
  secure.once('secureConnect', () => secure.write('secret'));
  expect(await ending(secure)).toBe('reset');
  const line = await taking.line({ direction: 'inbound', transport: 'direct' });
  const { outcome, reason } = line;
  expect(outcome).toBe('handshake');
  expect(line).not.toHaveProperty('security');
  expect(counted(taking)).toEqual([reason]);
  return reason;
}

describe('a peer on a captured port', () => {
  it('proves who it is, is let in as that, and reaches the application', async () => {
    const plane = await capturedPort(await echo());
    const secure = await client(plane);
    expect([secure.alpnProtocol, secure.getProtocol()]).toEqual(['istio', 'TLSv1.3']);
    secure.end('hello');
    expect((await readAll(secure)).toString()).toBe('hello');
    const line = await plane.line({ direction: 'inbound' });
    expect(line).toMatchObject({
      transport: 'direct',
      security: 'mutual_tls',
      peerId: idOf('web'),
      localId: idOf('api'),
      tlsVersion: 'TLSv1.3',
      bytesSent: 5,
      bytesReceived: 5,
      reason: 'eof',
    });
    expect(line).not.toHaveProperty('tunnel');
    expect(counted(plane)).toEqual(['handshakeSucceeded']);
  });

  it.each<[string, string[], string]>([
    ['istio-peer-exchange and istio', ['istio-peer-exchange', 'istio'], 'istio'],
    ['remora and istio', ['remora', 'istio'], 'istio'],
    ['remora alone', ['remora'], 'remora'],
    ['istio twice', ['istio', 'istio'], 'istio'],
    ['fifty names, the last of them istio', [...Array.from({ length: 49 }, (_, i) => `p${i}`), 'istio'], 'istio'],
    ['a name of 255 bytes and istio', ['x'.repeat(255), 'istio'], 'istio'],
  ])('T23: that offers %s is answered with one of ours', async (_, offered, selected) => {
    const secure = await client(await capturedPort(await echo()), { ALPNProtocols: offered });
    expect(secure.alpnProtocol).toBe(selected);
  });

  it('T23: that offers istio-peer-exchange alone is refused as alpn', async () => {
    expect(await refusal({ ALPNProtocols: ['istio-peer-exchange'] })).toBe('alpn');
  });

  it('T23: is nobody by its protocol: without a certificate it is refused', async () => {
    expect(await refusal({ key: undefined, cert: undefined, ALPNProtocols: ['istio'] })).toBe('no_client_cert');
  });
});

describe('a stranger on a captured port', () => {
  const stranger = createTestAuthority('cluster.local');
  it.each<[string, ConnectionOptions, string]>([
    ['T2: speaks at most TLS 1.2', { maxVersion: 'TLSv1.2' }, 'protocol_version'],
    ['T3: has no certificate', { key: undefined, cert: undefined }, 'no_client_cert'],
    ['T25: signs with Ed25519 alone, which our certificate does not', { sigalgs: 'ed25519' }, 'no_shared_cipher'],
    ['C1: is of an unknown root', shown(stranger.issue({ id: 'ns/shop/sa/web' })), 'untrusted'],
    ['C3: is out of date', by({ notAfterMs: Date.now() - 1000 }), 'expired'],
    ['C7: leaves its intermediate out', { cert: mesh.issue({ id: 'ns/shop/sa/web' }).certPem }, 'untrusted'],
    ['C13: has a certificate for servers alone', by({ extendedKeyUsage: ['serverAuth'] }), 'bad_purpose'],
    ['S2: has names and no identity', by({ sans: [{ dns: 'web.shop' }] }), 'svid_no_uri'],
    ['S3: has two identities', by({ sans: [{ uri: idOf('web') }, { uri: idOf('db') }] }), 'svid_multiple_uris'],
    ['S16: is an authority', by({ basicConstraints: { ca: true } }), 'svid_is_ca'],
    ['S20: is of another trust domain', by({ id: 'spiffe://other.example/ns/shop/sa/web' }), 'trust_domain'],
  ])('%s: refused as is, and the application hears nothing', async (name, options, reason) => {
    const isPair = name.startsWith('C7');
    const pair = isPair ? mesh.issue({ id: 'ns/shop/sa/web' }) : undefined;
    expect(await refusal(pair ? { ...shown(pair), cert: pair.certPem } : options)).toBe(reason);
  });

  it('T25: that takes no signature but one over SHA-1 is refused', async () => {
    const plane = await capturedPort(await unreachable());
    const sha1 = extension(13, Buffer.from('000402030201', 'hex'));
    const socket = await dialCaptured(plane);
    socket.write(hello([...tls13Extensions().filter((one) => one.readUInt16BE(0) !== 13), sha1]));
    expect(await ending(socket)).toBe('reset');
    expect(await plane.line({ outcome: 'handshake' })).toMatchObject({ reason: 'no_shared_cipher' });
  });

  it('T25: is let in with an Ed25519 certificate of the mesh', async () => {
    const secure = await client(await capturedPort(await echo()), by({ key: ed25519Key() }));
    secure.end('let in');
    expect((await readAll(secure)).toString()).toBe('let in');
  });

  it('T28: that writes 1 MiB right after its Finished reaches nobody', async () => {
    const plane = await capturedPort(await unreachable());
    const secure = startClient(await dialCaptured(plane), shown(stranger.issue({ id: 'ns/shop/sa/web' })));
    secure.once('secureConnect', () => secure.write(Buffer.alloc(1024 * 1024)));
    expect(await ending(secure)).toBe('reset');
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ reason: 'untrusted' });
  });

  it('T28: that is known and not permitted reaches nobody either, whatever it has written', async () => {
    const plane = await capturedPort(await unreachable());
    plane.policy = allowing('db');
    const secure = await client(plane);
    secure.write(Buffer.alloc(1024 * 1024));
    expect(await ending(secure)).toBe('reset');
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({
      outcome: 'denied',
      reason: 'default_deny',
      peerId: idOf('web'),
    });
  });
});

const allowing = (...serviceAccounts: string[]): PolicyState => ({
  mode: 'STRICT',
  authorization: [
    {
      name: 'shop/some',
      action: 'ALLOW',
      rules: [{ from: [{ principals: serviceAccounts.map((name) => idOf(name).slice('spiffe://'.length)) }] }],
    },
  ],
});

/** One that offers `istio`. */
function hello(extensions = tls13Extensions()): Buffer {
  const alpn = extension(16, Buffer.from('\0\x06\x05istio', 'latin1'));
  const others = extensions.filter((one) => one.readUInt16BE(0) !== 16);
  return record(recordTypes.handshake, clientHello({ extensions: [alpn, ...others] }));
}

describe('a hello', () => {
  it('T9: that comes byte by byte is taken', async () => {
    const plane = await capturedPort(await echo());
    const socket = await dialCaptured(plane);
    const relayed = await dribbling(socket);
    const secure = startClient(relayed);
    await once(secure, 'secureConnect');
    secure.end('slow');
    expect((await readAll(secure)).toString()).toBe('slow');
  });

  it('T13: after which nothing comes is reset at the deadline that began with the connection', async () => {
    const clock = createFakeClock();
    const plane = await capturedPort(await unreachable(), { clock });
    const socket = await dialCaptured(plane);
    const whole = hello();
    const accepted = () => plane.drain.size > 0;
    while (!accepted()) await new Promise(setImmediate);
    socket.write(whole.subarray(0, 20));
    await clock.advance(9_000);
    socket.write(whole.subarray(20));
    // The server has said hello: what is waited for is the rest of the handshake.
    await once(socket, 'data');
    await clock.advance(999);
    expect(socket.closed).toBe(false);
    const ended = ending(socket);
    await clock.advance(2);
    expect(await ended).toBe('reset');
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ outcome: 'handshake', reason: 'timeout' });
  });

  it('T14: after which the client ends is `reset`, and nothing waits', async () => {
    const plane = await capturedPort(await unreachable());
    const socket = await dialCaptured(plane);
    socket.end(hello());
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ outcome: 'handshake', reason: 'reset' });
    expect(plane.drain.size).toBe(0);
  });

  it('T20: with early data carries none of it', async () => {
    const plane = await capturedPort(await unreachable());
    const socket = await dialCaptured(plane);
    const early = record(recordTypes.applicationData, Buffer.alloc(8000, 0x47));
    socket.write(Buffer.concat([hello([...tls13Extensions(), ...earlyDataExtensions()]), early, early]));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer[0]).toBe(recordTypes.handshake);
    socket.resetAndDestroy();
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ outcome: 'handshake', reason: 'reset' });
  });
});

describe('a client that shows a session', () => {
  /** One visit: the sessions that it leaves, and whether it was taken up. */
  const visit = async (plane: RunningDataPlane, options: ConnectionOptions) => {
    const secure = startClient(await dialCaptured(plane), options);
    let session: Buffer | undefined;
    secure.on('session', (one: Buffer) => {
      session = one;
    });
    let isReused: boolean | undefined;
    secure.once('secureConnect', () => {
      isReused = secure.isSessionReused();
      session = secure.getSession();
      secure.end('x');
    });
    return { end: await ending(secure), session, isReused };
  };

  it('T16: makes a full handshake', async () => {
    const plane = await capturedPort(await echo());
    const own = by({});
    const { session } = await visit(plane, own);
    expect(await visit(plane, { ...own, session })).toMatchObject({ end: 'end', isReused: false });
  });

  it('T17: is refused as expired when its certificate has ended since', async () => {
    const notAfterMs = Math.floor(Date.now() / 1000) * 1000 + 60_000;
    const clock = createFakeClock();
    const plane = await capturedPort(await echo(), { clock });
    const own = by({ notAfterMs });
    const { session, end } = await visit(plane, own);
    expect(end).toBe('end');
    await clock.advance(61_000);
    expect(await visit(plane, { ...own, session })).toMatchObject({ end: 'reset', isReused: false });
    expect(await plane.line({ outcome: 'handshake' })).toMatchObject({ reason: 'expired' });
  });

  it('T18: is refused without a certificate, whoever had the session', async () => {
    const plane = await capturedPort(await echo());
    const { session } = await visit(plane, by({}));
    const again = await visit(plane, { key: undefined, cert: undefined, session });
    expect(again).toMatchObject({ end: 'reset', isReused: false });
    expect(await plane.line({ outcome: 'handshake' })).toMatchObject({ reason: 'no_client_cert' });
  });

  it('T21: cannot negotiate anew, and goes on as it was', async () => {
    const plane = await capturedPort(await echo());
    const secure = await client(plane);
    const refused = await new Promise((resolve) => {
      secure.renegotiate({}, resolve);
      secure.once('error', resolve);
    });
    expect(refused).toBeInstanceOf(Error);
    secure.end('goes on');
    expect((await readAll(secure)).toString()).toBe('goes on');
  });
});

/** A connection through which one byte goes at a time; what comes back is passed on whole. */
async function dribbling(far: Socket): Promise<Socket> {
  const address = await application((near) => {
    near.on('data', (chunk: Buffer) => {
      for (const byte of chunk) far.write(Buffer.of(byte));
    });
    near.on('end', () => far.end());
    far.pipe(near);
  });
  return dial(address.port);
}

describe('a direct connection', () => {
  /** One that is carried, with both of its applications. */
  const carried = async (options: Parameters<typeof capturedPort>[1] = {}) => {
    const arrived = Promise.withResolvers<Socket>();
    const plane = await capturedPort(await application(arrived.resolve), options);
    const secure = await client(plane);
    const served = await arrived.promise;
    secure.write('hello');
    await once(served, 'data');
    return { plane, secure, served };
  };
  const cutFor = async (
    { plane, secure, served }: Awaited<ReturnType<typeof carried>>,
    cut: () => unknown,
  ): Promise<unknown> => {
    const ended = [ending(secure), ending(served)];
    await cut();
    expect(await Promise.all(ended)).toEqual(['reset', 'reset']);
    expect([...plane.accounts.live()]).toEqual([]);
    return (await plane.line({ direction: 'inbound', outcome: 'closed' })).reason;
  };

  it('N1: is reset when the application does not listen', async () => {
    const plane = await capturedPort({ ip: '127.0.0.1', port: 1 });
    expect(await ending(await client(plane))).toBe('reset');
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({
      reason: 'upstream_refused',
      peerId: idOf('web'),
    });
  });

  it('N3: is reset when the application resets it, 40 times, and leaves nothing behind', async () => {
    const behind = await application((socket) => socket.once('data', () => resetSocket(socket)));
    const plane = await capturedPort(behind);
    for (let i = 0; i < 40; i += 1) {
      const secure = await client(plane);
      secure.write('x');
      expect(await ending(secure)).toBe('reset');
    }
    await untilStill(() => plane.parts.connections.inUse);
    expect([...plane.accounts.live()]).toEqual([]);
    expect([plane.drain.size, plane.parts.connections.inUse]).toEqual([0, 0]);
  });

  it('N4: is reset for the application when its peer resets it', async () => {
    const { secure, served, plane } = await carried();
    const ended = ending(served);
    resetSocket(secure);
    expect(await ended).toBe('reset');
    expect((await plane.line({ direction: 'inbound' })).reason).toBe('reset');
  });

  it('N5: passes the end of a request on, and the long reply after it arrives whole', async () => {
    const reply = randomBytes(64 * 1024 * 1024);
    const plane = await capturedPort(
      await application((socket) => {
        socket.resume().once('end', () => socket.end(reply));
      }),
    );
    const secure = await client(plane);
    secure.end('request');
    const hash = createHash('sha256');
    for await (const chunk of secure) hash.update(chunk as Buffer);
    expect(hash.digest('hex')).toBe(createHash('sha256').update(reply).digest('hex'));
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ reason: 'eof', bytesReceived: reply.length });
  });

  it('N6: delivers an upload that goes on after the application has finished', async () => {
    const upload = Promise.withResolvers<Buffer>();
    const plane = await capturedPort(
      await application((socket) => {
        socket.end('done');
        upload.resolve(readAll(socket));
      }),
    );
    const secure = startClient(await dialCaptured(plane));
    secure.allowHalfOpen = true;
    expect((await readAll(secure)).toString()).toBe('done');
    const bytes = randomBytes(4 * 1024 * 1024);
    secure.end(bytes);
    expect((await upload.promise).equals(bytes)).toBe(true);
  });

  it('N8: that ends TCP alone has ended, because a FIN without close_notify cannot be told from one with it', async () => {
    const { plane, secure, served } = await carried();
    const ended = once(served.resume(), 'end');
    secure.destroy();
    await ended;
    served.end();
    expect((await plane.line({ direction: 'inbound' })).outcome).toBe('closed');
  });

  it('T28: of a peer that sends before the application is there holds a bounded part of it', async () => {
    const dialled = Promise.withResolvers<Socket>();
    const behind = await application(dialled.resolve);
    const plane = await capturedPort(behind);
    const secure = await client(plane);
    const served = await dialled.promise;
    // It reads nothing; what is under way is in buffers of the kernel and, bounded, of the sidecar.
    served.pause();
    const bytes = randomBytes(64 * 1024 * 1024);
    secure.end(bytes);
    await untilStill(() => secure.bytesWritten - secure.writableLength);
    const [live] = [...plane.accounts.live()];
    expect(secure.writableLength).toBeGreaterThan(32 * 1024 * 1024);
    expect(live?.bytes.bytesSent).toBeLessThan(32 * 1024 * 1024);
    served.end();
    expect((await readAll(served)).equals(bytes)).toBe(true);
  });

  it('N14: carries 24 MiB each way at once, in each of five connections', async () => {
    const plane = await capturedPort(await echo());
    const bytes = randomBytes(24 * 1024 * 1024);
    const wanted = createHash('sha256').update(bytes).digest('hex');
    const hashes = Array.from({ length: 5 }, async () => {
      const secure = await client(plane);
      secure.end(bytes);
      const hash = createHash('sha256');
      for await (const chunk of secure) hash.update(chunk as Buffer);
      return hash.digest('hex');
    });
    expect(await Promise.all(hashes)).toEqual(Array(5).fill(wanted));
  });

  it('G8: is cut as `policy_change` when what let it in is taken away, and goes on when more is allowed', async () => {
    const one = await carried();
    one.plane.policy = allowing('web', 'db');
    one.plane.policyChanged();
    one.secure.write('still');
    expect(String((await once(one.served, 'data'))[0])).toBe('still');
    expect(
      await cutFor(one, () => {
        one.plane.policy = allowing('db');
        one.plane.policyChanged();
      }),
    ).toBe('policy_change');
  });

  it('G8: is refused when the policy has changed while the application was dialled, which is left at once', async () => {
    const gone = Promise.withResolvers<void>();
    const behind = await application((socket) => socket.resume().once('close', () => gone.resolve()));
    const slots = createSlots(10);
    const dialling = () => {
      plane.policy = allowing('db');
      return slots.tryTake();
    };
    const connections: Slots = Object.create(slots, { tryTake: { value: dialling } });
    const plane = await capturedPort(behind, { parts: { connections } });
    expect(await ending(await client(plane))).toBe('reset');
    await gone.promise;
    expect(await plane.line({ direction: 'inbound' })).toMatchObject({ outcome: 'denied', reason: 'default_deny' });
    expect(slots.inUse).toBe(0);
  });

  it('C28: is cut as `revoked` when its peer is revoked, and refused as that from then on', async () => {
    const one = await carried();
    const reason = await cutFor(one, () => {
      one.plane.revocations = createRevocations({ certificates: [], identities: [idOf('web')] });
      one.plane.revocationsChanged();
    });
    expect(reason).toBe('revoked');
    expect(await ending(await client(one.plane))).toBe('reset');
    expect((await one.plane.line({ outcome: 'handshake' })).reason).toBe('revoked');
  });

  it('B7: is cut as `bundle_change` when the root of its peer is gone', async () => {
    const one = await carried();
    const rotated = createTestIdentity(createTestAuthority('cluster.local'), {
      namespace: 'shop',
      serviceAccount: 'api',
      generation: 2,
    });
    const reason = await cutFor(one, () => {
      one.plane.identity = rotated;
      one.plane.identityChanged(rotated);
    });
    expect(reason).toBe('bundle_change');
  });

  it('R23: outlives the certificate of its peer by the grace, is told of before, and is then cut', async () => {
    const clock = createFakeClock(Date.now());
    const one = await carried({ clock });
    const [live] = [...one.plane.accounts.live()];
    const notAfterMs = live?.proof?.peer.notAfterMs ?? 0;
    expect(live?.proof?.endsAtMs).toBe(notAfterMs + 600_000);
    await clock.advance(notAfterMs - clock.now() + 1_000);
    expect(await one.plane.line({ msg: 'The certificate of a peer has ended and was not proved anew' })).toMatchObject({
      peerId: idOf('web'),
      connections: 1,
    });
    one.secure.write('still');
    expect(String((await once(one.served, 'data'))[0])).toBe('still');
    expect(await cutFor(one, () => clock.advance(601_000))).toBe('peer_certificate_expired');
  });

  it('R17: shows the identity with which its handshake began, whatever happens meanwhile', async () => {
    const plane = await capturedPort(await echo());
    const before = plane.identity;
    const socket = await dialCaptured(plane);
    const secure = startClient(socket);
    const secured = once(secure, 'secureConnect');
    await plane.observation(({ event }) => event === 'handshakeSucceeded').then(() => undefined);
    plane.identity = identityOf('api');
    plane.identityChanged(plane.identity);
    await secured;
    expect(secure.getPeerX509Certificate()?.fingerprint256).toBe(before.leaf.fingerprint256);
    const next = await client(plane);
    expect(next.getPeerX509Certificate()?.fingerprint256).toBe(plane.identity.leaf.fingerprint256);
    secure.end('both go on');
    expect((await readAll(secure)).toString()).toBe('both go on');
  });

  it('K2: is waited for by a stop until it has ended', async () => {
    const { plane, secure, served } = await carried();
    const stopped = plane.drain.finish(60_000);
    plane.retireInbound();
    served.end('the last');
    secure.end();
    expect((await readAll(secure)).toString()).toBe('the last');
    served.resume();
    expect(await stopped).toBe(0);
    expect((await plane.line({ direction: 'inbound' })).reason).toBe('eof');
  });

  it('K3: is reset at the deadline of a stop, and counted once', async () => {
    const one = await carried();
    expect(await cutFor(one, async () => expect(await one.plane.drain.finish(0)).toBe(1))).toBe('drain_deadline');
  });

  it('X6: leaves nothing behind, however it ends and whenever', async () => {
    const peers = createPeerBook(systemClock);
    const plane = await capturedPort(await echo(), { parts: { peers } });
    const ends: readonly ((socket: Socket) => Promise<unknown>)[] = [
      async (socket) => socket.resetAndDestroy(),
      async (socket) => startClient(socket) && socket.resetAndDestroy(),
      async (socket) => ending(startClient(socket, { key: undefined, cert: undefined })),
      async (socket) => {
        const secure = startClient(socket);
        await once(secure, 'secureConnect');
        resetSocket(secure);
      },
      async (socket) => {
        const secure = startClient(socket);
        secure.end('x');
        await readAll(secure);
      },
    ];
    const churn = async (connections: number) => {
      for (let i = 0; i < connections; i += 20) {
        const batch = Array.from({ length: 20 }, async (_, k) => ends[k % ends.length]?.(await dialCaptured(plane)));
        await Promise.all(batch);
      }
      while (plane.drain.size > 0 || plane.parts.connections.inUse > 0) await new Promise(setImmediate);
      await untilStill(descriptors);
      return descriptors();
    };
    const before = await churn(60);
    expect(await churn(600)).toBeLessThanOrEqual(before);
    expect([...plane.accounts.live()]).toEqual([]);
    expect([...peers.byRoot().values()]).toMatchObject([{ open: 0 }]);
    const opened = plane.observed.filter(({ event }) => event === 'connectionOpened').length;
    expect(plane.observed.filter(({ event }) => event === 'connectionClosed')).toHaveLength(opened);
  });
});

const descriptors = () => readdirSync('/proc/self/fd').length;

/** Resolves when a number has not changed over some turns of the event loop. */
async function untilStill(number: () => number): Promise<void> {
  for (let still = 0, last = -1; still < 2000; still += 1) {
    await new Promise(setImmediate);
    if (number() !== last) still = 0;
    last = number();
  }
}

describe('two sidecars that speak directly', () => {
  it('carry a connection of one application to the other, and both logs say the same', async () => {
    const far = await capturedPort(await echo());
    const port = far.addresses.inbound[0]?.port ?? 0;
    const near = await caller(registryOf({ address: formatAddress({ ip: '127.0.0.1', port }) }));
    const socket = await dialService(near);
    const bytes = randomBytes(8 * 1024 * 1024);
    socket.end(bytes);
    expect((await readAll(socket)).equals(bytes)).toBe(true);
    const facts = { transport: 'direct', security: 'mutual_tls', bytesSent: bytes.length, reason: 'eof' };
    expect(await near.line({ direction: 'outbound' })).toMatchObject({ ...facts, peerId: idOf('api') });
    expect(await far.line({ direction: 'inbound' })).toMatchObject({ ...facts, peerId: idOf('web') });
  });
});
