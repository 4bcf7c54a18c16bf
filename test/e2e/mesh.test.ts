import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deniedReasons } from '../../src/outcomes.ts';
import type { Mesh } from '../support/mesh.ts';
import { startMesh } from '../support/mesh.ts';
import type { RunningProgram } from '../support/pods.ts';
import { noPodsBecause } from '../support/pods.ts';

/*
 * Goal: the main job on real traffic. `web` reaches `api` by Service and by pod address, over IPv4 and IPv6, through two
 * real sidecars behind real rules; `legacy`, which has none, does not.
 * Method: three pods and a control plane in network namespaces; plain TCP programs as uid 1000.
 */
const ports = [7001, 7002, 7003, 7004, 7005];
const service = { v4: '10.96.0.10', v6: 'fd96::10' };
const own = { v4: '10.96.0.11', v6: 'fd96::11' };
const pods = {
  web: { v4: '10.77.0.11', v6: 'fd77::11', isMeshed: true, agent: ['--max-connections', '300'] },
  api: { v4: '10.77.0.12', v6: 'fd77::12', isMeshed: true },
  legacy: { v4: '10.77.0.13', v6: 'fd77::13', isMeshed: false },
  outside: { v4: '10.77.0.200', v6: 'fd77::200', isMeshed: false },
} as const;
type Name = keyof typeof pods;

