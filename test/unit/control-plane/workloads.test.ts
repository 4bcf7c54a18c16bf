import { describe, expect, it } from 'vitest';
import {
  maxPodNameLength,
  maxServicePorts,
  maxWorkloads,
  namedWorkload,
  parseJson,
  workloadsReply,
} from '../../../src/control-api.ts';
import { indexRegistry } from '../../../src/control-plane/registry-index.ts';
import { createWorkloads } from '../../../src/control-plane/workloads.ts';
import { meshed, objectsOf, plain, pod, service, slice } from '../../support/registry-yaml.ts';

const workloadAt = (...documents: string[]) => {
  const objects = objectsOf(...documents);
  return createWorkloads(objects, { clusterName: 'Kubernetes', trustDomain: 'cluster.local' }, indexRegistry(objects));
};
const ip = '10.0.0.1';
const owner = (kind: string, name: string) => `ownerReferences: [{kind: ${kind}, name: ${name}, controller: true}]`;

describe('The workload at an address', () => {
  it('is named by what made the pod, with the labels that Istio reads', () => {
    const labels = 'app: web, version: v2, pod-template-hash: 6d4cf56db6';
    const metadata = owner('ReplicaSet', 'web-6d4cf56db6');
    expect(workloadAt(pod({ name: 'web-6d4cf56db6-x', ip, labels, metadata }))(ip)).toEqual({
      address: ip,
      pod: 'web-6d4cf56db6-x',
      name: 'web',
      namespace: 'shop',
      serviceAccount: 'web-6d4cf56db6-x-account',
      app: 'web',
      version: 'v2',
      canonicalName: 'web',
      canonicalRevision: 'v2',
      cluster: 'Kubernetes',
      services: [],
    });
  });

  it('has the SPIFFE ID of its sidecar, unless an annotation keeps that from what the pod sends', () => {
    const idWith = (metadata: string) =>
      workloadAt(pod({ name: 'web', ip, ...meshed, metadata: `annotations: {${metadata}}` }))(ip)?.sidecarId;
    const ofWeb = 'spiffe://cluster.local/ns/shop/sa/web-account';
    expect(idWith('any: thing, traffic.sidecar.istio.io/excludeInboundPorts: "1"')).toBe(ofWeb);
    expect(idWith('traffic.sidecar.istio.io/excludeOutboundPorts: "5432"')).toBeUndefined();
    expect(workloadAt(pod({ name: 'web', ip }))(ip)).not.toHaveProperty('sidecarId');
  });

  it.each([
    ['StatefulSet', 'db', 'db'],
    ['DaemonSet', 'node-agent', 'node-agent'],
    ['Job', 'report-29537775', 'report'],
  ])('of a %s is %s', (kind, name, expected) => {
    expect(workloadAt(pod({ name: 'p', ip, metadata: owner(kind, name) }))(ip)).toMatchObject({ name: expected });
  });

  it.each([
    [
      'its canonical name, which goes before all others',
      'service.istio.io/canonical-name: a, app.kubernetes.io/name: b, app: c',
      'a',
      'c',
    ],
    ['the recommended label', 'app.kubernetes.io/name: b, app: c', 'b', 'c'],
    ['the label app', 'app: c', 'c', 'c'],
    ['the workload without a label', '', 'p', 'p'],
  ])('has as canonical service %s', (_, labels, canonicalName, app) => {
    expect(workloadAt(pod({ name: 'p', ip, labels }))(ip)).toMatchObject({ canonicalName, app });
  });

  it.each([
    ['service.istio.io/canonical-revision: a, app.kubernetes.io/version: b, version: c', 'a', 'c'],
    ['app.kubernetes.io/version: b, version: c', 'b', 'c'],
    ['version: c', 'c', 'c'],
    ['', 'latest', 'latest'],
  ])('with the labels %j has the canonical revision %s', (labels, canonicalRevision, version) => {
    expect(workloadAt(pod({ name: 'p', ip, labels }))(ip)).toMatchObject({ canonicalRevision, version });
  });

  it('is known by each address of the pod in whichever form, and by none of a pod that has no address of its own or has ended', () => {
    const both = pod({ name: 'p', ip, status: 'podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]' });
    const onNode = pod({ name: 'n', ip: '10.0.0.2', spec: 'hostNetwork: true' });
    const ended = pod({ name: 'e', ip: '10.0.0.3', status: 'phase: Succeeded' });
    const ask = workloadAt(both, onNode, ended);
    expect(['10.0.0.1', 'FD00:0::1', '::ffff:10.0.0.1'].map((one) => ask(one)?.name)).toEqual(['p', 'p', 'p']);
    expect(['10.0.0.2', '10.0.0.3', '10.0.0.4', 'web.shop', ''].map(ask)).toEqual(Array(5).fill(undefined));
  });

  it('takes a value that Kubernetes would refuse for one that is absent', () => {
    const labels = `app: "a\\nb", version: "\\"", app.kubernetes.io/version: ${'v'.repeat(300)}`;
    const metadata = owner('Workflow', '"web\\", evil=\\""');
    const found = workloadAt(pod({ name: 'p', ip, labels, metadata }))(ip);
    expect(found).toMatchObject({
      name: 'p',
      app: 'p',
      version: 'latest',
      canonicalName: 'p',
      canonicalRevision: 'latest',
    });
    expect(parseJson(namedWorkload, JSON.stringify(found))).toEqual(found);
  });

  it('does not break the registry with owners of another shape', () => {
    expect(workloadAt(pod({ name: 'p', ip, metadata: 'ownerReferences: [7], generateName: {}' }))(ip)?.name).toBe('p');
  });
});

