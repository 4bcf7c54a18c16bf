import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http2';
import { connect as connectHttp2 } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { createRevocations } from '../../../src/identity/revocations.ts';
import { closedReasons, deniedReasons, handshakeReasons } from '../../../src/outcomes.ts';
import type { CertificateSpec } from '../../support/certificates.ts';
import type { DataPlaneOptions, RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import type { TestAuthority } from '../../support/identities.ts';
import { bundlesOf, createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { readAll } from '../../support/sockets.ts';

/*
 * Goal: the logs of both sidecars tell one story of a connection, found in either by what the other says, and nothing that
 * a stranger sends can pass for a line, a field or a word of ours. Method: two data planes in this process; strangers are
 * node:tls and node:http2.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const stranger = createTestAuthority('cluster.local', { root: { subject: 'root of a stranger' } });
const idOf = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

interface Scene {
  readonly web: RunningDataPlane;
  readonly api: RunningDataPlane;
  readonly hbone: string;
  /** One connection of the application behind `web`, until it has ended. */
  converse(): Promise<string>;
}

async function application(): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => undefined).end('hello'));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function scene(
  options: { peer?: string; web?: Partial<DataPlaneOptions>; api?: Partial<DataPlaneOptions>; port?: number } = {},
): Promise<Scene> {
  const target = { ip: '127.0.0.1', port: options.port ?? (await application()) };
  const identity = (serviceAccount: string) => createTestIdentity(authority, { namespace: 'shop', serviceAccount });
  const api = await runDataPlane({ identity: identity('api'), deliveries: [target], ...options.api });
  const hbonePort = api.addresses.hbone[0]?.port ?? 0;
  const declared = [{ target, peer: options.peer ?? idOf('api') }];
  const web = await runDataPlane({ identity: identity('web'), declared, hbonePort, ...options.web });
  cleanups.push(
    () => api.stop(),
    () => web.stop(),
  );
  return {
    web,
    api,
    hbone: `127.0.0.1:${hbonePort}`,
    async converse() {
      const socket = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0 });
      return String(await readAll(socket.end()).catch(() => ''));
    },
  };
}

function destroyer(socket: Socket): () => void {
  socket.on('error', () => undefined);
  return () => socket.destroy();
}

/** Matches what is the same on both sides, whoever looks. */
const tunnelOf = (line: Record<string, unknown>) => ({ tunnelFrom: line.tunnelFrom, tunnelTo: line.tunnelTo });
const anAddress = expect.stringMatching(/^127\.0\.0\.1:\d+$/);

describe('a connection that was carried', () => {
  it('has the same id, tunnel, ends and TLS in the log of both sides', async () => {
    const { web, api, hbone, converse } = await scene();
    expect(await converse()).toBe('hello');
    const ours = await web.line({ reason: 'eof' });
    const theirs = await api.line({ reason: 'eof' });
    const shared = {
      id: ours.id,
      tunnel: expect.stringMatching(/^[0-9a-f]{12}$/),
      tunnelFrom: anAddress,
      tunnelTo: hbone,
      transport: 'hbone',
      security: 'mutual_tls',
      tlsVersion: 'TLSv1.3',
      cipher: expect.stringMatching(/^TLS_/),
      outcome: 'closed',
    };
    expect(ours).toMatchObject({ ...shared, direction: 'outbound', peerAddress: anAddress, bytesReceived: 5 });
    // Node.js tells the client alone.
    expect(ours.group).toBe('X25519MLKEM768');
    expect(theirs).not.toHaveProperty('group');
    expect(theirs).toMatchObject({ ...shared, direction: 'inbound', peerAddress: ours.tunnelFrom, bytesReceived: 5 });
    expect({ tunnel: theirs.tunnel, ...tunnelOf(theirs) }).toEqual({ tunnel: ours.tunnel, ...tunnelOf(ours) });
    expect([ours.peerId, ours.localId]).toEqual([theirs.localId, theirs.peerId]);
    for (const line of [ours, theirs])
      for (const absent of ['remedy', 'detail', 'happened']) expect(line).not.toHaveProperty(absent);
  });
});

