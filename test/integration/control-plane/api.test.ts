import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect as connectTcp, createServer } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CertificateReply } from '../../../src/control-api.ts';
import { certificateReply, maxReportBytes, parseJson, paths, problem } from '../../../src/control-api.ts';
import type { ControlPlane, ControlPlaneSettings } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import { makeIdentity } from '../../../src/identity/identity.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { ApiReply, ApiRequest } from '../../support/control-plane-client.ts';
import { call, webPod } from '../../support/control-plane-client.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { csrPem, forgeCsr } from '../../support/forged-csr.ts';
import { spiffeId } from '../../support/identities.ts';

const anyPort = { ip: '127.0.0.1', port: 0 };
const settings: ControlPlaneSettings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort };
const web = spiffeId('spiffe://cluster.local/ns/shop/sa/web');
const hourMs = 3_600_000;

let clock: FakeClock;
let captured: CapturedLog;
let plane: ControlPlane;
beforeEach(async () => {
  clock = createFakeClock();
  captured = captureLog();
  plane = await startControlPlane({ clock, log: captured.log }, settings);
});
afterEach(() => plane.close());

const key = createKey();
const csr = createCsr(key, web);
const post = async (path: string, body: unknown, options: ApiRequest = {}) =>
  call(plane, path, { token: await plane.mintToken(webPod), body, ...options });
const problemOf = (reply: ApiReply) => {
  expect(reply.headers['content-type']).toBe('application/problem+json');
  const parsed = parseJson(problem, reply.text);
  expect(parsed.status).toBe(reply.status);
  return { status: reply.status, reason: parsed.reason };
};
const metricsText = async () => {
  const { ip, port } = plane.metricsAddress;
  return (await fetch(`http://${ip}:${port}/metrics`)).text();
};