const podName = (length: number) => `${'p'.repeat(50)}.${'p'.repeat(length - 51)}`;

describe('The Services of a workload', () => {
  const web = pod({ name: 'p', ip });

  it('are those that select it, by the port that they send connections to', () => {
    expect(workloadAt(web, plain())(ip)?.services).toEqual([{ port: 8080, service: 'web.shop' }]);
  });

  it('are those whose EndpointSlices name its address, where there are any', () => {
    const listed = slice('IPv4', '[{addresses: [10.0.0.1]}]', '[{name: web, port: 9090}, {name: other, port: 9091}]');
    expect(workloadAt(web, plain(), listed)(ip)?.services).toEqual([{ port: 9090, service: 'web.shop' }]);
    expect(workloadAt(web, plain(), slice('IPv4', '[{addresses: [10.0.0.9]}]'))(ip)?.services).toEqual([]);
  });

  it('are the oldest ones where several lead to a port', () => {
    const aged = (name: string, created: string) =>
      service('{clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}', name).replace(
        'namespace:',
        `creationTimestamp: "${created}", namespace:`,
      );
    const [young, old] = [aged('young', '2030-01-02T00:00:00Z'), aged('zz-old', '2030-01-01T00:00:00Z')];
    for (const documents of [
      [young, old],
      [old, young],
    ])
      expect(workloadAt(web, ...documents)(ip)?.services).toEqual([{ port: 80, service: 'zz-old.shop' }]);
  });

  it('are none over UDP, of another name, of a Service that is a name alone, or that select nothing', () => {
    const ports = 'ports: [{port: 80}]';
    const others = [
      service('{selector: {app: web}, ports: [{port: 53, protocol: UDP}]}', 'dns'),
      service(`{type: ExternalName, selector: {app: web}, ${ports}}`, 'external'),
      service(`{selector: {}, ${ports}}`, 'nothing'),
      service(`{selector: {app: web}, ${ports}}`, 'dotted.name'),
    ];
    expect(workloadAt(web, ...others)(ip)?.services).toEqual([]);
  });

  it('come without the name of the pod where that is longer than a reply has room for', () => {
    const name = podName(maxPodNameLength + 1);
    expect(workloadAt(pod({ name, ip }))(ip)).not.toHaveProperty('pod');
  });

  it('fit into a reply, whatever the registry holds', () => {
    const names = Array.from({ length: 60 }, (_, index) => `${'s'.repeat(60)}${index}`);
    const many = names.map((name, index) => service(`{selector: {app: web}, ports: [{port: ${index + 1}}]}`, name));
    const long = 'l'.repeat(253);
    const labels = `app: web, version: ${long}, service.istio.io/canonical-name: ${long}, service.istio.io/canonical-revision: ${long}`;
    const name = podName(maxPodNameLength);
    const found = workloadAt(pod({ name, ip, labels, ...meshed, metadata: owner('Workflow', long) }), ...many)(ip);
    expect(found?.sidecarId?.length).toBeGreaterThan(100);
    expect(found?.pod).toBe(name);
    expect(found?.services).toHaveLength(maxServicePorts);
    const reply = JSON.stringify({ workloads: Array(maxWorkloads).fill(found) });
    expect(reply.length).toBeLessThan(256 * 1024);
    expect(parseJson(workloadsReply, reply).workloads).toHaveLength(maxWorkloads);
  });
});
