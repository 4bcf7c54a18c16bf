import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PolicyState } from '../../../../src/control-api.ts';
import type { ScopedPolicy } from '../../../../src/control-plane/policy/authorization-policy.ts';
import { notInForce } from '../../../../src/control-plane/policy/not-in-force.ts';
import type { PeerAuthentication, PeerMode } from '../../../../src/control-plane/policy/peer-authentication.ts';
import { countPolicyObjects } from '../../../../src/control-plane/policy/policy-counts.ts';
import { createSelection } from '../../../../src/control-plane/policy/select.ts';
import { createDeciding } from '../../../../src/control-plane/policy/workload-modes.ts';
import { modeOfPolicy, modes } from '../../../../src/policy/mode.ts';
import { labelledPod, peerAuthentication, scopedPolicy } from '../../../support/policy-objects.ts';

const rootNamespace = 'istio-system';
const trustDomain = 'cluster.local';
const api = labelledPod('shop/api-0', { app: 'api', tier: 'back' });
const old = { creationTimestamp: '2024-01-01T00:00:00Z' };
const young = { creationTimestamp: '2025-01-01T00:00:00Z' };
const ofApi = { selector: { app: 'api' } };

function selectionOf(
  peerAuthentications: readonly PeerAuthentication[],
  authorizationPolicies: readonly ScopedPolicy[] = [],
) {
  return createSelection(
    { peerAuthentications, authorizationPolicies, serviceEntries: [] },
    { rootNamespace, trustDomain },
  );
}

const modeOf = (...all: readonly PeerAuthentication[]) => selectionOf(all).policyFor('shop', api);
const namesOf = ({ authorization = [] }: PolicyState) => authorization.map(({ name }) => name);
const policiesOf = (...all: readonly ScopedPolicy[]) => namesOf(selectionOf([], all).policyFor('shop', api));

