import { describe, expect, it } from 'vitest';
import type { PeerAuthentication } from '../../../../src/control-plane/policy/peer-authentication.ts';
import { shadowedBy, whyBefore } from '../../../../src/control-plane/policy/shadowed.ts';
import { peerAuthentication } from '../../../support/policy-objects.ts';

const old = { creationTimestamp: '2024-01-01T00:00:00Z' };
const young = { creationTimestamp: '2025-01-01T00:00:00Z' };
const ofApi = { selector: { app: 'api' } };
const shadowing = (one: PeerAuthentication, ...others: readonly PeerAuthentication[]) =>
  shadowedBy([one, ...others], 'istio-system')(one)?.name;

describe('a PeerAuthentication that counts for nobody', () => {
  const strict = peerAuthentication('shop/z-strict', 'STRICT', young);

  it('has an older one of the same scope before it, also one that leaves the mode UNSET', () => {
    expect(shadowing(strict, peerAuthentication('shop/default', 'UNSET', old))).toBe('default');
    expect(shadowing(peerAuthentication('shop/default', 'UNSET', old), strict)).toBeUndefined();
    expect(shadowing(strict, peerAuthentication('stock/default', 'UNSET', old))).toBeUndefined();
    const root = { ...strict, namespace: 'istio-system' };
    expect(shadowing(root, peerAuthentication('istio-system/default', 'PERMISSIVE', old))).toBe('default');
  });

  it('has an older one before it that selects all that it selects, and not one that selects less or others', () => {
    const api = peerAuthentication('shop/api', 'STRICT', { ...young, selector: { app: 'api', tier: 'back' } });
    const other = (selector: Record<string, string>) =>
      peerAuthentication('shop/other', 'PERMISSIVE', { ...old, selector });
    expect(shadowing(api, other({ app: 'api' }))).toBe('other');
    expect(shadowing(api, other({ app: 'web' }))).toBeUndefined();
    expect(shadowing({ ...api, ...ofApi }, other({ app: 'api', tier: 'back' }))).toBeUndefined();
    expect(shadowing(api, other({}))).toBeUndefined();
    const inRoot = { ...api, ...ofApi, namespace: 'istio-system' };
    expect(shadowing(inRoot, { ...inRoot, name: 'other', ...old })).toBeUndefined();
  });

  it('is told by age where that differs, and by name where it does not', () => {
    const other = peerAuthentication('shop/default', 'PERMISSIVE', old);
    expect(whyBefore(strict, other)).toBe('shop/default is older');
    expect(whyBefore(strict, { ...other, creationTimestamp: undefined })).toBe('shop/default is older');
    expect(whyBefore(strict, { ...other, ...young })).toBe('shop/default is as old, and the first by name');
  });
});