describe.skipIf(noPodsBecause !== undefined)(`a mesh of pods ${noPodsBecause ?? ''}`, () => {
  let mesh: Mesh<Name>;
  let api: RunningProgram;

  beforeAll(async () => {
    mesh = await startMesh<Name>({
      pods,
      services: [
        { name: 'api', ...service, pods: ['api'], ports },
        { name: 'web', ...own, pods: ['web'], ports },
      ],
    });
    api = mesh.pods.api.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
    await api.line((line) => line === 'ready');
  }, 120_000);
  afterAll(() => mesh?.close());

  const client = async (from: Name, manner: string, host: string, port: number, number = 1) => {
    const program = mesh.pods[from].start('test/support/pod-programs/client.ts', [
      manner,
      host,
      String(port),
      String(number),
    ]);
    return JSON.parse(await program.line((line) => line.startsWith('{') && !line.includes('started')));
  };
  const logged = async (name: Name, ...parts: string[]): Promise<Record<string, unknown>> => {
    const agent = mesh.agents[name];
    if (agent === undefined) throw new Error(`${name} has no sidecar`);
    return JSON.parse(await agent.line((line) => parts.every((part) => line.includes(part))));
  };

  it.each([
    ['the Service over IPv4', service.v4],
    ['the Service over IPv6', service.v6],
    ['the pod over IPv4', pods.api.v4],
    ['the pod over IPv6', pods.api.v6],
  ])('carries a connection to %s through both sidecars', async (_name, host) => {
    expect(await client('web', 'ask', host, 7001)).toEqual({ text: 'hello', ended: 'end' });
    const asked = host.includes(':') ? `[${host}]:7001` : `${host}:7001`;
    const outbound = await logged('web', '"outbound"', `"originalDestination":"${asked}"`);
    expect(outbound).toMatchObject({
      reason: 'eof',
      transport: 'hbone',
      security: 'mutual_tls',
      localId: 'spiffe://cluster.local/ns/shop/sa/web',
      peerId: 'spiffe://cluster.local/ns/shop/sa/api',
    });
    expect(await logged('api', '"inbound"', `"id":"${outbound.id}"`)).toMatchObject({
      reason: 'eof',
      bytesSent: 5,
      bytesReceived: 5,
    });
  });

  it('delivers to the application from 127.0.0.6 and ::6', async () => {
    await client('web', 'ask', pods.api.v4, 7001);
    expect(await api.line((line) => line.includes('"127.0.0.6"'))).toContain('"ended":"end"');
    await client('web', 'ask', pods.api.v6, 7001);
    expect(await api.line((line) => line.includes('"::6"'))).toContain('"ended":"end"');
  });

  it('carries 2,000 short connections in one tunnel', async () => {
    expect(await client('web', 'short', service.v4, 7001, 2000)).toEqual({ right: 2000, failures: {} });
    expect(await mesh.metrics('web')).toMatch(
      /^remora_tls_handshakes_total\{direction="outbound",result="success",reason=""\} 2$/m,
    );
  });

  it('carries 64 MiB each way with equal hashes', async () => {
    const [up, down] = await Promise.all([
      client('web', 'upload', service.v4, 7002, 64 * 1024 * 1024),
      client('web', 'download', service.v6, 7003, 64 * 1024 * 1024),
    ]);
    expect(up).toEqual({ isEqual: true, ended: 'end' });
    expect(down).toEqual({ isEqual: true, bytes: 64 * 1024 * 1024 });
  });

  it('lets a server speak first', async () => {
    expect(await client('web', 'listen', service.v4, 7004)).toEqual({
      greeting: '220 ready\r\n',
      text: '250 hello',
      ended: 'end',
    });
  });

  it('N21: shows a reset of the server as a reset, never as an end', async () => {
    expect(await client('web', 'wait', service.v4, 7005)).toMatchObject({ ended: 'ECONNRESET' });
  });

  it('N1: resets the client when nothing listens, and both logs tell the same story', async () => {
    expect(await client('web', 'ask', pods.api.v4, 7999)).toMatchObject({ ended: 'ECONNRESET' });
    const outbound = await logged('web', `"originalDestination":"${pods.api.v4}:7999"`);
    expect(outbound).toMatchObject({ outcome: 'closed', reason: 'upstream_refused' });
    expect(await logged('api', `"id":"${outbound.id}"`)).toMatchObject({
      outcome: 'closed',
      reason: 'upstream_refused',
    });
  });

  it('T4: refuses plaintext of a pod without a sidecar with a reset, and the application sees no byte', async () => {
    const before = api.lines.length;
    for (const host of [pods.api.v4, pods.api.v6]) {
      expect(await client('legacy', 'ask', host, 7001)).toMatchObject({ text: '', ended: 'ECONNRESET' });
    }
    expect(await logged('api', 'plaintext_in_strict')).toMatchObject({
      outcome: 'handshake',
      peerAddress: expect.stringContaining('10.77.0.13'),
    });
    expect(await mesh.metrics('api')).toMatch(
      /remora_tls_handshakes_total\{direction="inbound",result="failure",reason="plaintext_in_strict"\} 2/,
    );
    expect(api.lines.slice(before)).toEqual([]);
  });

  it("carries a pod's call of its own Service through its own inbound side", async () => {
    const server = mesh.pods.web.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
    await server.line((line) => line === 'ready');
    for (const host of [own.v4, own.v6])
      expect(await client('web', 'ask', host, 7001)).toEqual({ text: 'hello', ended: 'end' });
    expect(await logged('web', '"inbound"', '"reason":"eof"')).toMatchObject({
      peerId: 'spiffe://cluster.local/ns/shop/sa/web',
      localId: 'spiffe://cluster.local/ns/shop/sa/web',
    });
    await server.stop();
  });

  it.each([
    ['its own outbound port', '127.0.0.1', 15001, 'ECONNREFUSED|ECONNRESET'],
    ['its own inbound port by Service address', own.v4, 15006, 'ECONNRESET'],
    ['the tunnel port of another pod', pods.api.v4, 15008, 'ECONNRESET'],
    ['the admin port of another pod', pods.api.v4, 15000, 'ECONNRESET'],
  ])('L1: refuses the application that dials %s', async (_name, host, port, ended) => {
    const seen = await client('web', 'ask', host, port);
    expect(seen.ended ?? seen.failed).toMatch(new RegExp(ended));
  });

  it('L1: names a call of a sidecar port self_call', async () => {
    await client('web', 'ask', pods.api.v4, 15008);
    expect(await logged('web', `"originalDestination":"${pods.api.v4}:15008"`)).toMatchObject({
      outcome: 'denied',
      reason: 'self_call',
    });
  });

  it('L4: never reaches a port that the application offers to loopback only', async () => {
    const local = mesh.pods.api.start('test/support/pod-programs/dial.ts', []);
    await local.stop();
    const listener = await mesh.pods.api.listen('private', ['127.0.0.1:7100']);
    expect(await client('web', 'ask', pods.api.v4, 7100)).toMatchObject({ ended: 'ECONNRESET' });
    expect(await logged('api', `${pods.api.v4}:7100`)).toMatchObject({ reason: 'upstream_refused' });
    await listener.stop();
  });

  it('refuses an address inside the mesh networks that the registry does not know', async () => {
    expect(await client('web', 'ask', '10.96.0.99', 80)).toMatchObject({ ended: 'ECONNRESET' });
    expect(await logged('web', '10.96.0.99:80')).toMatchObject({ outcome: 'denied', reason: 'unknown_destination' });
  });

  it('reaches a pod without a sidecar in plaintext, because the registry declares it so', async () => {
    const server = mesh.pods.legacy.start('test/support/pod-programs/server.ts', ['0.0.0.0', '::']);
    await server.line((line) => line === 'ready');
    expect(await client('web', 'ask', pods.legacy.v4, 7001)).toEqual({ text: 'hello', ended: 'end' });
    expect(await logged('web', `${pods.legacy.v4}:7001`)).toMatchObject({
      transport: 'plaintext',
      security: 'plaintext',
    });
    await server.stop();
  });

  it('passes a connection to an address outside the mesh networks through as it is', async () => {
    const server = mesh.pods.outside.start('test/support/pod-programs/server.ts', ['0.0.0.0']);
    await server.line((line) => line === 'ready');
    expect(await client('web', 'ask', pods.outside.v4, 7001)).toEqual({ text: 'hello', ended: 'end' });
    expect(await logged('web', `${pods.outside.v4}:7001`)).toMatchObject({ transport: 'plaintext', reason: 'eof' });
    await server.stop();
  });

  it('L5: bounds an application that calls itself through its Service without end, and carries on', async () => {
    const recursion = mesh.pods.web.start('test/support/pod-programs/recurse.ts', ['7001', own.v4]);
    await recursion.line((line) => line === 'ready');
    expect(await client('web', 'wait', own.v4, 7001)).toMatchObject({ ended: 'ECONNRESET' });
    expect(await logged('web', '"connection_limit"')).toMatchObject({ outcome: 'denied' });
    await recursion.stop();
    expect(await client('web', 'ask', service.v4, 7001)).toEqual({ text: 'hello', ended: 'end' });
  });

  it('tells from the control plane how every sidecar fares, and who was connected with whom', async () => {
    await client('web', 'ask', service.v4, 7001);
    const asked = async (...args: string[]) => {
      const state = ['--state-dir', join(mesh.folder, 'state')];
      return (await mesh.pods.control.remora(['mesh', ...state, ...args], { uid: 0 })).stdout;
    };
    const edge =
      /^ {2}spiffe:\/\/cluster\.local\/ns\/shop\/sa\/web +spiffe:\/\/cluster\.local\/ns\/shop\/sa\/api +api\.shop +mutual_tls .* both$/m;
    await expect.poll(() => asked('--edges'), { timeout: 90_000, interval: 1000 }).toMatch(edge);
    expect(await asked()).toMatch(
      /^2 sidecars; .*\n\n.*\n {2}shop\/api +yes +STRICT +\S+ left .*\n {2}shop\/web +yes +STRICT/,
    );
    const denied = deniedReasons.self_call;
    // The report that told of the edge may be older than this failure.
    await expect
      .poll(() => asked('shop/web'), { timeout: 90_000, interval: 1000 })
      .toMatch(/^ {4}outbound denied self_call, \d+ times, /m);
    expect(await asked('shop/web')).toContain(`\n      ${denied.happened}. ${denied.remedy}\n`);
  });

  it('counts connections by who talks to whom, and both sides say the same', async () => {
    await client('web', 'ask', service.v4, 7002);
    const ends = [
      ...['source_workload="web"', 'source_workload_namespace="shop"', 'destination_workload="api"'],
      ...['source_principal="spiffe://cluster.local/ns/shop/sa/web"', 'source_canonical_service="web"'],
      ...['destination_principal="spiffe://cluster.local/ns/shop/sa/api"', 'destination_cluster="Kubernetes"'],
      ...['destination_service="api.shop.svc.cluster.local"', 'connection_security_policy="mutual_tls"'],
    ];
    const reporters = { web: 'reporter="source"', api: 'reporter="destination"' };
    for (const [name, reporter] of Object.entries(reporters) as [Name, string][]) {
      // It is counted when it is known who its ends are, or after two seconds.
      await expect
        .poll(async () => (await mesh.metrics(name)).split('\n'), { timeout: 30_000, interval: 500 })
        .toContainEqual(
          expect.toSatisfy((line: string) =>
            [`istio_tcp_connections_closed_total{`, reporter, ...ends].every((part) => line.includes(part)),
          ),
        );
    }
  });

  it('A1: serves metrics and readiness to the network, and its admin pages to the pod alone', async () => {
    expect(await mesh.pods.control.sh(`curl -sS http://${pods.api.v4}:15021/healthz/ready`)).toBe('ready\n');
    expect(await mesh.pods.api.sh('curl -sS http://127.0.0.1:15000/certs')).toContain(
      'spiffe://cluster.local/ns/shop/sa/api',
    );
    await expect(mesh.pods.legacy.sh(`curl -sS --max-time 5 http://${pods.api.v4}:15000/certs`)).rejects.toThrow();
  });
});
