import { X509Certificate } from 'node:crypto';
import { parse } from 'valibot';
import { afterEach, describe, expect, it } from 'vitest';
import type { CertificatesPage } from '../../../src/admin-api.ts';
import { certificatesPage } from '../../../src/admin-api.ts';
import { systemClock } from '../../../src/clock.ts';
import { report as reportSchema } from '../../../src/control-api.ts';
import { startFakeControlPlane } from '../../support/fake-control-plane.ts';
import { createFakeIssuer } from '../../support/fake-issuer.ts';
import { createTestAuthority } from '../../support/identities.ts';
import type { Agent } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent, runProgram, startAgent } from './agent-program.ts';
import { connectedPair } from './connected-pair.ts';
import { authority, idOf, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: whoever asks a running sidecar hears what it proves itself by, which roots it trusts, and who needs them.
 * Method: the real program as a sidecar and as `remora certs`, a real tunnel, a control plane that answers as the test says.
 */

useFolder();
const closing: (() => unknown)[] = [];
afterEach(async () => {
  killPrograms();
  for (const close of closing.splice(0)) await close();
});

const fingerprintOf = (pem: string) => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();
const second = createTestAuthority('cluster.local', { root: { subject: 'the next root' } });
const bothRoots = () => writeText('ca.pem', authority.bundlePem + second.bundlePem);

/** `remora certs` as an operator calls it in the sidecar's container. */
const certs = (agent: Agent, ...args: string[]) =>
  runProgram(['certs', ...args], { env: { REMORA_ADMIN_LISTEN: `127.0.0.1:${agent.ports.admin}` } });

async function pageOf(agent: Agent): Promise<CertificatesPage> {
  const { code, stdout, stderr } = await certs(agent, '--json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return parse(certificatesPage, JSON.parse(stdout));
}

describe('remora certs', () => {
  it('shows at both ends of a tunnel who chains to which root, and which root may not be removed', async () => {
    const { db, web } = await connectedPair(closing, { bundleFile: bothRoots() });
    for (const [agent, own, peer] of [
      [db, 'db', 'web'],
      [web, 'web', 'db'],
    ] as const) {
      const shown = await pageOf(agent);
      expect(shown).toMatchObject({
        spiffeId: idOf(own),
        generation: 1,
        isExpired: false,
        chain: [{ serial: expect.stringMatching(/^[0-9A-F]+$/) }, {}],
        issuedBy: fingerprintOf(authority.bundlePem),
        nextRenewal: null,
        lastFailure: null,
        clockSkewSeconds: null,
        removedRoots: [],
      });
      const [used, unused] = shown.trustBundles['cluster.local'] ?? [];
      expect(used).toMatchObject({
        fingerprint: fingerprintOf(authority.bundlePem),
        peers: { open: 1, recent: [{ spiffeId: idOf(peer), lastSeen: shown.now }], unnamed: 0, lastSeen: shown.now },
        mayBeRemoved: false,
        removal: `Our own certificate chains to it, and 1 peer chains to it, or did within the last hour: ${idOf(peer)}`,
      });
      expect(unused).toMatchObject({
        fingerprint: fingerprintOf(second.bundlePem),
        peers: { open: 0, recent: [], unnamed: 0, lastSeen: null },
        mayBeRemoved: false,
        removal: expect.stringMatching(
          /^0 peers chain to it since 20\S+Z, which is less than an hour: ask again at 20\S+Z$/,
        ),
      });
    }
    const { text: metrics } = await page(db.ports.metrics, '/metrics');
    expect(metrics).toContain(`\nremora_peers_by_root{root="${fingerprintOf(authority.bundlePem).slice(0, 16)}"} 1\n`);
    expect(metrics).toContain(`\nremora_peers_by_root{root="${fingerprintOf(second.bundlePem).slice(0, 16)}"} 0\n`);
  });

  it('knows the peer of a tunnel that has ended', async () => {
    const { db, web, socket } = await connectedPair(closing, { bundleFile: bothRoots() });
    socket.end();
    await db.line({ direction: 'inbound', reason: 'eof' });
    expect((await web.stop()).code).toBe(0);
    const [used] = (await pageOf(db)).trustBundles['cluster.local'] ?? [];
    expect(used?.peers).toMatchObject({ recent: [{ spiffeId: idOf('web') }] });
    expect(used?.mayBeRemoved).toBe(false);
  });

  it('A5: shows a person everything but the key', async () => {
    const files = writeIdentity('db');
    const agent = await readyAgent({ ...files, deliver: '127.0.0.1:5432', allowPeers: idOf('web') });
    const { code, stdout, stderr } = await certs(agent);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')[0]).toBe(idOf('db'));
    expect(stdout).toContain('Something else renews it; the files are watched');
    expect(stdout).toContain(`ends in the root ${fingerprintOf(authority.bundlePem)}`);
    for (const text of [stdout, (await certs(agent, '--json')).stdout]) expect(text).not.toContain('PRIVATE');
  });

  it('ends with 69 and one sentence when no agent answers', async () => {
    const [port] = await freePorts(1);
    expect(await runProgram(['certs', '--admin', `127.0.0.1:${port}`])).toEqual({
      code: 69,
      stdout: '',
      stderr: `remora: No agent answers at 127.0.0.1:${port}: nothing listens there\n`,
    });
  });
});

describe('a sidecar of a control plane', () => {
  it('tells it by which roots it lives, and shows its renewals and how far the clocks are apart', async () => {
    const issuer = createFakeIssuer(authority, systemClock);
    issuer.bundles = { 'cluster.local': authority.bundlePem + second.bundlePem };
    const aheadMs = 120_000;
    const plane = await startFakeControlPlane({
      async answer({ path, body, response }) {
        if (path === '/v1/reports') return void response.writeHead(202).end();
        if (path !== '/v1/certificates') return void response.writeHead(503).end();
        const reply = await issuer.certificate(JSON.parse(body));
        const serverTime = new Date(Date.now() + aheadMs).toISOString();
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...reply, serverTime }));
      },
    });
    closing.push(() => plane.close());
    const [listen] = await freePorts(1);
    const agent = await startAgent({
      controlPlane: plane.url,
      controlPlaneCaFile: writeText('plane.pem', plane.caPem),
      tokenFile: writeText('token', 'a.token'),
      listen: `127.0.0.1:${listen}`,
      target: '127.0.0.1:5432',
      peer: idOf('db'),
    });
    await agent.line({ msg: 'Identity renewed' });
    const shown = await pageOf(agent);
    expect(shown).toMatchObject({ spiffeId: idOf('web'), lastFailure: null });
    expect(shown.clockSkewSeconds).toBeGreaterThan(aheadMs / 1000 - 60);
    expect(shown.clockSkewSeconds).toBeLessThanOrEqual(aheadMs / 1000);
    const halfMs = (Date.parse(shown.notAfter) - Date.parse(shown.now)) / 2;
    expect(Date.parse(shown.nextRenewal ?? '') - Date.parse(shown.now)).toBeLessThan(halfMs * 1.2);
    expect((await page(agent.ports.metrics, '/metrics')).text).toMatch(/\nremora_clock_skew_seconds (?:1[01]\d|120)\b/);

    let index = 0;
    while ((await plane.request(index)).path !== '/v1/reports') index++;
    const { authorization, body } = await plane.request(index);
    expect(authorization).toBe('Bearer a.token');
    expect(parse(reportSchema, JSON.parse(body))).toEqual({
      version: expect.any(String),
      issuedBy: fingerprintOf(authority.bundlePem),
      trustedRoots: [authority.bundlePem, second.bundlePem].map(fingerprintOf),
      controlPlaneRoots: [fingerprintOf(plane.caPem)],
      peersByRoot: [],
      state: expect.objectContaining({ notAfter: shown.notAfter }),
      callers: { since: expect.any(String), minimumMode: 'DISABLE', callers: [], further: [] },
    });
    expect((await agent.stop()).code).toBe(0);
  });
});