describe('a peer that is not who it should be', () => {
  it('is named with what was expected and what it showed, and its own log has the same ends', async () => {
    const { web, api, hbone, converse } = await scene({ peer: idOf('db') });
    await converse();
    const ours = await web.line({ reason: 'peer_identity' });
    expect(ours).toMatchObject({
      msg: handshakeReasons.peer_identity.happened,
      remedy: handshakeReasons.peer_identity.remedy,
      expectedId: idOf('db'),
      presentedId: idOf('api'),
      presentedIssuer: expect.stringContaining('intermediate'),
      presentedSerial: expect.stringMatching(/^[0-9A-F]+$/),
      presentedNotAfter: expect.stringMatching(/Z$/),
      localId: idOf('web'),
      tunnelTo: hbone,
      originalDestination: anAddress,
      endpoint: anAddress,
    });
    const theirs = await api.line({ reason: 'reset' });
    expect(tunnelOf(theirs)).toEqual(tunnelOf(ours));
    expect(theirs.peerAddress).toBe(ours.tunnelFrom);
  });

  it('is told of in the line of each connection to it, with what that one was for, also when they waited together', async () => {
    const targets = [await application(), await application(), await application()];
    const declared = targets.map((port) => ({ target: { ip: '127.0.0.1', port }, peer: idOf('db') }));
    const { web } = await scene({ web: { declared } });
    for (const { port } of web.addresses.declared) cleanups.push(destroyer(connect({ host: '127.0.0.1', port })));
    for (const port of targets) {
      const line = await web.line({ originalDestination: `127.0.0.1:${port}` });
      expect(line).toMatchObject({ reason: 'peer_identity', endpoint: line.originalDestination });
    }
  });

  it('is shown with its issuer when nobody here knows that, while it sees a reset with the same ends', async () => {
    const identity = createTestIdentity(stranger, {
      namespace: 'shop',
      serviceAccount: 'web',
      bundles: bundlesOf(stranger),
    });
    // It trusts us, and we do not trust it.
    const deceived = { ...identity, bundles: bundlesOf(authority) };
    const { web, api, converse } = await scene({ web: { identity: deceived } });
    await converse();
    const theirs = await api.line({ reason: 'untrusted' });
    expect(theirs).toMatchObject({
      direction: 'inbound',
      presentedId: idOf('web'),
      presentedIssuer: expect.stringContaining('root of a stranger'),
      localId: idOf('api'),
    });
    expect(theirs).not.toHaveProperty('peerId');
    const ours = await web.line({ reason: 'reset' });
    expect(ours).toMatchObject({ expectedId: idOf('api'), localId: idOf('web') });
    expect(tunnelOf(ours)).toEqual(tunnelOf(theirs));
  });
});

describe('what the sidecar of the other side refuses', () => {
  it('is its reason and its words in our log, under the same id', async () => {
    const { web, api, converse } = await scene({ api: { allowedPeers: [idOf('other')] } });
    await converse();
    const theirs = await api.line({ reason: 'default_deny' });
    const ours = await web.line({ reason: 'peer_refused' });
    expect(ours).toMatchObject({
      id: theirs.id,
      outcome: 'denied',
      msg: deniedReasons.peer_refused.happened,
      otherReason: 'default_deny',
      otherHappened: theirs.msg,
      otherRemedy: theirs.remedy,
      peerId: idOf('api'),
      tunnel: theirs.tunnel,
      ...tunnelOf(theirs),
    });
  });

  it('may be our revocation, which is never taken for one of the peer', async () => {
    const { web, api, converse } = await scene();
    await converse();
    api.revocations = createRevocations({ certificates: [], identities: [idOf('web')] });
    await converse();
    const theirs = await api.line({ reason: 'revoked' });
    expect(theirs).toMatchObject({ outcome: 'handshake', presentedId: idOf('web'), peerId: idOf('web') });
    expect(await web.line({ reason: 'peer_refused' })).toMatchObject({
      id: theirs.id,
      otherReason: 'revoked',
      otherHappened: handshakeReasons.revoked.happened,
      tunnel: theirs.tunnel,
    });
    expect(web.lines.filter(({ reason }) => reason === 'revoked')).toEqual([]);
  });

  it('is said to be its application when that cannot be reached, by the same reason on both sides', async () => {
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    const { web, api, converse } = await scene({ port });
    await converse();
    const theirs = await api.line({ reason: 'upstream_refused' });
    const ours = await web.line({ reason: 'upstream_refused' });
    expect(theirs.msg).toBe(closedReasons.upstream_refused.happened);
    expect(ours).toMatchObject({ id: theirs.id, otherReason: 'upstream_refused', otherHappened: theirs.msg });
    expect(ours.msg).toContain('the other side');
  });
});

