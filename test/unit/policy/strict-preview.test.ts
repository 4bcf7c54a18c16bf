import { describe, expect, it } from 'vitest';
import type { PolicyState } from '../../../src/control-api.ts';
import type { PlaintextCaller } from '../../../src/policy/strict-preview.ts';
import { underStrict } from '../../../src/policy/strict-preview.ts';

const permissive: PolicyState = { mode: 'PERMISSIVE' };
const floor = { minimumMode: 'DISABLE', allowedPeers: undefined } as const;
const caller = (more: Partial<PlaintextCaller> = {}): PlaintextCaller => ({
  ip: '10.0.0.9',
  port: 8080,
  destinationIp: '10.0.0.1',
  isNode: false,
  meshedId: undefined,
  open: 0,
  spoke: 1,
  ...more,
});
const denying = (rule: NonNullable<PolicyState['authorization']>[number]['rules'][number]): PolicyState => ({
  ...permissive,
  authorization: [{ name: 'shop/no-batch', action: 'DENY', rules: [rule] }],
});

describe('a plaintext caller under STRICT', () => {
  it('loses what it is permitted now', () => {
    expect(underStrict(caller(), permissive, floor)).toEqual({ breaks: true });
    expect(underStrict(caller(), { mode: 'DISABLE' }, floor)).toEqual({ breaks: true });
  });

  it('loses nothing where an AuthorizationPolicy refuses it already, and only there', () => {
    const policy = denying({ from: [{ ipBlocks: ['10.0.0.9'] }], to: [{ ports: [8080] }] });
    expect(underStrict(caller(), policy, floor)).toMatchObject({
      breaks: false,
      why: expect.stringContaining('shop/no-batch'),
    });
    expect(underStrict(caller({ ip: '10.0.0.8' }), policy, floor)).toEqual({ breaks: true });
    expect(underStrict(caller({ port: 9090 }), policy, floor)).toEqual({ breaks: true });
    const toAddress = denying({ when: [{ key: 'destination.ip', values: ['10.0.0.1'] }] });
    expect(underStrict(caller(), toAddress, floor)).toMatchObject({ breaks: false });
    expect(underStrict(caller({ destinationIp: 'fd00::1' }), toAddress, floor)).toEqual({ breaks: true });
  });

  it('loses nothing where an ALLOW policy needs an identity', () => {
    const policy: PolicyState = {
      ...permissive,
      authorization: [{ name: 'shop/web', action: 'ALLOW', rules: [{ from: [{ principals: ['*'] }] }] }],
    };
    expect(underStrict(caller(), policy, floor)).toMatchObject({ breaks: false });
  });

  it('loses nothing where the floor of the pod is STRICT, or its list of peers is in the way', () => {
    expect(underStrict(caller(), permissive, { ...floor, minimumMode: 'STRICT' })).toMatchObject({ breaks: false });
    expect(underStrict(caller(), permissive, { ...floor, allowedPeers: new Set(['spiffe://a/b']) })).toMatchObject({
      breaks: false,
    });
  });

  it('loses nothing when it has a sidecar that was told plaintext, unless its identity is refused', () => {
    const meshedId = 'spiffe://cluster.local/ns/shop/sa/web';
    expect(underStrict(caller({ meshedId }), { mode: 'DISABLE' }, floor)).toEqual({
      breaks: false,
      why: 'It has a sidecar, and came in plaintext because the port was DISABLE',
    });
    const noWeb = denying({ from: [{ principals: [meshedId.slice('spiffe://'.length)] }] });
    expect(underStrict(caller({ meshedId }), noWeb, floor)).toEqual({ breaks: true });
    expect(underStrict(caller({ meshedId, isNode: true }), permissive, floor)).toEqual({ breaks: true });
  });

  it('loses nothing when it is the node and has only ever connected, as a TCP probe does', () => {
    const probe = { isNode: true, spoke: 0 };
    expect(underStrict(caller(probe), permissive, floor)).toMatchObject({ breaks: false });
    expect(underStrict(caller({ ...probe, spoke: 1 }), permissive, floor)).toEqual({ breaks: true });
    expect(underStrict(caller({ ...probe, open: 1 }), permissive, floor)).toEqual({ breaks: true });
    expect(underStrict(caller({ spoke: 0 }), permissive, floor)).toEqual({ breaks: true });
  });
});