describe('the mode of a workload', () => {
  it('is PERMISSIVE where no PeerAuthentication sets one, and nobody set it', () => {
    expect(modeOf()).toEqual({ mode: 'PERMISSIVE' });
    expect(modeOf(peerAuthentication('istio-system/default', 'UNSET'))).toEqual({ mode: 'PERMISSIVE' });
    expect(modeOf(peerAuthentication('other/default', 'STRICT'))).toEqual({ mode: 'PERMISSIVE' });
  });

  it('is that of the narrowest PeerAuthentication that sets one', () => {
    const mesh = peerAuthentication('istio-system/default', 'STRICT');
    const namespace = peerAuthentication('shop/default', 'DISABLE');
    const workload = peerAuthentication('shop/api', 'PERMISSIVE', ofApi);
    expect(modeOf(mesh)).toEqual({ mode: 'STRICT', modeSetBy: 'istio-system/default' });
    expect(modeOf(mesh, namespace)).toEqual({ mode: 'DISABLE', modeSetBy: 'shop/default' });
    expect(modeOf(workload, mesh, namespace)).toEqual({ mode: 'PERMISSIVE', modeSetBy: 'shop/api' });
    expect(modeOf(mesh, namespace, { ...workload, selector: { app: 'web' } }).modeSetBy).toBe('shop/default');
    expect(modeOf(mesh, namespace, { ...workload, selector: { app: 'api', tier: 'front' } }).mode).toBe('DISABLE');
  });

  it('is inherited where a PeerAuthentication leaves it UNSET', () => {
    const mesh = peerAuthentication('istio-system/default', 'STRICT');
    const namespace = peerAuthentication('shop/default', 'UNSET');
    const workload = peerAuthentication('shop/api', 'UNSET', ofApi);
    expect(modeOf(mesh, namespace, workload)).toEqual({ mode: 'STRICT', modeSetBy: 'istio-system/default' });
  });

  it('is that of the oldest of several, then of the first by name, and one without a date is the oldest', () => {
    const b = peerAuthentication('shop/b', 'DISABLE', { ...ofApi, ...old });
    const a = peerAuthentication('shop/a', 'STRICT', { ...ofApi, ...young });
    expect(modeOf(a, b).modeSetBy).toBe('shop/b');
    expect(modeOf(b, { ...a, ...old }).modeSetBy).toBe('shop/a');
    expect(modeOf({ ...a, creationTimestamp: undefined }, b).modeSetBy).toBe('shop/a');
    expect(modeOf({ ...b, creationTimestamp: '2025-01-01T02:00:00+03:00' }, a).modeSetBy).toBe('shop/b');
    const wide = { selector: {} };
    expect(modeOf({ ...a, ...wide }, { ...b, ...wide }).modeSetBy).toBe('shop/b');
  });

  it('of the oldest that leaves it UNSET is inherited, whatever younger ones say', () => {
    const [first, second] = [
      peerAuthentication('shop/a', 'UNSET', old),
      peerAuthentication('shop/b', 'DISABLE', young),
    ];
    expect(modeOf(peerAuthentication('istio-system/m', 'STRICT'), first, second).mode).toBe('STRICT');
  });

  it('takes no selector of the root namespace, not even for the workloads there', () => {
    const root = peerAuthentication('istio-system/api', 'STRICT', ofApi);
    expect(modeOf(root)).toEqual({ mode: 'PERMISSIVE' });
    const pod = labelledPod('istio-system/api-0', { app: 'api' });
    expect(selectionOf([root]).policyFor('istio-system', pod)).toEqual({ mode: 'PERMISSIVE' });
  });

  it('in the root namespace is that of the mesh', () => {
    const mesh = peerAuthentication('istio-system/default', 'STRICT');
    const pod = labelledPod('istio-system/api-0');
    expect(selectionOf([mesh]).policyFor('istio-system', pod).modeSetBy).toBe('istio-system/default');
  });

  it('is told for ports with one of their own, which are those of a selector only', () => {
    const ports = new Map<number, PeerMode>([
      [9090, 'DISABLE'],
      [80, 'STRICT'],
      [81, 'UNSET'],
    ]);
    expect(modeOf(peerAuthentication('shop/api', 'PERMISSIVE', { ...ofApi, ports })).ports).toEqual([
      { port: 80, mode: 'STRICT', setBy: 'shop/api' },
      { port: 9090, mode: 'DISABLE', setBy: 'shop/api' },
    ]);
    expect(modeOf(peerAuthentication('shop/default', 'STRICT', { ports }))).not.toHaveProperty('ports');
  });

  it('is STRICT on every port where the PeerAuthentication cannot be followed', () => {
    const problem = 'spec.mtls.mode is "LAX"';
    const ports = new Map<number, PeerMode>([[80, 'DISABLE']]);
    expect(modeOf(peerAuthentication('shop/api', 'DISABLE', { ...ofApi, ports, problem }))).toEqual({
      mode: 'STRICT',
      modeSetBy: 'shop/api',
      modeProblem: problem,
    });
    const mesh = peerAuthentication('istio-system/m', 'UNSET', { problem });
    expect(modeOf(mesh)).toEqual({ mode: 'STRICT', modeSetBy: 'istio-system/m', modeProblem: problem });
    const narrower = peerAuthentication('shop/api', 'PERMISSIVE', ofApi);
    expect(modeOf(mesh, narrower)).toEqual({ mode: 'PERMISSIVE', modeSetBy: 'shop/api' });
  });
});

describe('the AuthorizationPolicies of a workload', () => {
  it('are those of the root namespace and of its own, for all or for its labels', () => {
    const all = [
      scopedPolicy('istio-system/all'),
      scopedPolicy('istio-system/api', ofApi),
      scopedPolicy('istio-system/web', { selector: { app: 'web' } }),
      scopedPolicy('shop/all', { selector: {} }),
      scopedPolicy('shop/api', { selector: { tier: 'back', app: 'api' } }),
      scopedPolicy('shop/front', { selector: { app: 'api', tier: 'front' } }),
      scopedPolicy('other/all'),
    ];
    expect(policiesOf(...all)).toEqual(['istio-system/all', 'shop/all', 'istio-system/api', 'shop/api']);
    const inRoot = labelledPod('istio-system/api-0', { app: 'api' });
    expect(namesOf(selectionOf([], all).policyFor('istio-system', inRoot))).toEqual([
      'istio-system/all',
      'istio-system/api',
    ]);
  });

  it('are not those that select a gateway', () => {
    expect(policiesOf(scopedPolicy('shop/gateway', { isSkipped: true }))).toEqual([]);
    expect(selectionOf([], []).policyFor('shop', api)).not.toHaveProperty('authorization');
  });

  it('are not selected by what every object inherits', () => {
    expect(policiesOf(scopedPolicy('shop/a', { selector: { constructor: 'Object' } }))).toEqual([]);
  });
});

