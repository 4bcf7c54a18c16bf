import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { syncBuiltinESMExports } from 'node:module';
import type { AddressInfo } from 'node:net';
import { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import mutableTls, * as tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { HandshakeError } from '../../../src/errors.ts';
import { noRevocations } from '../../../src/identity/revocations.ts';
import { refusalOf, verifyPeer } from '../../../src/identity/verify-peer.ts';
import { originateMutualTls } from '../../../src/proxy/transport/tls.ts';
import { makeAuthority, makeCertificate, otherName } from '../../support/certificates.ts';
import { bundlesOf, createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import type { Credentials } from './handshake.ts';
import { local, meet, mesh, openPair, peerId, present, startStranger, verdict } from './handshake.ts';

/*
 * What Node.js does, against what one would expect of it, and what we do instead. A test here that fails with a new
 * version means that the ground has moved: look again at the code that rests on it.
 */

const pemOf = ({ key, chainPem }: Credentials) => ({
  key: key.export({ type: 'pkcs8', format: 'pem' }),
  cert: chainPem,
});
const good = () => mesh.issue({ id: peerId.uri });
const stranger = createTestAuthority('cluster.local');
const judging = { nowMs: Date.now, revocations: () => noRevocations };
const expectation = { bundles: local.bundles, revocations: noRevocations, expectedId: undefined, nowMs: Date.now() };

/** A connection of a plain `tls.Server` and a plain client. */
interface Met {
  readonly accepted: tls.TLSSocket;
  readonly client: tls.TLSSocket;
  readonly session: Buffer;
  close(): void;
}

/** Brings both together with these options and waits until the client got a byte, and a session if it showed none. */
async function bring(server: tls.Server, options: tls.ConnectionOptions): Promise<Met> {
  const pair = await openPair();
  const accepting = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>;
  server.emit('connection', pair.ours);
  const client = tls.connect({
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ...options,
    socket: pair.theirs,
  });
  client.on('error', () => undefined);
  const given = once(client, 'session') as Promise<[Buffer]>;
  const [accepted] = await accepting;
  accepted.on('error', () => undefined);
  accepted.write('x');
  await once(client, 'data');
  const session = options.session ?? (await given)[0];
  return { accepted, client, session, close: pair.close };
}

function reasonOf(judge: () => unknown): string {
  try {
    judge();
  } catch (error) {
    if (error instanceof HandshakeError) return error.reason;
    throw error;
  }
  return 'accepted';
}

describe('Trap 1: a bare TLSSocket in server mode', () => {
  it('Trap 1: delivers the data of a client that it was told to refuse', async () => {
    const pair = await openPair();
    const bare = new tls.TLSSocket(pair.ours, {
      isServer: true,
      requestCert: true,
      rejectUnauthorized: true,
      ca: [mesh.bundlePem],
      ...pemOf(local),
    });
    bare.on('error', () => undefined);
    const client = startStranger('client', pair, stranger.issue({ id: peerId.uri }), {
      ALPNProtocols: [],
    }) as tls.TLSSocket;
    client.write('from nobody');
    const [bytes] = await once(bare, 'data');
    expect(String(bytes)).toBe('from nobody');
    pair.close();
  });

  it('Trap 1: our server hands out no socket of such a client', async () => {
    expect(verdict(await present('client', stranger.issue({ id: peerId.uri })))).toBe('untrusted');
  });

  it('Trap 1: each of many handshakes at once gets its own socket and its own peer', async () => {
    const names = Array.from({ length: 24 }, (_, index) => `ns/shop/sa/peer-${index}`);
    const outcomes = await Promise.all(
      names.map(async (id, index) => {
        const pair = await openPair();
        startStranger('client', pair, (index % 3 === 0 ? stranger : mesh).issue({ id }));
        const outcome = await meet('client', pair);
        const isOwn =
          outcome.kind === 'refused'
            ? pair.ours.destroyed
            : outcome.connection.socket.remotePort === pair.theirs.localPort;
        pair.close();
        return { isOwn, who: outcome.kind === 'verified' ? outcome.peer.spiffeId.path : outcome.reason };
      }),
    );
    expect(outcomes).toEqual(
      names.map((id, index) => ({ isOwn: true, who: index % 3 === 0 ? 'untrusted' : `/${id}` })),
    );
  });
});

describe('Trap 2: a session that is resumed', () => {
  const asking = { requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3' } as const;

  it('Trap 2: outlives the bundle that it was made under when ticketKeys are set; we refuse it as resumed', async () => {
    const ticketKeys = Buffer.alloc(48, 7);
    const before = tls.createServer({ ...asking, ...pemOf(local), ca: stranger.bundlePem, ticketKeys });
    const after = tls.createServer({ ...asking, ...pemOf(local), ca: mesh.bundlePem, ticketKeys });
    const credentials = pemOf(stranger.issue({ id: peerId.uri }));
    const first = await bring(before, credentials);
    expect(first.accepted.authorized).toBe(true);
    const second = await bring(after, { ...credentials, session: first.session });
    expect(second.accepted.isSessionReused()).toBe(true);
    expect(reasonOf(() => verifyPeer(second.accepted, { ...expectation, peerRole: 'client' }))).toBe('resumed');
    first.close();
    second.close();
  });

  it('Trap 2: with defaults stands for the certificate of its first handshake, also when none is shown; we refuse it as resumed', async () => {
    const server = tls.createServer({ ...asking, ...pemOf(local), ca: mesh.bundlePem });
    const first = await bring(server, pemOf(good()));
    expect(reasonOf(() => verifyPeer(first.accepted, { ...expectation, peerRole: 'client' }))).toBe('accepted');
    const second = await bring(server, { session: first.session });
    expect(second.accepted.isSessionReused()).toBe(true);
    expect(second.accepted.getPeerCertificate().raw).toBeDefined();
    expect(reasonOf(() => verifyPeer(second.accepted, { ...expectation, peerRole: 'client' }))).toBe('resumed');
    first.close();
    second.close();
  });

  it('Trap 2: of a client without a certificate does not count as authorized; we refuse it as resumed', async () => {
    const server = tls.createServer({ ...asking, ...pemOf(local), ca: mesh.bundlePem });
    const first = await bring(server, {});
    expect(reasonOf(() => verifyPeer(first.accepted, { ...expectation, peerRole: 'client' }))).toBe('no_client_cert');
    const second = await bring(server, { session: first.session });
    expect(second.accepted.isSessionReused()).toBe(true);
    expect(second.accepted.authorized).toBe(false);
    expect(reasonOf(() => verifyPeer(second.accepted, { ...expectation, peerRole: 'client' }))).toBe('resumed');
    first.close();
    second.close();
  });
});

describe('Trap 3: a client that resumes', () => {
  it('Trap 3: asks no checkServerIdentity and ignores a changed bundle; we refuse it as resumed', async () => {
    const server = tls.createServer({ ...pemOf(good()) });
    const first = await bring(server, { ca: mesh.bundlePem });
    expect(first.client.authorized).toBe(true);
    let asked = 0;
    const checkServerIdentity = () => {
      asked += 1;
      return new Error('not this one');
    };
    const second = await bring(server, { ca: stranger.bundlePem, session: first.session, checkServerIdentity });
    expect([second.client.isSessionReused(), second.client.authorized, asked]).toEqual([true, true, 0]);
    expect(reasonOf(() => verifyPeer(second.client, { ...expectation, peerRole: 'server' }))).toBe('resumed');
    first.close();
    second.close();
  });

  it('Trap 3: we never offer a session, also to a server that gives them out', async () => {
    const credentials = pemOf(good());
    const server = tls.createServer({ ...credentials, ALPNProtocols: ['h2'] });
    for (let visit = 0; visit < 2; visit++) {
      const pair = await openPair();
      const accepting = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>;
      server.emit('connection', pair.theirs);
      const outcome = await meet('server', pair);
      const [accepted] = await accepting;
      accepted.on('error', () => undefined);
      accepted.write('x');
      if (outcome.kind === 'verified') await once(outcome.connection.socket, 'data');
      expect([verdict(outcome), accepted.isSessionReused()]).toEqual(['accepted', false]);
      pair.close();
    }
  });
});

describe('Trap 4: a `ca` that is not there', () => {
  /** Whether a client with this `ca` trusts the mesh while the mesh is what the public web trusts. */
  async function trustsPublicWeb(ca: tls.SecureContextOptions['ca'] | null): Promise<boolean> {
    const usual = tls.getCACertificates('default');
    tls.setDefaultCACertificates([mesh.bundlePem]);
    try {
      const { client, close } = await bring(tls.createServer(pemOf(good())), {
        ca: ca as tls.SecureContextOptions['ca'] & {},
      });
      close();
      return client.authorized;
    } finally {
      tls.setDefaultCACertificates(usual);
    }
  }

  it("Trap 4: undefined, null and '' mean the roots of the public web; no roots at all mean none", async () => {
    for (const ca of [undefined, null, '']) expect(await trustsPublicWeb(ca)).toBe(true);
    for (const ca of [[], 'no certificate', stranger.bundlePem]) expect(await trustsPublicWeb(ca)).toBe(false);
  });

  it('Trap 4: setSecureContext without `ca` means the roots of the public web again', async () => {
    const usual = tls.getCACertificates('default');
    tls.setDefaultCACertificates([mesh.bundlePem]);
    try {
      const server = tls.createServer({
        ...pemOf(good()),
        ca: stranger.bundlePem,
        requestCert: true,
        rejectUnauthorized: false,
      });
      const before = await bring(server, pemOf(good()));
      server.setSecureContext(pemOf(good()));
      const after = await bring(server, pemOf(good()));
      expect([before.accepted.authorized, after.accepted.authorized]).toEqual([false, true]);
      before.close();
      after.close();
    } finally {
      tls.setDefaultCACertificates(usual);
    }
  });

  it('Trap 4: a peer of the public web is a stranger to us', async () => {
    const usual = tls.getCACertificates('default');
    tls.setDefaultCACertificates([stranger.bundlePem]);
    try {
      for (const role of ['client', 'server'] as const) {
        const fresh = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web' });
        expect(verdict(await present(role, stranger.issue({ id: peerId.uri }), { local: fresh }))).toBe('untrusted');
      }
    } finally {
      tls.setDefaultCACertificates(usual);
    }
  });
});

describe('Trap 5: tlsClientError', () => {
  it('Trap 5: says ECONNRESET alone; the reason is on the socket, and the address is gone', async () => {
    const server = tls.createServer({
      ...pemOf(local),
      ca: mesh.bundlePem,
      requestCert: true,
      rejectUnauthorized: true,
    });
    const pair = await openPair();
    const failing = once(server, 'tlsClientError') as Promise<[NodeJS.ErrnoException, tls.TLSSocket]>;
    server.emit('connection', pair.ours);
    startStranger('client', pair, stranger.issue({ id: peerId.uri }), { ALPNProtocols: [] });
    const [error, socket] = await failing;
    expect(error.code).toBe('ECONNRESET');
    expect(refusalOf(error)).toBe('reset');
    expect(refusalOf(socket.authorizationError)).toBe('untrusted');
    expect(socket.remoteAddress).toBeUndefined();
    pair.close();
  });
});

describe('Trap 6: a client that is refused', () => {
  it('Trap 6: sees a connection first and a reset afterwards, and no alert', async () => {
    const pair = await openPair();
    const client = startStranger('client', pair, stranger.issue({ id: peerId.uri })) as tls.TLSSocket;
    const events: string[] = [];
    client.on('secureConnect', () => events.push('secureConnect'));
    client.on('error', (error: NodeJS.ErrnoException) => events.push(error.code ?? error.message));
    const closed = new Promise((resolve) => client.once('close', resolve));
    expect(verdict(await meet('client', pair))).toBe('untrusted');
    await closed;
    expect(events).toEqual(['secureConnect', 'ECONNRESET']);
    pair.close();
  });
});

describe('Trap 7: the strings of a certificate', () => {
  it('Trap 7: an otherName can print as a URI within subjectAltName', () => {
    const { der } = makeCertificate({ sans: [otherName('1.3.6.1.4.1.311.20.2.3', `URI:${peerId.uri}`)] });
    expect(new X509Certificate(der).subjectAltName).toContain(`URI:${peerId.uri}`);
  });

  it('Trap 7: and names nobody', async () => {
    for (const role of ['client', 'server'] as const) {
      const sans = [otherName('1.3.6.1.4.1.311.20.2.3', `URI:${peerId.uri}`)];
      expect(verdict(await present(role, mesh.issue({ id: peerId.uri, sans })))).toBe('svid_no_uri');
    }
  });

  it('Trap 7: keyUsage is the extended key usage', () => {
    const { der } = makeCertificate({ keyUsage: ['keyCertSign'], extendedKeyUsage: ['serverAuth'] });
    expect(new X509Certificate(der).keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
  });

  it('Trap 7: a certificate that is DER and holds another as PEM is read as that other one', () => {
    const inner = makeCertificate({ subject: 'inner' });
    const outer = makeCertificate({ subject: 'outer', sans: [otherName('1.2.3', `\n${inner.pem}`)] });
    expect(new X509Certificate(outer.der).subject).toBe('CN=inner');
  });
});

describe('Trap 8: what closes nothing, and what looks closed', () => {
  it('Trap 8: handshakeTimeout is an event; the connection stays', async () => {
    const server = tls.createServer({ ...pemOf(local), handshakeTimeout: 50 });
    const pair = await openPair();
    server.emit('connection', pair.ours);
    const [error, socket] = (await once(server, 'tlsClientError')) as [Error, tls.TLSSocket];
    expect(refusalOf(error)).toBe('timeout');
    expect([socket.destroyed, pair.theirs.destroyed]).toEqual([false, false]);
    socket.destroy();
    await once(pair.theirs, 'close');
    pair.close();
  });

  it('Trap 8: a FIN without close_notify looks like an end', async () => {
    const pair = await openPair();
    const client = startStranger('client', pair, good()) as tls.TLSSocket;
    const outcome = await meet('client', pair);
    if (outcome.kind !== 'verified') throw new Error(outcome.message);
    const { socket } = outcome.connection;
    const ended = once(socket, 'end');
    socket.resume();
    client.write('half of a message');
    await once(socket, 'data');
    // The raw connection ends behind the back of TLS.
    pair.theirs.end();
    await ended;
    pair.close();
  });

  it('Trap 8: setTimeout beyond 24.8 days fires at once, and our clock does not', async () => {
    const process = globalThis.process;
    const warned = once(process, 'warning') as Promise<[Error]>;
    await new Promise<void>((resolve) => setTimeout(resolve, 2 ** 31));
    expect((await warned)[0].name).toBe('TimeoutOverflowWarning');
    const timer = systemClock.after(2 ** 31, () => expect.unreachable());
    await new Promise<void>((resolve) => setTimeout(resolve, 20));
    timer.cancel();
  });
});

describe('Trap 9: allowPartialTrustChain', () => {
  it('Trap 9: is ignored by createServer and works through createSecureContext and SNICallback', async () => {
    const intermediate = makeAuthority({ issuer: mesh.root });
    const credentials = pemOf({ key: good().key, chainPem: '' });
    const leaf = makeCertificate({ issuer: intermediate, sans: [{ uri: peerId.uri }] });
    const trusting = { ...pemOf(local), ca: intermediate.pem, allowPartialTrustChain: true };
    const asking = { requestCert: true, rejectUnauthorized: false } as const;
    const client = {
      ...credentials,
      key: leaf.key.export({ type: 'pkcs8', format: 'pem' }),
      cert: leaf.pem,
      servername: 'mesh.example',
    };
    const ignoring = await bring(tls.createServer({ ...trusting, ...asking }), client);
    const context = tls.createSecureContext(trusting);
    const heeding = await bring(
      tls.createServer({ ...trusting, ...asking, SNICallback: (_, answer) => answer(null, context) }),
      client,
    );
    expect([ignoring.accepted.authorized, heeding.accepted.authorized]).toEqual([false, true]);
    ignoring.close();
    heeding.close();
  });

  it('Trap 9: so a bundle of intermediates is refused when it is loaded', () => {
    const intermediate = makeAuthority({ issuer: mesh.root });
    expect(() => bundlesOf({ ...mesh, bundlePem: intermediate.pem })).toThrow(
      'it is not self-signed, so it is an intermediate',
    );
  });
});

describe('Trap 10: a write that answers false', () => {
  it('Trap 10: is queued all the same, without a bound', async () => {
    const pair = await openPair();
    const chunk = Buffer.alloc(1024 * 1024);
    const answers = Array.from({ length: 50 }, () => pair.ours.write(chunk));
    expect(answers).toContain(false);
    await setImmediate();
    expect(pair.ours.writableLength).toBeGreaterThan(30 * chunk.length);
    pair.close();
  });
});

describe('Trap 12: HTTP/2', () => {
  it('Trap 12: hands out chunks of 16 KiB at most; writes of one turn that are corked leave as one', async () => {
    const server = createHttp2Server();
    server.on('stream', (stream) => {
      stream.respond();
      stream.end(Buffer.alloc(1024 * 1024));
    });
    await new Promise<void>((resolve) => server.listen(0, resolve));
    const session = connectHttp2(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const request = session.request();
    const sizes: number[] = [];
    request.on('data', ({ length }: Buffer) => sizes.push(length));
    await once(request, 'end');
    expect(Math.max(...sizes)).toBeLessThanOrEqual(16 * 1024);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(1024 * 1024);
    session.close();
    server.close();

    const calls: number[] = [];
    const socket = new Socket();
    socket._writev = (chunks, done) => {
      calls.push(chunks.length);
      done();
    };
    socket._write = (_, __, done) => {
      calls.push(1);
      done();
    };
    socket.cork();
    for (let i = 0; i < 10; i++) socket.write('x');
    await setImmediate();
    socket.uncork();
    expect(calls).toEqual([10]);
    socket.destroy();
  });
});

describe('Trap 13: secure contexts', () => {
  it('Trap 13: one for each identity and role serves every connection', async () => {
    const real = mutableTls.createSecureContext;
    let made = 0;
    mutableTls.createSecureContext = (options) => {
      made += 1;
      return real(options);
    };
    syncBuiltinESMExports();
    try {
      const fresh = createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web', generation: 2 });
      const visit = async (role: 'client' | 'server') => {
        const pair = await openPair();
        const before = made;
        startStranger(role, pair, good());
        made = before;
        expect(verdict(await meet(role, pair, { local: fresh }))).toBe('accepted');
        pair.close();
      };
      for (let i = 0; i < 5; i++) {
        await visit('client');
        await visit('server');
      }
      expect(made).toBe(2);
    } finally {
      mutableTls.createSecureContext = real;
      syncBuiltinESMExports();
    }
  });

  it('Trap 13: a context of a client trusts the expected trust domain alone', async () => {
    const partner = createTestAuthority('partner.example');
    const identity = createTestIdentity(mesh, {
      namespace: 'shop',
      serviceAccount: 'web',
      bundles: bundlesOf(mesh, partner),
    });
    const pair = await openPair();
    startStranger('server', pair, partner.issue({ id: peerId.uri }));
    const never = new AbortController().signal;
    await expect(originateMutualTls(pair.ours, identity, peerId, judging, 'tunnel', never)).rejects.toMatchObject({
      reason: 'untrusted',
    });
    pair.close();
  });
});

describe('the certificates that a peer presented', () => {
  it('are all there on both sides, and stay there however often they are asked for', async () => {
    const deep = createTestAuthority('cluster.local', { intermediates: 2 });
    const server = tls.createServer({
      ...pemOf(deep.issue({ id: 'ns/a/sa/server' })),
      ca: deep.bundlePem,
      requestCert: true,
      rejectUnauthorized: false,
    });
    const { accepted, client, close } = await bring(server, {
      ...pemOf(deep.issue({ id: 'ns/a/sa/client' })),
      ca: deep.bundlePem,
    });
    for (const socket of [accepted, client, accepted, client]) {
      expect(socket.getPeerX509Certificate()?.raw).toEqual(socket.getPeerCertificate().raw);
      const chain: string[] = [];
      for (let next = socket.getPeerCertificate(true); next.raw !== undefined; next = next.issuerCertificate) {
        chain.push(String(next.subject.CN));
        if (next.issuerCertificate === next || next.issuerCertificate === undefined) break;
      }
      expect(chain).toHaveLength(4);
      expect(chain.slice(1)).toEqual([
        'intermediate 1 of cluster.local',
        'intermediate 0 of cluster.local',
        'root of cluster.local',
      ]);
    }
    close();
  });

  it('are none for a client without a certificate', async () => {
    const server = tls.createServer({
      ...pemOf(good()),
      ca: mesh.bundlePem,
      requestCert: true,
      rejectUnauthorized: false,
    });
    const { accepted, close } = await bring(server, {});
    expect(accepted.getPeerX509Certificate()).toBeUndefined();
    expect(accepted.authorized).toBe(false);
    close();
  });
});
