import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diceOf } from '../../../soak/dice.ts';
import type { PodName } from '../../../soak/faults.ts';
import { clients } from '../../../soak/faults.ts';
import { denyPolicy, harmlessPolicies, idlePolicy, modePolicy, policyCount } from '../../../soak/policies.ts';
import type { PolicyState } from '../../../src/control-api.ts';
import { createSelection } from '../../../src/control-plane/policy/select.ts';
import { decideInbound } from '../../../src/policy/authorize.ts';
import { peerAuthentication } from '../../support/mesh.ts';
import { labelledPod } from '../../support/policy-objects.ts';
import { objectsOf } from '../../support/registry-yaml.ts';

const settings = { rootNamespace: 'istio-system', trustDomain: 'cluster.local' };

/** What a sidecar of the soak is told of these objects. */
function policyOf(objects: readonly object[]) {
  const texts = [peerAuthentication('STRICT'), ...objects].map((object) => JSON.stringify(object));
  return createSelection(objectsOf(...texts), settings).policyFor('shop', labelledPod('shop/api'));
}

/** Why a connection of this pod is refused; undefined when it is permitted. */
function refusalOf(pod: PodName, policy: PolicyState): string | undefined {
  const request = {
    destination: { ip: '10.77.0.12', port: 7000 },
    principal: `spiffe://cluster.local/ns/shop/sa/${pod}`,
    source: '10.77.0.11',
  };
  const floor = { minimumMode: 'DISABLE', allowedPeers: undefined } as const;
  const decision = decideInbound(request, policy, floor);
  return decision.kind === 'refused' ? decision.reason : undefined;
}

const thrown = (seed: number) => harmlessPolicies(diceOf(seed, 'policies'));
const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

describe('the policies that a soak writes', () => {
  it('refuse no client when they are to be harmless, whatever the seed, and none of them has a problem', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const policies = thrown(seed);
        const told = policyOf(policies);
        expect(clients.map((pod) => refusalOf(pod, told))).toEqual(clients.map(() => undefined));
        const { authorization = [] } = told;
        expect(authorization.length).toBe(policies.length);
        expect(authorization.filter(({ problem }) => problem !== undefined)).toEqual([]);
        expect(authorization.filter(({ name }) => name === 'shop/soak-everybody').length).toBe(1);
        expect(authorization.length).toBeGreaterThanOrEqual(policyCount.least);
        expect(authorization.length).toBeLessThanOrEqual(policyCount.most);
      }),
      { numRuns: 20 },
    );
  });

  it('are of every action and on trial too, with those that would refuse a client were they not', () => {
    const { authorization = [] } = policyOf(thrown(1));
    const forms = new Set(authorization.map(({ action, isDryRun }) => `${action}${isDryRun ? ' on trial' : ''}`));
    expect(forms).toEqual(new Set(['ALLOW', 'DENY', 'AUDIT', 'DENY on trial', 'ALLOW on trial']));
    const untried = thrown(1).map((policy) => ({ ...policy, metadata: { ...metadataOf(policy), annotations: {} } }));
    expect(refusalOf('web', policyOf(untried))).toBe('policy_deny');
  });

  it('are the same for the same seed, and others for another one', () => {
    expect(thrown(1)).toEqual(thrown(1));
    expect(thrown(1)).not.toEqual(thrown(2));
  });

  it('refuse one identity and nobody else when that is denied, also among the harmless ones', () => {
    for (const beside of [[], thrown(1)]) {
      const told = policyOf([denyPolicy('web'), ...beside]);
      expect(refusalOf('web', told)).toBe('policy_deny');
      expect(refusalOf('api', told)).toBeUndefined();
    }
  });

  it('decide nothing when they are to say nothing', () => {
    for (const pod of clients) expect(refusalOf(pod, policyOf([idlePolicy('soak-idle')]))).toBeUndefined();
  });

  it('set the mode of the namespace over that of the mesh', () => {
    expect(policyOf([]).mode).toBe('STRICT');
    expect(policyOf([modePolicy('PERMISSIVE')]).mode).toBe('PERMISSIVE');
    expect(policyOf([modePolicy('STRICT')])).toMatchObject({ mode: 'STRICT', modeSetBy: 'shop/soak-mode' });
  });
});

const metadataOf = (object: object) => (object as { metadata: object }).metadata;
