import { describe, expect, it } from 'vitest';
import { ofAnyPeer, peerIpOf, tcpLabelNames, tcpLabels } from '../../../../src/metrics/tcp/labels.ts';
import { ids, inbound, ips, namedWorkload, outbound, plaintext } from '../../../support/named-workloads.ts';

const [web, api] = [namedWorkload('web'), namedWorkload('api')];
const unknownEnds = { own: undefined, peer: undefined };

describe('The labels of a connection', () => {
  it('are those of Istio, and both sides agree on all but who reports', () => {
    const expected = {
      source_workload: 'web-deployment',
      source_workload_namespace: 'shop',
      source_principal: ids.web,
      source_app: 'web-app',
      source_version: 'v1',
      source_canonical_service: 'web',
      source_canonical_revision: 'r1',
      source_cluster: 'east',
      destination_workload: 'api-deployment',
      destination_workload_namespace: 'stock',
      destination_principal: ids.api,
      destination_app: 'api-app',
      destination_version: 'v1',
      destination_canonical_service: 'api',
      destination_canonical_revision: 'r1',
      destination_cluster: 'east',
      destination_service: 'api.stock.svc.cluster.local',
      destination_service_name: 'api',
      destination_service_namespace: 'stock',
      request_protocol: 'tcp',
      response_flags: '-',
      connection_security_policy: 'mutual_tls',
    };
    expect(tcpLabels(outbound(), { own: web, peer: api }, {})).toEqual({ reporter: 'source', ...expected });
    expect(tcpLabels(inbound(), { own: api, peer: web }, {})).toEqual({ reporter: 'destination', ...expected });
    expect(Object.keys(tcpLabels(inbound(), unknownEnds, {})).sort()).toEqual([...tcpLabelNames].sort());
  });

  it('say of a peer what its certificate says, and nothing else, when the registry does not know it', () => {
    expect(tcpLabels(inbound(), { own: api, peer: undefined }, {})).toMatchObject({
      source_workload: 'unknown',
      source_workload_namespace: 'shop',
      source_principal: ids.web,
      source_app: 'unknown',
      source_version: 'unknown',
      source_canonical_service: 'unknown',
      source_canonical_revision: 'unknown',
      source_cluster: 'unknown',
    });
  });

  it.each<[string, Parameters<typeof namedWorkload>[1]]>([
    ['another namespace', { namespace: 'other' }],
    ['another service account', { serviceAccount: 'other' }],
  ])('do not believe the registry where it says %s than the certificate', (_, more) => {
    const peer = namedWorkload('web', more);
    expect(tcpLabels(inbound(), { own: api, peer }, {})).toMatchObject({
      source_workload: 'unknown',
      source_app: 'unknown',
      source_cluster: 'unknown',
      source_workload_namespace: 'shop',
      source_principal: ids.web,
    });
  });

  it('do not believe the registry of a peer of another trust domain, whose pods it does not know', () => {
    const peerId = ids.web.replace('cluster.local', 'partner.example');
    expect(tcpLabels(inbound({ peerId }), { own: api, peer: web }, {})).toMatchObject({
      source_workload: 'unknown',
      source_workload_namespace: 'shop',
      source_principal: peerId,
    });
  });

  it('take no namespace from an identity of another shape', () => {
    for (const peerId of ['spiffe://cluster.local/vm/shop', `${ids.web}/more`, 'spiffe://cluster.local/ns/shop/sa'])
      expect(tcpLabels(inbound({ peerId }), unknownEnds, {})).toMatchObject({
        source_workload_namespace: 'unknown',
        source_principal: peerId,
      });
  });

  it('give no name to a caller in plaintext, whatever its address', () => {
    const caller = inbound(plaintext);
    expect(peerIpOf(caller)).toBeUndefined();
    expect(tcpLabels(caller, { own: api, peer: web }, {})).toMatchObject({
      source_workload: 'unknown',
      source_workload_namespace: 'unknown',
      source_principal: 'unknown',
      destination_workload: 'api-deployment',
      destination_workload_namespace: 'stock',
      destination_principal: 'unknown',
      connection_security_policy: 'none',
    });
  });

  it('name a pod that was dialled in plaintext by the registry, which chose it', () => {
    expect(tcpLabels(outbound(plaintext), { own: web, peer: api }, {})).toMatchObject({
      destination_workload: 'api-deployment',
      destination_workload_namespace: 'stock',
      destination_principal: 'unknown',
      destination_service: 'api.stock.svc.cluster.local',
      connection_security_policy: 'none',
    });
  });

  it('name this pod by its settings where the registry does not', () => {
    const names = { workloadName: 'web-by-hand', workloadNamespace: 'elsewhere' };
    const labels = tcpLabels(outbound(), unknownEnds, names);
    expect(labels).toMatchObject({ source_workload: 'web-by-hand', source_workload_namespace: 'shop' });
    expect(tcpLabels(outbound(plaintext), unknownEnds, names)).toMatchObject({
      source_workload: 'web-by-hand',
      source_workload_namespace: 'elsewhere',
      destination_workload: 'unknown',
      destination_workload_namespace: 'unknown',
    });
    expect(tcpLabels(outbound(), { own: web, peer: undefined }, names)).toMatchObject({
      source_workload: 'web-deployment',
      destination_workload: 'unknown',
    });
  });
});

describe('The Service of a connection', () => {
  const direct = { service: undefined, originalDestination: { ip: ips.api, port: 8080 } };

  it('is that of the port where a pod was dialled by its own address, on both sides', () => {
    const [there, here] = [outbound(direct), inbound(direct)];
    for (const labels of [tcpLabels(there, { own: web, peer: api }, {}), tcpLabels(here, { own: api, peer: web }, {})])
      expect(labels).toMatchObject({ destination_service: 'api.stock.svc.cluster.local' });
  });

  it.each([
    ['has no Service', { service: undefined, endpoint: { ip: ips.api, port: 9 } }, api],
    ['is of a pod that is not the one of the certificate', direct, namedWorkload('api', { serviceAccount: 'other' })],
    ['has one that is no name', { service: 'a b"\n.stock' }, api],
    ['has one that is too long', { service: `${'s'.repeat(300)}.stock` }, api],
  ])('is unknown when the port %s, in the namespace of the workload', (_, facts, peer) => {
    expect(tcpLabels(outbound(facts), { own: web, peer }, {})).toMatchObject({
      destination_service: 'unknown',
      destination_service_name: 'unknown',
      destination_service_namespace: 'stock',
    });
  });
});

describe('Beyond the bound', () => {
  it('every label that says who the peer is becomes other, and none that says who we are', () => {
    const there = ofAnyPeer(tcpLabels(outbound(), { own: web, peer: api }, {}));
    for (const [name, value] of Object.entries(there)) expect(value === 'other', name).toBe(name.startsWith('dest'));
    const here = ofAnyPeer(tcpLabels(inbound(), { own: api, peer: web }, {}));
    for (const [name, value] of Object.entries(here)) expect(value === 'other', name).toBe(name.startsWith('source'));
    expect(here).toMatchObject({ reporter: 'destination', destination_service: 'api.stock.svc.cluster.local' });
  });
});
