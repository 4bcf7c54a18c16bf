import { describe, expect, it } from 'vitest';
import type { AuthorizationPolicy, PolicyState } from '../../../src/control-api.ts';
import type { ClosedReason } from '../../../src/outcomes.ts';
import type { InboundFloor } from '../../../src/policy/authorize.ts';
import { authorize } from '../../../src/policy/authorize.ts';
import type { Outcome } from '../../../src/proxy/account.ts';
import { createPermissions, sliceLimits } from '../../../src/proxy/inbound/permissions.ts';

const web = 'spiffe://cluster.local/ns/shop/sa/web';
const db = 'spiffe://cluster.local/ns/shop/sa/db';
const destination = { ip: '10.0.0.7', port: 80 };
const floor: InboundFloor = { minimumMode: 'DISABLE', allowedPeers: undefined };
const permissive: PolicyState = { mode: 'PERMISSIVE' };
const policy = (name: string, action: AuthorizationPolicy['action'], ...principals: string[]): AuthorizationPolicy => ({
  name: `shop/${name}`,
  action,
  rules: [{ from: [{ principals: principals.map((id) => id.slice('spiffe://'.length)) }] }],
});
const denies = (...ids: string[]): PolicyState => ({ ...permissive, authorization: [policy('deny', 'DENY', ...ids)] });

interface Cut extends Pick<Outcome, 'detail' | 'facts'> {
  readonly who: string;
  readonly reason: ClosedReason;
}

