import { describe, expect, it } from 'vitest';
import type { PolicyState } from '../../../src/control-api.ts';
import { DeniedError } from '../../../src/errors.ts';
import type { InboundFloor, InboundRequest } from '../../../src/policy/authorize.ts';
import { authorize, decideInbound, policyDecisionOf } from '../../../src/policy/authorize.ts';
import { effectiveMode, isSetByFloor, modes } from '../../../src/policy/mode.ts';

const web = 'spiffe://cluster.local/ns/shop/sa/web';
const destination = { ip: '10.0.0.7', port: 80 };
const noFloor: InboundFloor = { minimumMode: 'DISABLE', allowedPeers: undefined };

const verdict = (principal: string | undefined, policy: PolicyState | undefined, floor: Partial<InboundFloor> = {}) => {
  const request: InboundRequest = { destination, principal };
  try {
    return authorize(request, policy, { ...noFloor, ...floor }).destination;
  } catch (error) {
    if (error instanceof DeniedError) return error.reason;
    throw error;
  }
};

describe('authorize', () => {
  it('G5: refuses everybody before the first policy', () => {
    expect(verdict(web, undefined)).toBe('policy_unavailable');
    expect(verdict(undefined, undefined)).toBe('policy_unavailable');
  });

  it('permits a peer with an identity in every mode', () => {
    for (const mode of modes) expect(verdict(web, { mode })).toEqual(destination);
  });

  it('refuses a peer without identity under STRICT only', () => {
    expect(verdict(undefined, { mode: 'STRICT' })).toBe('default_deny');
    expect(verdict(undefined, { mode: 'PERMISSIVE' })).toEqual(destination);
    expect(verdict(undefined, { mode: 'DISABLE' })).toEqual(destination);
  });

  it('never goes below the floor of the pod', () => {
    expect(verdict(undefined, { mode: 'DISABLE' }, { minimumMode: 'STRICT' })).toBe('default_deny');
  });

  it('permits exactly the declared peers, byte for byte, when there are any', () => {
    const allowedPeers = new Set([web]);
    expect(verdict(web, { mode: 'STRICT' }, { allowedPeers })).toEqual(destination);
    for (const other of [`${web}/`, web.toUpperCase(), 'spiffe://cluster.local/ns/shop/sa/web2', undefined]) {
      expect(verdict(other, { mode: 'DISABLE' }, { allowedPeers })).toBe('default_deny');
    }
    expect(verdict(web, { mode: 'STRICT' }, { allowedPeers: new Set() })).toBe('default_deny');
  });
});

describe('whoever asks why', () => {
  it('hears what authorize goes by', () => {
    const floor = { ...noFloor, allowedPeers: new Set([web]) };
    expect(decideInbound({ destination, principal: web }, { mode: 'STRICT' }, noFloor)).toEqual({
      kind: 'permitted',
      by: 'mode',
    });
    expect(decideInbound({ destination, principal: web }, { mode: 'STRICT' }, floor)).toEqual({
      kind: 'permitted',
      by: 'allowed_peers',
    });
    expect(decideInbound({ destination, principal: undefined }, { mode: 'STRICT' }, noFloor)).toEqual({
      kind: 'refused',
      reason: 'default_deny',
      why: 'Port 80 is STRICT and the peer has no identity',
    });
  });

  it('hears whether it is the floor of the pod that sets the mode', () => {
    expect(isSetByFloor('PERMISSIVE', 'STRICT')).toBe(true);
    expect(isSetByFloor('STRICT', 'STRICT')).toBe(false);
    expect(isSetByFloor('STRICT', 'DISABLE')).toBe(false);
  });
});