/** Ends of lines, terminals, directions, quotes: raw in JSON or in a terminal each of them would be more than text. */
const steering = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const hostile = ['\n{"level":"error"}', '\u001b[2J', '\u009b31m', '\u202e', '\u2028', '" reason="none', '\0'].join('');

/** A handshake and one request, as a stranger makes them. */
async function meet(
  hbone: string,
  spec: CertificateSpec,
  by: TestAuthority,
  headers?: object,
): Promise<IncomingHttpHeaders> {
  const issued = by.issue({ id: idOf('web'), ...spec });
  const socket = tls.connect({
    host: '127.0.0.1',
    port: Number(hbone.split(':')[1]),
    key: issued.key.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: issued.chainPem,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
  });
  socket.on('error', () => undefined);
  cleanups.push(() => socket.destroy());
  if (headers === undefined) {
    await new Promise<void>((resolve) => socket.once('close', () => resolve()));
    return {};
  }
  await once(socket, 'secureConnect');
  const session = connectHttp2('https://hbone.invalid', { createConnection: () => socket });
  session.on('error', () => undefined);
  const stream = session.request({ ':method': 'CONNECT', ':authority': '10.0.0.7:80', ...headers });
  stream.on('error', () => undefined);
  const [answer] = await once(stream, 'response');
  return answer;
}

function expectPlain(line: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(line)) {
    expect(name).toMatch(/^[a-zA-Z]+$/);
    if (typeof value === 'string') expect(value).not.toMatch(steering);
    if (typeof value === 'string') expect(value.length).toBeLessThan(1100);
  }
}

describe('nothing that a stranger sends', () => {
  const uri = (text: string | Uint8Array): CertificateSpec => ({ sans: [{ uri: text }] });
  it.each<[string, CertificateSpec, string]>([
    ['an ID that would end the line', uri(`${idOf('web')}${hostile}`), 'svid_id_syntax'],
    [
      'an ID in invalid UTF-8',
      uri(Buffer.concat([Buffer.from(idOf('web')), Buffer.of(0xc3, 0x28, 0x9b)])),
      'svid_id_syntax',
    ],
    ['an ID that is too long', uri(`${idOf('web')}/${'a'.repeat(4000)}`), 'svid_id_too_long'],
    ['two IDs', { sans: [{ uri: idOf('web') }, { uri: `x:${hostile}` }] }, 'svid_multiple_uris'],
    ['no ID', { sans: [{ dns: 'web' }] }, 'svid_no_uri'],
  ])('in its certificate is more than text in our line: %s', async (_, spec, reason) => {
    const { api, hbone } = await scene();
    await meet(hbone, spec, authority);
    const line = await api.line({ reason });
    expectPlain(line);
    expect(line).toMatchObject({ outcome: 'handshake', presentedSerial: expect.stringMatching(/^[0-9A-F]+$/) });
    // What only looks like a letter of an ID does not pass for it.
    expect(line.presentedId ?? '').toMatch(/^[\x20-\x7e\uFFFD]*…?$/);
    expect(api.lines).toHaveLength(1);
  });

  it('as the name of its issuer is more than text in our line', async () => {
    const { api, hbone } = await scene();
    const named = createTestAuthority('cluster.local', { root: { subject: `CN=root of cluster.local${hostile}` } });
    await meet(hbone, {}, named);
    const line = await api.line({ reason: 'untrusted' });
    expectPlain(line);
    expect(line.presentedIssuer).toContain('root of cluster.local');
  });

  it.each([
    ['a name', { ':authority': '%1b[31m:80' }],
    ['a long name', { ':authority': `${'a'.repeat(3000)}:80` }],
    ['an id that is none of ours', { 'remora-connection-id': 'A"B\u009b' }],
    ['an id that is too long', { 'remora-connection-id': 'a'.repeat(41) }],
    ['a reason', { 'remora-reason': 'revoked' }],
  ])('in a request is more than text in our line: %s', async (_, headers) => {
    const { api, hbone } = await scene();
    const answer = await meet(hbone, {}, authority, headers);
    expect(answer).toMatchObject({
      ':status': 403,
      'remora-connection-id': expect.stringMatching(/^[a-z0-9-]{1,40}$/),
    });
    expect(Object.keys(deniedReasons)).toContain(answer['remora-reason']);
    const line = await api.line({ outcome: 'denied' });
    expectPlain(line);
    expect(line.id).toBe(answer['remora-connection-id']);
  });
});