describe('a pod that the registry does not hold', () => {
  it('gets a policy that denies everything while a selector may be for it', () => {
    const { authorization, mode } = selectionOf([], [scopedPolicy('shop/web', ofApi)]).policyFor('shop', undefined);
    expect([mode, authorization?.length]).toEqual(['PERMISSIVE', 1]);
    expect(authorization?.[0]).toMatchObject({ name: 'remora/unknown-pod', action: 'DENY', rules: [] });
    expect(authorization?.[0]?.problem).toMatch(/does not hold the pod/);
    const ofRoot = selectionOf([], [scopedPolicy('istio-system/web', ofApi)]);
    expect(namesOf(ofRoot.policyFor('shop', undefined))).toEqual(['remora/unknown-pod']);
  });

  it('is STRICT while a selector of its namespace may be for it', () => {
    const lax = peerAuthentication('shop/api', 'DISABLE', ofApi);
    const selection = selectionOf([peerAuthentication('shop/default', 'PERMISSIVE'), lax]);
    expect(selection.policyFor('shop', undefined)).toEqual({ mode: 'STRICT', modeSetBy: 'remora/unknown-pod' });
    expect(selection.policyFor('other', undefined)).toEqual({ mode: 'PERMISSIVE' });
  });

  it('is never taken for one that objects of the names which are told to it select', () => {
    const known = labelledPod('remora/api-0', { app: 'api' });
    const lax = peerAuthentication('remora/unknown-pod', 'PERMISSIVE', ofApi);
    const open = scopedPolicy('remora/unknown-pod', ofApi);
    for (const isKnownFirst of [true, false]) {
      const modes = selectionOf([lax]);
      const policies = selectionOf([], [open]);
      const pods = isKnownFirst ? [known, undefined] : [undefined, known];
      const told = pods.map((pod) => [
        modes.policyFor('remora', pod).mode,
        policies.policyFor('remora', pod).authorization?.[0]?.action,
      ]);
      const expected = [
        ['PERMISSIVE', 'ALLOW'],
        ['STRICT', 'DENY'],
      ];
      expect(told).toEqual(isKnownFirst ? expected : expected.toReversed());
      expect(policies.policyFor('other', undefined)).not.toHaveProperty('authorization');
    }
  });

  it('gets what needs no labels', () => {
    const selection = selectionOf([peerAuthentication('shop/default', 'DISABLE')], [scopedPolicy('shop/all')]);
    expect(selection.policyFor('shop', undefined)).toMatchObject({ mode: 'DISABLE', modeSetBy: 'shop/default' });
    expect(namesOf(selection.policyFor('shop', undefined))).toEqual(['shop/all']);
  });
});

describe('the same selection', () => {
  const selection = selectionOf(
    [peerAuthentication('shop/api', 'STRICT', ofApi)],
    [scopedPolicy('istio-system/all'), scopedPolicy('shop/web', { selector: { app: 'web' } })],
  );

  it('is one object for all whom the same objects select', () => {
    const other = labelledPod('shop/api-1', { app: 'api', tier: 'front' });
    expect(selection.policyFor('shop', other)).toBe(selection.policyFor('shop', api));
    expect(selection.policyFor('a', labelledPod('a/x'))).toBe(selection.policyFor('b', labelledPod('b/y')));
  });

  it('is another one for others', () => {
    const states = [api, labelledPod('shop/w', { app: 'web' }), labelledPod('shop/x'), undefined].map((pod) =>
      selection.policyFor('shop', pod),
    );
    expect(new Set(states).size).toBe(4);
  });
});