describe('POST /v1/certificates', () => {
  it('issues the identity of the token, which every sidecar verifies', async () => {
    const reply = parseJson(certificateReply, (await post(paths.certificates, { csr, ttlSeconds: 600 })).text);
    const bundles = parseTrustBundles(reply.trustBundles);
    const parts = { generation: 1, key, chainPem: reply.certificateChain, bundles, expected: web, nowMs: clock.now() };
    expect(makeIdentity(parts).spiffeId.uri).toBe(web.uri);
    expect(Date.parse(reply.serverTime)).toBe(clock.now());
    expect(reply.trustBundles).toEqual({ 'cluster.local': plane.rootPem });
  });

  it('P5: gives a request that names another identity that of its token alone', async () => {
    const names = [
      createCsr(key, spiffeId('spiffe://cluster.local/ns/kube-system/sa/admin')),
      createCsr(key, spiffeId('spiffe://other.example/ns/shop/sa/web')),
      csrPem(forgeCsr({ key })),
    ];
    for (const other of names) {
      const { certificateChain } = (await post(paths.certificates, { csr: other, ttlSeconds: 600 }))
        .json as CertificateReply;
      const leaf = new X509Certificate(certificateChain);
      expect(leaf.subjectAltName).toBe(`URI:${web.uri}`);
      expect(leaf.subject).toBeUndefined();
    }
  });

  it('brings the lifetime within its limits, and takes its own when none is wished for', async () => {
    const lifetimes = [];
    for (const ttlSeconds of [1, 600, 10 ** 9, undefined]) {
      const { certificateChain } = (await post(paths.certificates, { csr, ttlSeconds })).json as CertificateReply;
      lifetimes.push(Math.ceil((new X509Certificate(certificateChain).validToDate.getTime() - clock.now()) / 1000));
    }
    expect(lifetimes).toEqual([10, 600, 3600, 3600]);
  });

  it('says in its log what it issued to whom, and never a key, a request or a token', async () => {
    const token = await plane.mintToken(webPod);
    const reply = await call(plane, paths.certificates, { token, body: { csr, ttlSeconds: 600 } });
    const { serialNumber } = new X509Certificate((reply.json as CertificateReply).certificateChain);
    expect(await captured.next('Certificate issued')).toMatchObject({
      level: 'info',
      serial: serialNumber,
      spiffeId: web.uri,
      pod: 'shop/web-0',
      notAfter: expect.stringMatching(/Z$/),
    });
    await call(plane, paths.certificates, { token: `${token}x`, body: { csr } });
    await captured.next('Request refused');
    expect(captured.text()).not.toContain(token.split('.')[2]);
    expect(captured.text()).not.toContain('-----BEGIN');
  });

  it.each<[string, unknown, number, string]>([
    ['no JSON', '{', 400, 'bad_json'],
    ['an empty body', '', 400, 'bad_json'],
    ['text that is not UTF-8', Buffer.from([0x22, 0xff, 0x22]), 400, 'bad_json'],
    ['an array', [], 400, 'bad_request'],
    ['no request', { ttlSeconds: 600 }, 400, 'bad_request'],
    ['a lifetime of text', { csr, ttlSeconds: '600' }, 400, 'bad_request'],
    ['a lifetime of zero', { csr, ttlSeconds: 0 }, 400, 'bad_request'],
    ['a request of another kind', { csr: csr.replaceAll('REQUEST', ''), ttlSeconds: 1 }, 400, 'csr_invalid'],
    [
      'a request for a key that its sender does not hold',
      { csr: csrPem(forgeCsr({ key, signer: createKey() })) },
      400,
      'csr_invalid',
    ],
    ['a request that is too long', { csr: 'a'.repeat(16 * 1024 + 1) }, 400, 'bad_request'],
    ['a body that is too long', { csr, padding: 'a'.repeat(64 * 1024) }, 413, 'too_large'],
  ])('P1: refuses %s', async (_, body, status, reason) => {
    expect(problemOf(await post(paths.certificates, body))).toEqual({ status, reason });
  });

  it('P4: ignores unknown fields, and takes no prototype from a body', async () => {
    const body = `{"csr":${JSON.stringify(csr)},"__proto__":{"ttlSeconds":10},"constructor":{"prototype":{"polluted":1}}}`;
    const reply = await post(paths.certificates, body);
    expect(reply.status).toBe(200);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    const { certificateChain } = reply.json as CertificateReply;
    expect(new X509Certificate(certificateChain).validToDate.getTime()).toBeGreaterThan(clock.now() + hourMs / 2);
  });

  it('counts every request by its result', async () => {
    await post(paths.certificates, { csr });
    await post(paths.certificates, { csr: 'x' });
    await call(plane, paths.certificates, { body: { csr } });
    const text = await metricsText();
    expect(text).toContain('remora_ca_certificates_issued_total{result="issued"} 1');
    expect(text).toContain('remora_ca_certificates_issued_total{result="csr_invalid"} 1');
    expect(text).toContain('remora_ca_certificates_issued_total{result="token_missing"} 1');
    expect(text).toContain('remora_ca_certificates_issued_total{result="token_expired"} 0');
    expect(text).toMatch(/remora_ca_root_not_after_timestamp_seconds 2\d{9}/);
  });
});

describe('a caller', () => {
  const proved = [paths.certificates, paths.destinations, paths.workloads, paths.reports, paths.stream];

  it.each(proved)('without a token is refused at %s with 401', async (path) => {
    const reply = await call(plane, path, { body: {} });
    expect(problemOf(reply)).toEqual({ status: 401, reason: 'token_missing' });
    expect(reply.headers['www-authenticate']).toBe('Bearer');
  });

  it.each(proved)('with a token for another audience is refused at %s with 401', async (path) => {
    const token = await plane.mintToken({ ...webPod, audience: 'kubernetes' });
    const reply = await call(plane, path, { token, body: {} });
    expect(problemOf(reply)).toEqual({ status: 401, reason: 'token_audience' });
    expect(reply.headers['www-authenticate']).toBe('Bearer error="invalid_token"');
  });

  it('with an expired token is refused with 401', async () => {
    const token = await plane.mintToken(webPod);
    clock.stepWall(2 * hourMs);
    expect(problemOf(await call(plane, paths.destinations, { token, body: {} }))).toMatchObject({
      reason: 'token_expired',
    });
  });

  it('G25: with a token of another control plane, which made root and key for itself, is refused with 401', async () => {
    const other = await startControlPlane({ clock, log: captured.log }, settings);
    expect(other.rootPem).not.toBe(plane.rootPem);
    const token = await other.mintToken(webPod);
    await other.close();
    expect(problemOf(await call(plane, paths.certificates, { token, body: { csr } }))).toEqual({
      status: 401,
      reason: 'token_invalid',
    });
  });

  it('learns before its body is read that it is refused', async () => {
    const reply = await call(plane, paths.certificates, { body: 'x'.repeat(60_000) });
    expect(problemOf(reply)).toMatchObject({ reason: 'token_missing' });
  });

  it('that floods is logged a few times a second, and counted', async () => {
    for (let index = 0; index < 20; index++) await call(plane, paths.destinations, { body: {} });
    await clock.advance(1_000);
    await call(plane, paths.destinations, { body: {} });
    const refusals = captured.lines.filter(({ msg }) => msg === 'Request refused');
    expect(refusals).toHaveLength(6);
    expect(refusals[5]).toMatchObject({ reason: 'token_missing', suppressed: 15 });
  });
});

