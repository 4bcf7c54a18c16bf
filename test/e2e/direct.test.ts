import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCsr, createKey } from '../../src/identity/csr.ts';
import { workloadSpiffeId } from '../../src/identity/spiffe-id.ts';
import type { Mesh } from '../support/mesh.ts';
import { controlAddresses, startMesh, writeToken } from '../support/mesh.ts';
import { noPodsBecause, runningProgram } from '../support/pods.ts';

/*
 * Goal: a pod whose proxy is not ours takes part in the mesh without HBONE. `web` reaches `proxied`, which is labelled
 * `security.istio.io/tlsMode: istio`, and `proxied` reaches `api`, which is STRICT, by mutual TLS on the ports of the applications.
 * Method: HAProxy with a certificate of the mesh in front of plain TCP programs, real rules, sidecars and control plane.
 */
const ports = [7001, 7002, 7003];
const services = { api: { v4: '10.96.0.10', v6: 'fd96::10' }, proxied: { v4: '10.96.0.14', v6: 'fd96::14' } };
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
  proxied: {
    v4: '10.77.0.14',
    v6: 'fd77::14',
    isMeshed: false,
    labels: { 'security.istio.io/tlsMode': 'istio' },
  },
} as const;
type Name = keyof typeof pods;

/** Takes mutual TLS on the pod's address, and dials `api` with it for whoever comes to ports 8001 and so on on loopback. */
const configuration = (folder: string) => `global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
${ports
  .map(
    (port) => `listen in-${port}
  bind ${pods.proxied.v4}:${port} ssl crt ${folder}/proxied.pem ca-file ${folder}/root.pem verify required alpn istio ssl-min-ver TLSv1.3
  server application 127.0.0.1:${port}
listen out-${port + 1000}
  bind 127.0.0.1:${port + 1000}
  server api ${pods.api.v4}:${port} ssl crt ${folder}/proxied.pem ca-file ${folder}/root.pem verify required alpn istio
`,
  )
  .join('')}`;

describe.skipIf(noPodsBecause !== undefined)(`a proxy that is not ours ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;

  beforeAll(async () => {
    mesh = await startMesh<Name>({
      pods,
      services: [
        { name: 'api', ...services.api, pods: ['api'], ports },
        { name: 'proxied', ...services.proxied, pods: ['proxied'], ports },
      ],
    });
    const { folder } = mesh;
    await writeCertificate(mesh);
    await writeFile(join(folder, 'haproxy.cfg'), configuration(folder));
    for (const [name, address] of [['api', '0.0.0.0'] as const, ['proxied', '127.0.0.1'] as const]) {
      const application = mesh.pods[name].start('test/support/pod-programs/server.ts', [address]);
      await application.line((line) => line === 'ready');
    }
    runningProgram(mesh.pods.proxied.exec(['haproxy', '-db', '-f', join(folder, 'haproxy.cfg')], { uid: 0 }));
    await mesh.pods.proxied.sh('until ss -ltn | grep -q :8003; do sleep 0.05; done');
  }, 120_000);
  afterAll(() => mesh?.close());

  const client = async (from: Name, manner: string, host: string, port: number, number = 1) => {
    const args = [manner, host, String(port), String(number)];
    const program = mesh.pods[from].start('test/support/pod-programs/client.ts', args);
    return JSON.parse(await program.line((line) => line.startsWith('{') && !line.includes('started')));
  };
  const logged = async (name: Name, ...parts: string[]): Promise<Record<string, unknown>> => {
    const line = await mesh.agents[name]?.line((text) => parts.every((part) => text.includes(part)));
    return JSON.parse(line ?? '{}');
  };

  it.each([
    ['the Service', services.proxied.v4],
    ['the pod', pods.proxied.v4],
  ])('is reached by a meshed pod through %s with mutual TLS, as its identity', async (_, host) => {
    expect(await client('web', 'ask', host, 7001)).toEqual({ text: 'hello', ended: 'end' });
    expect(await logged('web', '"outbound"', `"originalDestination":"${host}:7001"`)).toMatchObject({
      reason: 'eof',
      transport: 'direct',
      security: 'mutual_tls',
      endpoint: `${pods.proxied.v4}:7001`,
      localId: 'spiffe://cluster.local/ns/shop/sa/web',
      peerId: 'spiffe://cluster.local/ns/shop/sa/proxied',
    });
  });

  it('reaches a meshed pod that is STRICT with mutual TLS, as its identity', async () => {
    expect(await client('proxied', 'ask', '127.0.0.1', 8001)).toEqual({ text: 'hello', ended: 'end' });
    expect(await logged('api', '"inbound"', `"originalDestination":"${pods.api.v4}:7001"`)).toMatchObject({
      reason: 'eof',
      transport: 'direct',
      security: 'mutual_tls',
      localId: 'spiffe://cluster.local/ns/shop/sa/api',
      peerId: 'spiffe://cluster.local/ns/shop/sa/proxied',
    });
  });

  it('cannot do so without TLS', async () => {
    expect(await client('proxied', 'ask', pods.api.v4, 7001)).toMatchObject({
      ended: expect.not.stringMatching('end'),
    });
    expect((await logged('api', 'plaintext_in_strict')).reason).toBe('plaintext_in_strict');
  });

  it('is counted as mutual TLS', async () => {
    const labels = /remora_connections_total\{direction="outbound",transport="direct",security="mutual_tls"\} [1-9]/;
    expect(await mesh.metrics('web')).toMatch(labels);
    expect(await mesh.metrics('web')).toMatch(
      /istio_tcp_connections_opened_total\{.*security_policy="mutual_tls".*\} [1-9]/,
    );
  });
});

/** The control plane gives `proxied` a certificate, as it gives one to every workload with a token. */
async function writeCertificate({ folder, pods: { control } }: Mesh<Name>): Promise<void> {
  await writeToken(folder, 'proxied', control);
  const key = createKey();
  const csr = createCsr(key, workloadSpiffeId('cluster.local', 'shop', 'proxied'));
  await writeFile(join(folder, 'csr.json'), JSON.stringify({ csr, ttlSeconds: 3600 }));
  const token = await readFile(join(folder, 'proxied.token'), 'utf8');
  const reply = await control.sh(
    `curl -sS --fail --cacert ${folder}/root.pem -H 'Authorization: Bearer ${token.trim()}' ` +
      `-H 'Content-Type: application/json' -d @${folder}/csr.json https://${controlAddresses.v4}:15012/v1/certificates`,
  );
  const { certificateChain } = JSON.parse(reply);
  await writeFile(join(folder, 'proxied.pem'), `${certificateChain}${key.export({ type: 'pkcs8', format: 'pem' })}`);
}
