import { describe, expect, it } from 'vitest';
import type { PolicyState } from '../../../src/control-api.ts';
import { DeniedError } from '../../../src/errors.ts';
import type { InboundFloor, InboundRequest } from '../../../src/policy/authorize.ts';
import { authorize, decideInbound } from '../../../src/policy/authorize.ts';
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