describe('AuthorizationPolicies', () => {
  const anybody = { destination, principal: web };
  const nobody = { destination, principal: undefined };
  const named = (name: string, action: 'ALLOW' | 'DENY' | 'AUDIT', more: object = {}) => ({
    name,
    action,
    rules: [{}],
    ...more,
  });
  const decide = (authorization: PolicyState['authorization'], request: InboundRequest = anybody, floor = noFloor) =>
    decideInbound(request, { mode: 'PERMISSIVE', authorization }, floor);
  const onlyWeb = { ...noFloor, allowedPeers: new Set([web]) };

  it('permit by their name', () => {
    const authorization = [named('shop/allow', 'ALLOW')];
    expect(decide(authorization)).toEqual({ kind: 'permitted', by: 'policy', policy: 'shop/allow' });
    expect(decide(authorization, anybody, onlyWeb)).toEqual({ kind: 'permitted', by: 'policy', policy: 'shop/allow' });
  });

  it('leave the decision to the mode or the allowed peers where none allows anybody', () => {
    for (const authorization of [[], [named('shop/deny', 'DENY', { rules: [] })]]) {
      expect(decide(authorization)).toEqual({ kind: 'permitted', by: 'mode' });
      expect(decide(authorization, anybody, onlyWeb)).toEqual({ kind: 'permitted', by: 'allowed_peers' });
    }
  });

  it('permit nobody whom the mode or the allowed peers refuse', () => {
    const policy = { mode: 'STRICT' as const, authorization: [named('shop/allow', 'ALLOW')] };
    const strict = 'Port 80 is STRICT and the peer has no identity';
    expect(decideInbound(nobody, policy, noFloor)).toEqual({ kind: 'refused', reason: 'default_deny', why: strict });
    const another = `${web}2`;
    const why = `${another} is not among the allowed peers`;
    expect(decideInbound({ destination, principal: another }, policy, onlyWeb)).toMatchObject({ kind: 'refused', why });
    expect(decide([named('shop/allow', 'ALLOW')], nobody, onlyWeb)).toMatchObject({
      why: 'A peer without identity is not among the allowed peers',
    });
  });

  it('refuse with their name and a sentence', () => {
    const refused = (reason: string, why: string, policy?: string) => ({ kind: 'refused', reason, why, policy });
    const denying = [named('shop/deny', 'DENY')];
    expect(decide(denying)).toEqual(
      refused('policy_deny', `The AuthorizationPolicy shop/deny denies ${web}`, 'shop/deny'),
    );
    expect(decide(denying, nobody)).toMatchObject({
      why: 'The AuthorizationPolicy shop/deny denies a peer without identity',
    });
    expect(decide([named('shop/bad', 'ALLOW', { problem: 'x' })])).toEqual(
      refused(
        'policy_error',
        'The AuthorizationPolicy shop/bad cannot be enforced as it is written, so it denies everybody',
        'shop/bad',
      ),
    );
    expect(decide([named('shop/none', 'ALLOW', { rules: [] })])).toEqual(
      refused('default_deny', `AuthorizationPolicies allow some, and none of them ${web}`),
    );
  });

  it('are told of with the decision when they audit or are on trial', () => {
    const beside = [named('shop/audit', 'AUDIT'), named('shop/trial', 'DENY', { isDryRun: true })];
    const dryRun = { kind: 'denied', reason: 'policy_deny', by: 'shop/trial' };
    const told = { audited: ['shop/audit'], dryRun };
    expect(decide(beside)).toEqual({ kind: 'permitted', by: 'mode', ...told });
    expect(decide([...beside, named('a', 'ALLOW')])).toEqual({ kind: 'permitted', by: 'policy', policy: 'a', ...told });
    expect(decide([...beside, named('d', 'DENY')])).toMatchObject({
      kind: 'refused',
      policy: 'd',
      audited: told.audited,
    });
    expect(Object.keys(decide([named('shop/audit', 'AUDIT', { rules: [] })]))).toEqual(['kind', 'by']);
  });

  it.each<[string, object]>([
    ['policy', { policy: 'shop/deny' }],
    ['audited', { audited: ['shop/audit'] }],
    ['dryRun', { dryRun: { kind: 'allowed', by: undefined } }],
  ])('have to do with a decision by %s alone', (_, one) => {
    const all = { policy: undefined, audited: undefined, dryRun: undefined };
    expect(policyDecisionOf({ kind: 'permitted', by: 'mode', ...one })).toEqual({ ...all, ...one });
    expect(policyDecisionOf({ kind: 'permitted', by: 'mode' })).toBeUndefined();
  });

  it('are among the facts of a refusal', () => {
    const authorization = [named('shop/deny', 'DENY')];
    expect(() => authorize(anybody, { mode: 'STRICT', authorization }, noFloor)).toThrow(
      expect.objectContaining({ facts: { decision: expect.objectContaining({ policy: 'shop/deny' }) } }),
    );
  });
});

describe('effectiveMode', () => {
  it('is the stronger of the two', () => {
    for (const policy of modes) {
      for (const floor of modes) {
        const stronger = modes[Math.max(modes.indexOf(policy), modes.indexOf(floor))];
        expect(effectiveMode(policy, floor)).toBe(stronger);
      }
    }
  });
});
