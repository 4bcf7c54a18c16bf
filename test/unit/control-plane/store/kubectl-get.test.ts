import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createDiscovery } from '../../../../src/control-plane/discovery.ts';
import { collectObjects } from '../../../../src/control-plane/store/objects.ts';
import { readYaml } from '../../../../src/control-plane/store/yaml.ts';

/*
 * A snapshot as operators take it: whole objects with their status, managed fields, nulls and kinds of Services that have
 * no address, in one List.
 */

const file = resolve(import.meta.dirname, '../../../golden/registry/kubectl-get.yaml');
const read = readYaml(readFileSync(file, 'utf8'));
if (read.kind === 'broken') throw new Error(`${read.position.line}:${read.position.column}: ${read.why}`);
const objects = collectObjects(read.objects.map(({ entry }) => entry));
const ask = createDiscovery(objects, {
  trustDomain: 'cluster.local',
  destinationTtlSeconds: 300,
  rootNamespace: 'istio-system',
});
const asker = { namespace: 'remora-demo', pod: 'new', podUid: 'uid' };
const discover = (address: string) => ask(address, asker);
const endpoints = (address: string) => discover(address).endpoints;

describe('What kubectl get -o yaml prints of a cluster', () => {
  it('is a registry, with every object in it', () => {
    const counts = Object.entries(objects).map(([kind, list]) => [kind, list.length]);
    expect(Object.fromEntries(counts)).toEqual({
      namespaces: 3,
      pods: 7,
      services: 6,
      endpointSlices: 3,
      serviceAccounts: 5,
      nodes: 3,
      peerAuthentications: 0,
      authorizationPolicies: 0,
      serviceEntries: 0,
    });
    expect(read.ignored).toEqual([]);
  });

  it('says which pods of a Service are in the mesh, who they are, and which are ready', () => {
    const api = 'spiffe://cluster.local/ns/remora-demo/sa/api';
    expect(discover('10.96.120.7:80')).toMatchObject({ known: true, service: 'api.remora-demo' });
    expect(endpoints('10.96.120.7:80')).toEqual([
      expect.objectContaining({
        address: '10.244.1.6:8080',
        spiffeId: api,
        transport: 'hbone',
        ready: true,
        zone: 'a',
      }),
      expect.objectContaining({ address: '10.244.2.4:8080', spiffeId: api, transport: 'hbone', ready: false }),
    ]);
    expect(endpoints('10.244.1.5:8080')).toMatchObject([{ spiffeId: 'spiffe://cluster.local/ns/remora-demo/sa/web' }]);
  });

  it('says what is outside of the mesh, and what leads nowhere', () => {
    expect(endpoints('10.96.0.10:53')).toMatchObject([{ address: '10.244.0.3:53', transport: 'plaintext' }]);
    expect(endpoints('10.96.0.1:443')).toMatchObject([{ address: '172.18.0.2:6443', transport: 'plaintext' }]);
    expect(discover('10.96.5.5:80')).toMatchObject({ known: true, endpoints: [] });
    // Of a pod that has ended.
    expect(discover('10.244.1.9:80').known).toBe(false);
  });
});
