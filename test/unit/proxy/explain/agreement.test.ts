import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAddress } from '../../../../src/addresses.ts';
import { wholePod } from '../../../../src/annotations.ts';
import { createCaptureRules } from '../../../../src/capture-scope.ts';
import type { Endpoint } from '../../../../src/control-api.ts';
import { DeniedError } from '../../../../src/errors.ts';
import { noRevocations } from '../../../../src/identity/revocations.ts';
import { createDrain } from '../../../../src/lifecycle.ts';
import type { OutboundRules, Resolution } from '../../../../src/policy/admit.ts';
import { admit, outboundFloors, outboundPolicies } from '../../../../src/policy/admit.ts';
import type { OutboundPermit, PermittedEndpoint } from '../../../../src/policy/permit.ts';
import { sidecarPorts } from '../../../../src/ports.ts';
import type { OutboundExplainParts } from '../../../../src/proxy/explain/outbound.ts';
import { explainOutbound } from '../../../../src/proxy/explain/outbound.ts';
import { createAffinities } from '../../../../src/proxy/outbound/affinities.ts';
import { createEndpointBook } from '../../../../src/proxy/outbound/endpoint-book.ts';
import { createRecentFailures } from '../../../../src/proxy/recent-failures.ts';
import { createSlots } from '../../../../src/proxy/slots.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../../support/identities.ts';

/*
 * Whatever the registry says and the pod demands: what is said of a destination is what `admit` decides for a connection
 * to it, endpoint by endpoint.
 */

const clock = createFakeClock(Date.now());
const { log } = captureLog();
const identity = createTestIdentity(createTestAuthority('cluster.local'), { namespace: 'shop', serviceAccount: 'web' });
const original = { ip: '10.96.0.10', port: 80 };
const own = '10.0.0.1';
const untouched = () => {
  throw new Error('Whoever explains must not do this');
};

const parts = {
  clock,
  log,
  drain: createDrain(clock),
  connections: createSlots(1),
  identity: { current: () => identity },
  revocations: { current: () => noRevocations },
  policy: { current: () => undefined },
  endpoints: createEndpointBook({ clock, log, counter: { logLineSuppressed: untouched } }),
  affinities: createAffinities(clock),
  failures: createRecentFailures(),
  isControlPlaneUp: () => true,
  captureProofs: () => [],
  pool: { tunnels: () => [], open: untouched, newerThan: untouched, retireOthersThan: untouched },
} as unknown as Omit<OutboundExplainParts, 'registry'>;

const endpoints = fc.record<Endpoint>({
  address: fc.constantFrom(`${own}:80`, '10.0.0.7:80', '10.0.0.8:80', '10.0.0.9:80', '[fd00::7]:80', 'no address'),
  spiffeId: fc.constantFrom(
    '',
    'nobody',
    'spiffe://cluster.local/ns/shop/sa/api',
    'spiffe://cluster.local/ns/shop/sa/db',
    'spiffe://other.example/ns/shop/sa/api',
  ),
  transport: fc.constantFrom('hbone', 'hbone', 'plaintext', 'direct'),
  ready: fc.boolean(),
  terminating: fc.boolean(),
});
const resolutions: fc.Arbitrary<Exclude<Resolution, { kind: 'outside' | 'no_policy' }>> = fc.oneof(
  fc.constant({ kind: 'unknown' } as const),
  fc.constant({ kind: 'unavailable', why: 'it is away' } as const),
  fc.array(endpoints, { maxLength: 6 }).map((list) => ({
    kind: 'known' as const,
    destination: {
      address: formatAddress(original),
      service: 'api.shop',
      endpoints: list,
      ttlSeconds: 30,
      known: true,
    },
  })),
);
const rulesOf = fc.record({
  policy: fc.constantFrom(...outboundPolicies),
  minimum: fc.constantFrom(...outboundFloors),
  self: fc.constant({ isOwnAddress: (ip: string) => ip === own, spiffeId: () => identity.spiffeId.uri }),
});

function decided(resolution: Resolution, rules: OutboundRules): OutboundPermit | DeniedError {
  try {
    return admit(original, resolution, rules);
  } catch (error) {
    if (error instanceof DeniedError) return error;
    throw error;
  }
}

const nameOf = (endpoint: PermittedEndpoint) =>
  `${formatAddress(endpoint.address)} ${endpoint.transport} ${endpoint.transport === 'plaintext' ? '' : endpoint.spiffeId}`;
const distinct = (names: readonly string[]) => [...new Set(names)].sort();

describe('what is said of a destination', () => {
  it('is what admit decides, whatever the registry says and the pod demands', async () => {
    await fc.assert(
      fc.asyncProperty(resolutions, rulesOf, fc.boolean(), fc.boolean(), async (inside, rules, isInMesh, hasPolicy) => {
        const resolution: Resolution = isInMesh ? inside : { kind: hasPolicy ? 'outside' : 'no_policy' };
        const policy = { current: () => (hasPolicy ? ({ mode: 'STRICT' } as const) : undefined) };
        const registry = { lookup: isInMesh ? async () => inside : untouched };
        const settings = { rules, reservedPorts: new Set<number>(), meshNetworks: { has: () => isInMesh } };
        const shown = await explainOutbound(
          original,
          createCaptureRules(wholePod, sidecarPorts),
          { ...parts, policy, registry },
          { ...settings, resolveTimeoutMs: 5000, hbonePort: 15008 },
        );
        const permit = decided(resolution, rules);
        const namesOf = (use: string) =>
          distinct(
            shown.endpoints
              .filter((endpoint) => endpoint.use === use)
              .map(({ address, transport, expectedId }) => `${address} ${transport} ${expectedId ?? ''}`),
          );
        if (permit instanceof DeniedError) {
          expect(shown.verdict).toMatchObject({ kind: 'refused', outcome: 'denied', reason: permit.reason });
          expect([...namesOf('chosen_from'), ...namesOf('reserve')]).toEqual([]);
          return;
        }
        const chosen = distinct(permit.endpoints.map(nameOf));
        expect(namesOf('chosen_from')).toEqual(chosen);
        // One that is named twice is chosen from if either entry is.
        const spare = distinct((permit.leaving ?? []).map(nameOf)).filter((name) => !chosen.includes(name));
        expect(namesOf('reserve')).toEqual(spare);
        const tried = shown.endpoints.filter(({ use }) => use !== 'not_used');
        const isVain = tried.every(({ refusal }) => refusal !== undefined);
        expect(shown.verdict.kind).toBe(isVain ? 'refused' : 'carried');
      }),
      { numRuns: 2000 },
    );
    expect(parts.connections.inUse).toBe(0);
  });
});