describe('the mode of a port of a pod', () => {
  it('is what its policy says', () => {
    const ports = new Map<number, PeerMode>([[80, 'DISABLE']]);
    const selection = selectionOf([peerAuthentication('shop/api', 'STRICT', { ...ofApi, ports })]);
    expect([80, 81].map((port) => selection.modeAt(api, port))).toEqual(['DISABLE', 'STRICT']);
    expect(selection.modeAt(labelledPod('shop/x'), 80)).toBe('PERMISSIVE');
    expect(selectionOf([]).modeAt(api, 80)).toBe('PERMISSIVE');
  });
});

it('counts objects as accepted, invalid, or skipped because they count for no workload', () => {
  const problem = 'It is wrong';
  const peerAuthentications = [
    peerAuthentication('istio-system/default', 'STRICT'),
    peerAuthentication('shop/wrong', 'STRICT', { problem }),
    peerAuthentication('istio-system/narrow', 'STRICT', { ...ofApi, problem }),
    peerAuthentication('shop/z-behind', 'STRICT'),
  ];
  const authorizationPolicies = [
    scopedPolicy('shop/fine'),
    scopedPolicy('shop/wrong', { policy: { problem } }),
    scopedPolicy('shop/gateway', { isSkipped: true, policy: { problem } }),
    scopedPolicy('istio-system/narrow', ofApi),
  ];
  const counts = countPolicyObjects({ peerAuthentications, authorizationPolicies }, rootNamespace);
  expect(counts).toEqual({ accepted: 3, invalid: 2, skipped: 3 });
});

describe('a PeerAuthentication that is not in force', () => {
  const reasons = (...all: readonly PeerAuthentication[]) =>
    Object.fromEntries(
      [...notInForce(all, rootNamespace)].map(([{ namespace, name }, why]) => [`${namespace}/${name}`, why]),
    );
  const of = (name: string, rest: Partial<PeerAuthentication> = {}) => peerAuthentication(name, 'STRICT', rest);

  it('is one behind an older one of the whole namespace', () => {
    const all = [of('demo/a-strict', young), of('demo/default', old), of('shop/default', young)];
    expect(reasons(...all)).toEqual({ 'demo/a-strict': 'is not in force: demo/default is older' });
  });

  it('is the later by name of two that are equally old', () => {
    expect(reasons(of('demo/z', { selector: {} }), of('demo/default'))).toEqual({
      'demo/z': 'is not in force: demo/default is as old, and the first by name',
    });
  });

  it('is one behind an older one with the same labels, or with some of them, and not behind one with others', () => {
    const selector = { app: 'api', tier: 'back' };
    const all = [
      of('shop/wide', { ...old }),
      of('shop/api', { ...old, ...ofApi }),
      of('shop/same', { ...young, ...ofApi }),
      of('shop/narrow', { ...young, selector }),
      of('shop/other', { ...young, selector: { app: 'web' } }),
      of('shop/part', { ...young, selector: { tier: 'back' } }),
    ];
    const why = 'is not in force: shop/api is older';
    expect(reasons(...all)).toEqual({ 'shop/same': why, 'shop/narrow': why });
  });

  it('is one with a selector in the root namespace', () => {
    expect(reasons(of('istio-system/narrow', ofApi), of('istio-system/wide', young))).toEqual({
      'istio-system/narrow':
        'is not in force: in the root namespace istio-system one with a selector counts for nobody',
    });
  });
});