/** Connections under a policy that a test changes, and what became of them. */
function held(first: PolicyState | undefined, msOfDecision = 0) {
  const state = { policy: first };
  let nowMs = 0;
  const clock = { monotonic: () => (nowMs += msOfDecision) } as never;
  const permissions = createPermissions({ policy: { current: () => state.policy }, clock }, floor);
  const cuts: Cut[] = [];
  const permitOf = (principal: string | undefined) => authorize({ destination, principal }, state.policy, floor);
  const ground = (principal: string | undefined) => permissions.ground(permitOf(principal));
  return {
    permissions,
    cuts,
    permitOf,
    ground,
    set(next: PolicyState | undefined) {
      state.policy = next;
    },
    /** What `subscribe` brings about. */
    becomes(next: PolicyState | undefined) {
      state.policy = next;
      permissions.recheck();
    },
    carry: (principal: string | undefined, who = principal ?? 'plaintext') =>
      ground(principal).carry((reason, found) => cuts.push({ who, reason, ...found })),
  };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('a connection that is carried', () => {
  it('is cut as policy_change when it is not permitted any more, and its line says which policy and why', () => {
    const { carry, becomes, cuts } = held(permissive);
    carry(web);
    carry(db);
    becomes(denies(web));
    expect(cuts).toEqual([
      {
        who: web,
        reason: 'policy_change',
        detail: `The AuthorizationPolicy shop/deny denies ${web}`,
        facts: { decision: { policy: 'shop/deny', audited: undefined, dryRun: undefined } },
      },
    ]);
  });

  it('is not told of a policy that names nobody for it: once some are allowed, and it is not', () => {
    const { carry, becomes, cuts } = held(permissive);
    carry(web);
    becomes({ ...permissive, authorization: [policy('allow', 'ALLOW', db)] });
    expect(cuts).toMatchObject([{ detail: `AuthorizationPolicies allow some, and none of them ${web}` }]);
    expect(cuts[0]?.facts?.decision).toEqual({});
  });

  it('is cut in plaintext when its port becomes STRICT, and in mutual TLS it is not', () => {
    const { carry, becomes, cuts } = held({ mode: 'PERMISSIVE' });
    carry(undefined);
    carry(web);
    becomes({ mode: 'PERMISSIVE', ports: [{ port: 81, mode: 'STRICT', setBy: 'shop/other' }] });
    expect(cuts).toEqual([]);
    becomes({ mode: 'PERMISSIVE', ports: [{ port: 80, mode: 'STRICT', setBy: 'shop/api' }] });
    expect(cuts.map(({ who, reason }) => [who, reason])).toEqual([['plaintext', 'policy_change']]);
  });

  it('G6: is cut when a policy of its scope cannot be enforced as it is written', () => {
    const { carry, becomes, cuts } = held(permissive);
    carry(web);
    becomes({ mode: 'STRICT', authorization: [{ ...policy('broken', 'ALLOW'), rules: [], problem: 'CUSTOM' }] });
    expect(cuts).toMatchObject([{ reason: 'policy_change', facts: { decision: { policy: 'shop/broken' } } }]);
  });

  it('is left alone by a policy that loosens, and by one of AUDIT or on trial', () => {
    const { carry, becomes, cuts } = held(denies(db));
    carry(web);
    becomes({ ...permissive, authorization: [policy('audit', 'AUDIT', web)] });
    becomes({ ...permissive, authorization: [{ ...policy('trial', 'DENY', web), isDryRun: true }] });
    becomes(permissive);
    becomes({ mode: 'DISABLE' });
    expect(cuts).toEqual([]);
  });

  it('G23: goes on while the last policy cannot be understood, and is judged by the next that can', () => {
    const { carry, becomes, cuts } = held(permissive);
    carry(web);
    carry(db);
    becomes(undefined);
    expect(cuts).toEqual([]);
    becomes(denies(web));
    expect(cuts.map(({ who }) => who)).toEqual([web]);
  });

  it('is forgotten at its end', () => {
    const { carry, becomes, cuts, permissions } = held(permissive);
    const end = carry(web);
    expect(permissions.size).toBe(1);
    end();
    expect(permissions.size).toBe(0);
    becomes(denies(web));
    expect(cuts).toEqual([]);
  });
});

describe('a connection that begins', () => {
  it('G8: is refused when the policy has changed while the application was dialled', () => {
    const { permitOf, permissions, set } = held(permissive);
    const permit = permitOf(web);
    set(denies(web));
    expect(() => permissions.ground(permit)).toThrow(expect.objectContaining({ reason: 'policy_deny' }));
    set(undefined);
    expect(() => permissions.ground(permit)).toThrow(expect.objectContaining({ reason: 'policy_unavailable' }));
  });

  it('G8: is told of what is decided last, not of what was at first', () => {
    const { permitOf, permissions, set } = held(permissive);
    const permit = permitOf(web);
    set({ ...permissive, authorization: [policy('allow', 'ALLOW', web)] });
    expect(permissions.ground(permit).decision).toMatchObject({ policy: 'shop/allow' });
  });

  it('G8: is cut at once when the policy changes before it is carried', () => {
    const { ground, set, cuts } = held(permissive);
    const grounded = ground(web);
    set(denies(web));
    grounded.carry((reason) => cuts.push({ who: web, reason }));
    expect(cuts).toEqual([{ who: web, reason: 'policy_change' }]);
  });
});

describe('very many connections', () => {
  const crowd = 10 * sliceLimits.ms;

  it('are judged a slice in each turn', async () => {
    const { carry, becomes, cuts } = held(permissive, 1);
    for (let n = 0; n < crowd; n += 1) carry(web, `${n}`);
    becomes(denies(web));
    expect(cuts.length).toBeGreaterThan(0);
    expect(cuts.length).toBeLessThanOrEqual(sliceLimits.ms);
    const before = cuts.length;
    await turn();
    expect(cuts.length).toBeLessThanOrEqual(before + sliceLimits.ms);
    while (cuts.length < crowd) await turn();
    expect(new Set(cuts.map(({ who }) => who)).size).toBe(crowd);
  });

  it('are judged by the policy that is in force when their turn comes, and all of them anew by the last', async () => {
    const { carry, becomes, cuts } = held(permissive, 1);
    for (let n = 0; n < crowd; n += 1) carry(n % 2 ? web : db, `${n % 2 ? 'web' : 'db'} ${n}`);
    becomes(denies(web));
    await turn();
    expect(cuts.some(({ who }) => who.startsWith('db'))).toBe(false);
    becomes(denies(db));
    const early = cuts.filter(({ who }) => who.startsWith('web')).length;
    while (cuts.filter(({ who }) => who.startsWith('db')).length < crowd / 2) await turn();
    await turn();
    expect(cuts.filter(({ who }) => who.startsWith('web'))).toHaveLength(early);
  });

  it('are cut a few in each turn, however quickly they are judged', async () => {
    const { carry, becomes, cuts } = held(permissive);
    for (let n = 0; n < 5 * sliceLimits.cuts; n += 1) carry(web, `${n}`);
    becomes(denies(web));
    expect(cuts).toHaveLength(sliceLimits.cuts);
    await turn();
    expect(cuts).toHaveLength(2 * sliceLimits.cuts);
    while (cuts.length < 5 * sliceLimits.cuts) await turn();
  });

  it('are judged no faster when the policy changes again meanwhile', async () => {
    const { carry, becomes, cuts } = held(permissive, 1);
    for (let n = 0; n < crowd; n += 1) carry(web, `${n}`);
    becomes(denies(web));
    for (let changes = 0; changes < 5; changes += 1) becomes(denies(web));
    const before = cuts.length;
    await turn();
    expect(cuts.length - before).toBeLessThanOrEqual(sliceLimits.ms);
    while (new Set(cuts.map(({ who }) => who)).size < crowd) await turn();
  });

  it('are left where they are by a policy in the middle that nobody understands', async () => {
    const { carry, becomes, cuts } = held(permissive, 1);
    for (let n = 0; n < crowd; n += 1) carry(web, `${n}`);
    becomes(denies(web));
    becomes(undefined);
    const early = cuts.length;
    for (let n = 0; n < 20; n += 1) await turn();
    expect(cuts).toHaveLength(early);
    becomes(denies(web));
    while (new Set(cuts.map(({ who }) => who)).size < crowd) await turn();
  });
});