describe('the API', () => {
  it('answers an unknown path with 404 and another method with 405', async () => {
    expect(problemOf(await call(plane, '/v2/certificates'))).toEqual({ status: 404, reason: 'not_found' });
    expect(problemOf(await call(plane, '/'))).toEqual({ status: 404, reason: 'not_found' });
    const reply = await call(plane, paths.certificates);
    expect(problemOf(reply)).toEqual({ status: 405, reason: 'method_not_allowed' });
    expect(reply.headers.allow).toBe('POST');
    expect((await call(plane, paths.bundle, { method: 'DELETE' })).headers.allow).toBe('GET');
  });

  it('P2: takes nothing that would have to be unpacked, and JSON only', async () => {
    const encoded = await post(paths.destinations, '{}', { headers: { 'content-encoding': 'gzip' } });
    expect(problemOf(encoded)).toEqual({ status: 415, reason: 'unsupported_media_type' });
    const form = await post(paths.destinations, 'a=b', {
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    expect(problemOf(form)).toEqual({ status: 415, reason: 'unsupported_media_type' });
    const json = await post(paths.destinations, '{"addresses":[]}', {
      headers: { 'content-type': 'application/json; charset=utf-8' },
    });
    expect(json.status).toBe(200);
  });

  it('A3: stops reading a body of unknown length at its limit', async () => {
    const reply = await post(paths.destinations, Buffer.alloc(200_000, 0x20), {
      headers: { 'transfer-encoding': 'chunked' },
    });
    expect(problemOf(reply)).toEqual({ status: 413, reason: 'too_large' });
    expect(reply.headers.connection).toBe('close');
  });

  it('P3: refuses headers beyond 16 KiB', async () => {
    expect((await call(plane, paths.health, { headers: { padding: 'a'.repeat(17_000) } })).status).toBe(431);
  });

  it('A11: refuses a request with two lengths', async () => {
    const socket = connectTls({ ...addressOf(plane), ca: plane.rootPem, servername: 'localhost' });
    await once(socket, 'secureConnect');
    socket.write(
      'POST /v1/reports HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    );
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 400 /);
    socket.destroy();
  });

  it('T1: speaks TLS 1.3 only, with a certificate that chains to the root', async () => {
    const old = connectTls({ ...addressOf(plane), ca: plane.rootPem, servername: 'localhost', maxVersion: 'TLSv1.2' });
    await expect(once(old, 'secureConnect')).rejects.toThrow(/protocol version/);
    const socket = connectTls({ ...addressOf(plane), ca: plane.rootPem, servername: 'localhost' });
    await once(socket, 'secureConnect');
    expect(socket.getProtocol()).toBe('TLSv1.3');
    expect(socket.authorized).toBe(true);
    socket.destroy();
  });

  it('counts a client that leaves in the middle of its body, and logs no failure of ours', async () => {
    const socket = connectTls({ ...addressOf(plane), ca: plane.rootPem, servername: 'localhost' });
    await once(socket, 'secureConnect');
    const authorization = `Authorization: Bearer ${await plane.mintToken(webPod)}`;
    socket.write(`POST ${paths.certificates} HTTP/1.1\r\nHost: a\r\n${authorization}\r\nContent-Length: 9\r\n\r\n{`);
    socket.end();
    await once(
      socket.resume().on('error', () => undefined),
      'close',
    );
    while (!(await metricsText()).includes('{result="aborted"} 1')) await new Promise(setImmediate);
    expect(captured.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('survives garbage, silence and resets instead of a handshake', async () => {
    const garbage = connectTcp(addressOf(plane));
    garbage.write('GET / HTTP/1.1\r\n\r\n');
    await once(
      garbage.on('error', () => undefined),
      'close',
    );
    const reset = connectTcp(addressOf(plane));
    await once(reset, 'connect');
    reset.resetAndDestroy();
    expect((await call(plane, paths.health)).json).toEqual({ status: 'ok' });
  });

  it('publishes its root as a SPIFFE bundle and its token keys as a JWK set, to anybody', async () => {
    const { x5c, ...jwk } = ((await call(plane, paths.bundle)).json as { keys: Record<string, unknown>[] }).keys[0]!;
    expect(jwk).toEqual({ kty: 'EC', crv: 'P-256', use: 'x509-svid', x: expect.any(String), y: expect.any(String) });
    const root = new X509Certificate(plane.rootPem);
    expect(x5c).toEqual([root.raw.toString('base64')]);

    const jwks = createRemoteJWKSet(new URL('https://control-plane/v1/jwks'), {
      [customFetch]: async () => Response.json((await call(plane, paths.jwks)).json),
    });
    const { payload } = await jwtVerify(await plane.mintToken(webPod), jwks, {
      audience: 'remora',
      currentDate: new Date(clock.now()),
    });
    expect(payload.sub).toBe('system:serviceaccount:shop:web');
    expect(JSON.stringify(await call(plane, paths.jwks))).not.toContain('"d"');
  });

  it('keeps bounded facts about the sender', async () => {
    expect((await post(paths.reports, { version: '0.1.0', unknown: 1 })).status).toBe(202);
    expect(problemOf(await post(paths.reports, { version: 'x'.repeat(65) }))).toMatchObject({ reason: 'bad_request' });
    expect(problemOf(await post(paths.reports, { padding: 'x'.repeat(maxReportBytes) }))).toMatchObject({
      reason: 'too_large',
    });
  });
});

describe('the serving certificate', () => {
  const servingSerial = async () => {
    const socket = connectTls({ ...addressOf(plane), rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };

  it('W13: renews itself at half of its day without a restart', async () => {
    const first = await servingSerial();
    await clock.advance(11 * hourMs);
    expect(await servingSerial()).toBe(first);
    await clock.advance(hourMs + 60_000);
    expect(await servingSerial()).not.toBe(first);
  });

  it('R16: renews itself after the machine slept past its renewal', async () => {
    const first = await servingSerial();
    clock.stepWall(20 * hourMs);
    await clock.advance(60_000);
    expect(await servingSerial()).not.toBe(first);
  });

  it('is for localhost and the names of the settings', async () => {
    const named = await startControlPlane(
      { clock, log: captured.log },
      { ...settings, servingNames: ['cp.example', '10.1.2.3'] },
    );
    const socket = connectTls({ ...addressOf(named), ca: named.rootPem, servername: 'cp.example' });
    await once(socket, 'secureConnect');
    expect(socket.getPeerCertificate().subjectaltname).toBe(
      'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, DNS:cp.example, IP Address:10.1.2.3',
    );
    socket.destroy();
    await named.close();
  });
});

describe('the metrics port', () => {
  it('answers probes and scrapes, and nothing else', async () => {
    const { ip, port } = plane.metricsAddress;
    const url = `http://${ip}:${port}`;
    expect(await (await fetch(`${url}/healthz`)).text()).toBe('ok\n');
    expect((await fetch(`${url}/metrics`)).headers.get('content-type')).toContain('text/plain; version=0.0.4');
    expect((await fetch(`${url}/v1/certificates`)).status).toBe(404);
    expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405);
  });
});

describe('a start that fails', () => {
  it.each(['listen', 'metricsListen'])(
    'K9: names the address of %s that is in use, and leaves nothing open',
    async (which) => {
      const occupant = createServer();
      await once(occupant.listen(0, '127.0.0.1'), 'listening');
      const { port } = occupant.address() as AddressInfo;
      const taken = { ...settings, [which]: { ip: '127.0.0.1', port } };
      await expect(startControlPlane({ clock, log: captured.log }, taken)).rejects.toMatchObject({
        message: `127.0.0.1:${port} is in use by another process, expected it to be free`,
        exitCode: 1,
      });
      occupant.close();
      await once(occupant, 'close');
      await (await startControlPlane({ clock, log: captured.log }, taken)).close();
    },
  );
});

function addressOf({ apiAddress: { ip, port } }: ControlPlane) {
  return { host: ip, port };
}