describe('beside a second implementation', () => {
  const namespace = fc.constantFrom('istio-system', 'shop', 'other');
  const labels = fc.dictionary(fc.constantFrom('app', 'tier'), fc.constantFrom('a', 'b'), { maxKeys: 2 });
  const peerMode = fc.constantFrom<PeerMode>('UNSET', ...modes);
  const scope = fc.record({
    namespace,
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    creationTimestamp: fc.constantFrom(undefined, '2024-01-01T00:00:00Z', '2025-01-01T00:00:00Z'),
    selector: fc.option(labels, { nil: undefined }),
  });
  const isUnique = { selector: (one: { namespace: string; name: string }) => `${one.namespace}/${one.name}` };
  const authentications = fc.uniqueArray(
    fc
      .tuple(
        scope,
        peerMode,
        fc.uniqueArray(fc.tuple(fc.constantFrom(80, 81), peerMode), { selector: ([port]) => port }),
      )
      .map(([one, mode, ports]) => ({ ...one, mode, ports: new Map(ports), problem: undefined })),
    isUnique,
  );
  const policies = fc.uniqueArray(
    fc
      .tuple(scope, fc.boolean())
      .map(([one, isSkipped]) => scopedPolicy(`${one.namespace}/${one.name}`, { ...one, isSkipped })),
    isUnique,
  );

  it('selects the same, port by port and policy by policy, for one workload after the other', () => {
    const workloads = fc.array(fc.tuple(namespace, labels), { minLength: 1, maxLength: 6 });
    const ports = [79, 80, 81];
    fc.assert(
      fc.property(authentications, policies, workloads, (peers, scoped, asking) => {
        const selection = selectionOf(peers, scoped);
        for (const [where, wanted] of asking) {
          const pod = labelledPod(`${where}/x`, wanted);
          const state = selection.policyFor(where, pod);
          const expected = ports.map((port) => naiveMode(peers, where, wanted, port));
          expect(ports.map((port) => selection.modeAt(pod, port))).toEqual(expected);
          expect(ports.map((port) => modeOfPolicy(state, port).mode)).toEqual(expected);
          expect(namesOf(state).sort()).toEqual(naivePolicies(scoped, where, wanted));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('tells of every PeerAuthentication that decides for no workload, and of no other', () => {
    fc.assert(
      fc.property(authentications, (peers) => {
        const without = notInForce(peers, rootNamespace);
        const deciding = createDeciding(peers, rootNamespace);
        const used = new Set(
          ['istio-system', 'shop', 'other'].flatMap((where) =>
            allLabels.flatMap((labels) => Object.values(deciding(where, labels))),
          ),
        );
        expect(peers.filter((one) => !without.has(one))).toEqual(peers.filter((one) => used.has(one)));
      }),
      { numRuns: 500 },
    );
  });
});

/** What pods can wear of the labels that are drawn. */
const allLabels = [undefined, 'a', 'b'].flatMap((app) =>
  [undefined, 'a', 'b'].map((tier) => ({ ...(app && { app }), ...(tier && { tier }) })),
);

function matchesAll(selector: Readonly<Record<string, string>> | undefined, wanted: Readonly<Record<string, string>>) {
  for (const key of Object.keys(selector ?? {})) if (wanted[key] !== selector?.[key]) return false;
  return true;
}

/** One pass for each level, as Istio's documentation words it. */
function naiveMode(
  all: readonly PeerAuthentication[],
  where: string,
  wanted: Readonly<Record<string, string>>,
  port: number,
) {
  const isSelector = ({ selector }: PeerAuthentication) => Object.keys(selector ?? {}).length > 0;
  const oldest = (some: readonly PeerAuthentication[]) =>
    [...some].sort((one, other) => {
      const [first = '', second = ''] = [one.creationTimestamp, other.creationTimestamp];
      if (first !== second) return first < second ? -1 : 1;
      return one.name.localeCompare(other.name);
    })[0];
  const mesh = oldest(all.filter((one) => one.namespace === rootNamespace && !isSelector(one)));
  const own = where === rootNamespace ? [] : all.filter((one) => one.namespace === where);
  const namespaceWide = oldest(own.filter((one) => !isSelector(one)));
  const workload = oldest(own.filter((one) => isSelector(one) && matchesAll(one.selector, wanted)));
  let mode: PeerMode = 'PERMISSIVE';
  for (const one of [mesh, namespaceWide, workload]) if (one !== undefined && one.mode !== 'UNSET') mode = one.mode;
  const ofPort = workload?.ports.get(port) ?? 'UNSET';
  return ofPort === 'UNSET' ? mode : ofPort;
}

function naivePolicies(all: readonly ScopedPolicy[], where: string, wanted: Readonly<Record<string, string>>) {
  return all
    .filter(({ isSkipped }) => !isSkipped)
    .filter((one) => one.namespace === rootNamespace || one.namespace === where)
    .filter(({ selector }) => matchesAll(selector, wanted))
    .map(({ policy }) => policy.name)
    .sort();
}
