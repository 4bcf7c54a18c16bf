import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { patchedBy, recordedReview } from '../support/admission.ts';
import type { PodMesh } from '../support/podman/pod-mesh.ts';
import { controlPlaneName, services, startPodMesh, yamlFolder } from '../support/podman/pod-mesh.ts';
import { noPodmanBecause } from '../support/podman/podman.ts';
import { watchWire } from '../support/podman/wire.ts';

/*
 * Goal: YAML that somebody wrote for a cluster, through `remora inject`, is a mesh in real pods: with the control plane of
 * manifests/install, the rules, the sidecars, mutual TLS, certificates, probes and the webhook.
 * Method: `podman kube play`. What podman cannot do is changed in test/support/podman/as-podman-takes-it.ts and done by
 * test/support/podman/kubelet.ts, and nowhere else; that a cluster gets the original is what test/golden/pods shows.
 * Not shown here: kube-proxy and DNS, NetworkPolicy, Pod Security, seccomp of the pod (podman has its own), fsGroup, the
 * API server itself.
 */
const text = (name: string) => readFileSync(join(yamlFolder, name), 'utf8');

describe.skipIf(noPodmanBecause !== undefined)(`a mesh of real pods ${noPodmanBecause ?? ''}`, () => {
  let mesh: PodMesh;
  let injected: string;

  beforeAll(async () => {
    mesh = await startPodMesh();
    injected = await inject(text('shop.yaml'));
    await mesh.start(injected);
    await mesh.start(text('legacy.yaml'));
    for (const container of ['api-api', 'api-echo', 'legacy-app'])
      await mesh.log(container).line((line) => line === 'ready');
  }, 900_000);
  afterAll(() => mesh?.close());

  const inject = async (yaml: string, ...flags: readonly string[]) => {
    const { status, stdout, stderr } = await mesh.inject(yaml, ...flags);
    if (status !== 0) throw new Error(stderr);
    return stdout;
  };
  const client = (pod: 'web-web' | 'legacy-app', manner: string, host: string, port: number, ...rest: string[]) =>
    mesh.ask(pod, 'client', manner, host, String(port), ...rest);
  /** As the kubelet asks: from outside of the pod. */
  const get = (url: string) => mesh.ask('legacy-app', 'fetch', url);

  /** A line that comes after so many others. */
  const again = (container: string, text: string, before: number) =>
    mesh.log(container).line((line) => line === text && mesh.log(container).lines.lastIndexOf(text) >= before);

  it('has the rules of a pod written by an init container with NET_ADMIN and nothing else', async () => {
    const applied = await mesh.logged('web-remora-init', '"applied"');
    expect(applied).toMatchObject({ ipv4: 'proved', ipv6: 'proved' });
    const [inspected] = JSON.parse(await mesh.podman.run('inspect', 'web-remora-init'));
    expect(inspected.EffectiveCaps).toEqual(['CAP_NET_ADMIN']);
    expect(inspected.BoundingCaps).toEqual(['CAP_NET_ADMIN']);
    expect(inspected.HostConfig).toMatchObject({ Privileged: false, ReadonlyRootfs: true });
    const before = await mesh.counters('web');
    expect(await client('web-web', 'ask', services.api.v4, 7001)).toEqual({ text: 'hello', ended: 'end' });
    const after = await mesh.counters('web');
    expect(after['outbound: Everything else']).toBe((before['outbound: Everything else'] ?? 0) + 1);
    expect(after['outbound: The sidecar itself']).toBeGreaterThan(before['outbound: The sidecar itself'] ?? 0);
  });

  it('does not start a pod whose init container may not write rules', async () => {
    const yaml = (await inject(text('old.yaml'), '--sidecar-mode=native')).replace('- NET_ADMIN', '- NET_BIND_SERVICE');
    await expect(mesh.start(yaml)).rejects.toThrow(/remora-init \(77\).*expected the capability NET_ADMIN/s);
    expect(await mesh.podman.run('inspect', '--format={{.State.Status}}', 'old-app')).toBe('created');
    await mesh.remove('old');
  });

  it.each([
    ['IPv4', services.api.v4, `${services.api.v4}:7001`],
    ['IPv6', services.api.v6, `[${services.api.v6}]:7001`],
  ])(
    'carries a connection to a Service over %s by mutual TLS, and nothing of it in clear',
    async (family, host, asked) => {
      const wire = watchWire(mesh.podman.bridge, { secret: `secret of ${family}`, plain: `spoken by ${family}` });
      expect(await client('web-web', 'ask', host, 7001, '1', `secret of ${family}`)).toEqual({
        text: `secret of ${family}`,
        ended: 'end',
      });
      const outbound = await mesh.logged('web-remora', '"outbound"', `"${asked}"`, '"bytesSent":14');
      const ids = { web: 'spiffe://cluster.local/ns/shop/sa/web', api: 'spiffe://cluster.local/ns/shop/sa/api' };
      expect(outbound).toMatchObject({ security: 'mutual_tls', localId: ids.web, peerId: ids.api, reason: 'eof' });
      expect(await mesh.logged('api-remora', '"inbound"', `"${outbound.id}"`)).toMatchObject({
        security: 'mutual_tls',
        localId: ids.api,
        peerId: ids.web,
        reason: 'eof',
      });
      // legacy has no sidecar: the same way in plaintext, which shows that the capture would see it.
      await client(
        'web-web',
        'ask',
        mesh.places.legacy[family === 'IPv4' ? 'v4' : 'v6'],
        7001,
        '1',
        `spoken by ${family}`,
      );
      const { clearBytes, tunnelFrames } = wire.totals();
      wire.close();
      expect(clearBytes.secret).toBe(0);
      expect(clearBytes.plain).toBe(2 * 'spoken by IPv4'.length);
      expect(tunnelFrames).toBeGreaterThan(0);
    },
  );

  it('gives each sidecar a certificate of the control plane, for the token of its own pod', async () => {
    for (const pod of ['web', 'api'] as const) {
      const { serial } = await mesh.logged(`${pod}-remora`, '"Identity renewed"');
      expect(await mesh.logged('remora-control-plane-control-plane', `"${serial}"`)).toMatchObject({
        msg: 'Certificate issued',
        pod: `shop/${pod}`,
        spiffeId: `spiffe://cluster.local/ns/shop/sa/${pod}`,
      });
    }
    const issued = async () => {
      const { body } = await get(`http://${mesh.places['remora-control-plane'].v4}:15014/metrics`);
      return Number(/^remora_ca_certificates_issued_total\{result="issued"\} (\d+)$/m.exec(body)?.[1]);
    };
    const before = await issued();
    await mesh.podman.run('restart', '--time=10', 'web-remora');
    await mesh.podman.run('exec', 'web-remora', 'remora', 'wait');
    expect(await issued()).toBe(before + 1);
  });

  it.each([7001, 8080, 8443, 9000])('refuses plaintext of a pod without a sidecar at port %i', async (port) => {
    const seen = mesh.log('api-echo').lines.length;
    for (const host of [mesh.places.api.v4, mesh.places.api.v6])
      expect(await client('legacy-app', 'wait', host, port)).toEqual({ text: '', ended: 'ECONNRESET' });
    const address = `"peerAddress":"${mesh.places.legacy.v4}:`;
    expect(await mesh.logged('api-remora', 'plaintext_in_strict', `:${port}"`, address)).toMatchObject({
      direction: 'inbound',
    });
    expect(mesh.log('api-echo').lines.slice(seen)).toEqual([]);
  });

  /** The probes as they are in the YAML that goes to the cluster. */
  const rewritten = () => {
    const [, api] = parseAllDocuments(injected).map((document) => document.toJS());
    const [http, echo] = api.spec.template.spec.containers;
    return {
      'httpGet with a header at a named port': http.livenessProbe,
      grpc: http.readinessProbe,
      'httpGet by HTTPS': http.startupProbe,
      tcpSocket: echo.livenessProbe,
    };
  };
  type ProbeName = keyof ReturnType<typeof rewritten>;
  const probe = (name: ProbeName) => {
    const { httpGet, grpc, tcpSocket } = rewritten()[name];
    expect({ grpc, tcpSocket, port: httpGet.port }).toEqual({ port: 15020 });
    return get(`${httpGet.scheme.toLowerCase()}://${mesh.places.api.v4}:${httpGet.port}${httpGet.path}`);
  };

  it.each<[ProbeName, string]>([
    ['httpGet with a header at a named port', 'api:8080 answered 500, expected 200 to 399\n'],
    ['grpc', 'api:9000 is NOT_SERVING, expected SERVING\n'],
    ['httpGet by HTTPS', 'api:8443 answered 500, expected 200 to 399\n'],
  ])('answers a probe by %s from outside of the pod as the application does, well and ill', async (name, ill) => {
    expect(await probe(name)).toMatchObject({ status: 200 });
    const change = async (to: string) => {
      const before = mesh.log('api-api').lines.length;
      await mesh.podman.run('kill', '--signal=USR2', 'api-api');
      await again('api-api', to, before);
    };
    await change('ill');
    expect(await probe(name)).toMatchObject({ status: 503, body: expect.stringContaining(ill) });
    await change('well');
    expect(await probe(name)).toMatchObject({ status: 200 });
  });

  it('answers a probe by tcpSocket from outside of the pod as long as the application listens', async () => {
    expect(await probe('tcpSocket')).toMatchObject({ status: 200 });
    await mesh.podman.run('stop', 'api-echo');
    expect(await probe('tcpSocket')).toEqual({ status: 503, body: `Nothing listens on ${mesh.places.api.v4}:7001\n` });
    const before = mesh.log('api-echo').lines.length;
    await mesh.podman.run('start', 'api-echo');
    await again('api-echo', 'ready', before);
    expect(await probe('tcpSocket')).toMatchObject({ status: 200 });
  });

  it('makes by the webhook of the control plane what remora inject makes', async () => {
    const review = recordedReview('create-bare-pod');
    const [pod] = parseAllDocuments(text('shop.yaml')).map((document) => document.toJS());
    review.request.object = pod;
    const answer = await mesh.ask(
      ...(['legacy-app', 'fetch', `https://${controlPlaneName}:15017/inject`] as const),
      `--post=${JSON.stringify(review)}`,
      '--root=/etc/remora/ca.pem',
    );
    expect(answer).toMatchObject({ status: 200 });
    const [byCommand] = parseAllDocuments(injected).map((document) => document.toJS());
    expect(byCommand.spec.initContainers).toHaveLength(2);
    expect(patchedBy(JSON.parse(answer.body), pod)).toEqual(byCommand);
  });

  it('K8: refuses everything while the sidecar is killed, and lets nothing out in plaintext', async () => {
    const wire = watchWire(mesh.podman.bridge, { secret: 'sent with no sidecar' });
    await mesh.podman.run('kill', '--signal=KILL', 'web-remora');
    expect(await mesh.podman.run('wait', 'web-remora')).toBe('137');
    for (const host of [services.api.v4, mesh.places.api.v6, mesh.places.legacy.v4, mesh.places.legacy.v6])
      expect(await client('web-web', 'ask', host, 7001, '1', 'sent with no sidecar')).toEqual({
        failed: 'ECONNREFUSED',
      });
    expect(await client('legacy-app', 'ask', mesh.places.web.v4, 7001)).toEqual({ failed: 'ECONNREFUSED' });
    expect(wire.totals().clearBytes).toEqual({ secret: 0 });
    wire.close();
    await mesh.podman.run('start', 'web-remora');
    await mesh.podman.run('exec', 'web-remora', 'remora', 'wait');
    expect(await client('web-web', 'ask', services.api.v4, 7001)).toEqual({ text: 'hello', ended: 'end' });
  });
});
