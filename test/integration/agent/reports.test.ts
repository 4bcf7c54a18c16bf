import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ControlClient } from '../../../src/agent/control-client.ts';
import { createControlClient } from '../../../src/agent/control-client.ts';
import { systemClock } from '../../../src/clock.ts';
import { makeAuthority } from '../../support/certificates.ts';
import type { FakeControlPlane } from '../../support/fake-control-plane.ts';
import { startFakeControlPlane } from '../../support/fake-control-plane.ts';

const report = { version: '1', issuedBy: 'a'.repeat(64), peersByRoot: [{ root: 'b'.repeat(64), peers: 2 }] };
const fingerprintOf = (pem: string) => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();

let directory: string;
let caFile: string;
let plane: FakeControlPlane;
let client: ControlClient;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remora-reports-'));
  caFile = join(directory, 'ca.pem');
  const tokenFile = join(directory, 'token');
  plane = await startFakeControlPlane({ answer: ({ response }) => void response.writeHead(202).end() });
  await writeFile(tokenFile, 'secret');
  await writeFile(caFile, plane.caPem);
  const settings = { caFile, tokenFile, serverName: undefined, connectTimeoutMs: 10_000, timeoutMs: 10_000 };
  client = createControlClient(systemClock, { url: plane.url, ...settings });
});
afterEach(async () => {
  await client.close();
  await plane.close();
  await rm(directory, { recursive: true });
});

describe('the client', () => {
  it('sends a report with its token, and is content with 202 and nothing', async () => {
    await client.report(report);
    const [request] = plane.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/v1/reports', authorization: 'Bearer secret' });
    expect(JSON.parse(request?.body ?? '')).toEqual(report);
  });

  it('says why a report was not taken', async () => {
    plane.answer = ({ response }) => void response.writeHead(413).end();
    await expect(client.report(report)).rejects.toMatchObject({ name: 'RenewalError', reason: 'bad_json' });
    plane.answer = ({ response }) => void response.writeHead(503, { 'retry-after': '7' }).end();
    await expect(client.report(report)).rejects.toMatchObject({ reason: 'http_5xx', retryAfterMs: 7000 });
  });

  it('knows what the CA file holds now, each root once, and calls by it', async () => {
    const second = makeAuthority({ subject: 'second root' });
    expect(await client.roots()).toEqual([fingerprintOf(plane.caPem)]);
    await writeFile(caFile, `words\n${plane.caPem}${second.pem}${plane.caPem}`);
    expect(await client.roots()).toEqual([plane.caPem, second.pem].map(fingerprintOf));
    await client.report(report);
    await writeFile(caFile, second.pem);
    expect(await client.roots()).toEqual([fingerprintOf(second.pem)]);
    await expect(client.report(report)).rejects.toMatchObject({ reason: 'server_untrusted' });
    await writeFile(caFile, '');
    await expect(client.roots()).rejects.toThrow(`The CA file ${caFile} holds no certificate, expected PEM`);
  });
});
