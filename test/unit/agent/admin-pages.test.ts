import { parse } from 'valibot';
import { describe, expect, it } from 'vitest';
import type { ShownFailure } from '../../../src/admin-api.ts';
import { configPage, destinationsPage, policyPage, statusPage } from '../../../src/admin-api.ts';
import { changedSettings, configPageOf } from '../../../src/agent/config-page.ts';
import { destinationsPageOf } from '../../../src/agent/destinations-page.ts';
import { timedReadiness } from '../../../src/agent/gate-times.ts';
import { createLastMinute } from '../../../src/agent/last-minute.ts';
import { policyPageLimits, policyPageOf } from '../../../src/agent/policy-page.ts';
import type { StatusShown } from '../../../src/agent/status-page.ts';
import { statusPageOf } from '../../../src/agent/status-page.ts';
import { agentTable } from '../../../src/config/table.ts';
import { loadAgentSettings } from '../../../src/config.ts';
import type { AuthorizationPolicy, Destination } from '../../../src/control-api.ts';
import type { RevocationLists } from '../../../src/identity/revocations.ts';
import { createRevocations, noRevocations } from '../../../src/identity/revocations.ts';
import { createReadiness } from '../../../src/lifecycle.ts';
import { readinessGates, renewalReasons } from '../../../src/outcomes.ts';
import { modesInForce } from '../../../src/policy/mode.ts';
import { countPolicies } from '../../../src/policy/policy-states.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const clock = createFakeClock(Date.parse('2026-11-22T10:00:00Z'));
const nowMs = clock.now();
const ago = (seconds: number) => new Date(nowMs - seconds * 1000).toISOString();

const load = (...args: string[]) =>
  loadAgentSettings({
    args: ['--control-plane', 'https://control-plane', '--mesh-networks', '10.0.0.0/8', ...args],
    env: {},
    nodeFlags: [],
    uid: 1337,
    gid: 1337,
    readFile: () => '',
  });

describe('the policy', () => {
  const allow: AuthorizationPolicy = { name: 'shop/allow', action: 'ALLOW', rules: [{}] };
  const usual: readonly AuthorizationPolicy[] = [
    { ...allow, name: 'shop/trial', action: 'DENY', isDryRun: true },
    { ...allow, name: 'shop/audit', action: 'AUDIT' },
    allow,
    { ...allow, name: 'shop/deny', action: 'DENY' },
    { ...allow, name: 'shop/broken', rules: [], problem: 'spec.action: CUSTOM is not supported' },
  ];
  const page = (mode: 'STRICT' | 'PERMISSIVE' | undefined, args: readonly string[] = [], policies = usual) => {
    const { settings } = load(...args);
    const state = mode && { mode, modeSetBy: 'istio-system/default', authorization: [...policies] };
    return parse(
      policyPage,
      policyPageOf({
        nowMs,
        settings,
        policy: state,
        inForce: state && {
          modes: modesInForce(state, settings.minimumInboundMode),
          policies: countPolicies(policies),
          sinceMs: nowMs - 5000,
        },
      }),
    );
  };

  it('is what the control plane says, where that is strict enough', () => {
    const { inbound, lastUpdate } = page('PERMISSIVE', ['--minimum-inbound-mode', 'DISABLE']);
    expect(inbound).toMatchObject({
      modes: [{ port: '*', mode: 'PERMISSIVE', setBy: 'istio-system/default', fromPolicy: 'PERMISSIVE' }],
      modesLeftOut: 0,
      floor: 'DISABLE',
      allowedPeers: null,
    });
    expect(inbound.why).toContain('PeerAuthentications');
    expect(lastUpdate).toBe(ago(5));
  });

  it('says why the PeerAuthentication that sets a mode cannot be followed', () => {
    const { settings } = load();
    const policy = { mode: 'STRICT', modeSetBy: 'shop/api', modeProblem: 'spec.mtls.mode is "LAX"' } as const;
    const inForce = { modes: modesInForce(policy, 'DISABLE'), policies: countPolicies([]), sinceMs: nowMs };
    expect(parse(policyPage, policyPageOf({ nowMs, settings, policy, inForce })).inbound.modes).toEqual([
      { port: '*', mode: 'STRICT', setBy: 'shop/api', fromPolicy: 'STRICT', problem: 'spec.mtls.mode is "LAX"' },
    ]);
  });

  it('is the floor of the pod, where the control plane says less', () => {
    const { modes } = page('PERMISSIVE', ['--minimum-inbound-mode', 'STRICT']).inbound;
    expect(modes).toEqual([{ port: '*', mode: 'STRICT', setBy: 'floor', fromPolicy: 'PERMISSIVE' }]);
  });

  it('lists the AuthorizationPolicies in the order in which they are judged', () => {
    const { authorization } = page('STRICT');
    expect(authorization.policies.map(({ name }) => name)).toEqual([
      'shop/broken',
      'shop/deny',
      'shop/allow',
      'shop/audit',
      'shop/trial',
    ]);
    expect(authorization.policies[0]).toEqual({
      ...{ name: 'shop/broken', action: 'ALLOW', rules: 0, isDryRun: false },
      problem: 'spec.action: CUSTOM is not supported',
    });
    expect(authorization).toMatchObject({ leftOut: 0, deniesByDefault: true });
  });

  it('G21: shows of very many policies only the first', () => {
    const many = Array.from({ length: 10_000 }, (_, n) => ({ ...allow, name: `shop/allow-${n}` }));
    const { authorization } = page('STRICT', [], many);
    expect(authorization.policies).toHaveLength(policyPageLimits.policies);
    expect(authorization.leftOut).toBe(10_000 - policyPageLimits.policies);
  });

  it('is none before the first, and says what that means', () => {
    const { inbound, lastUpdate } = page(undefined);
    expect(inbound.modes).toEqual([]);
    expect(inbound.why).toContain('everything new that is inbound is refused');
    expect(lastUpdate).toBe(null);
  });
});

it('destinations are shown by address, with what is known of each endpoint', () => {
  const endpoint = { spiffeId: 'spiffe://cluster.local/ns/shop/sa/api', transport: 'hbone', ready: true } as const;
  const api: Destination = {
    address: '10.96.0.10:80',
    service: 'api.shop',
    ttlSeconds: 30,
    known: true,
    endpoints: [
      { ...endpoint, address: '10.0.0.7:8080', terminating: false, zone: 'a' },
      { ...endpoint, address: '10.0.0.8:8080', terminating: true },
      { address: '10.0.0.9:8080', spiffeId: '', transport: 'plaintext', ready: false, terminating: false },
    ],
  };
  const alone: Destination = { address: '10.0.0.7:8080', ttlSeconds: 30, known: true, endpoints: [] };
  const askedMs = clock.monotonic() - 90_000;
  const page = destinationsPageOf({
    clock,
    destinations: [
      { destination: api, askedMs },
      { destination: alone, askedMs: clock.monotonic() },
    ],
    isSetAside: ({ address }) => address === '10.0.0.8:8080',
  });
  const shown = { spiffeId: endpoint.spiffeId, transport: 'hbone', ready: true, terminating: false, isSetAside: false };
  expect(parse(destinationsPage, page).destinations).toEqual([
    { address: '10.0.0.7:8080', service: null, ageSeconds: 0, endpoints: [] },
    {
      address: '10.96.0.10:80',
      service: 'api.shop',
      ageSeconds: 90,
      endpoints: [
        { ...shown, address: '10.0.0.7:8080', zone: 'a' },
        { ...shown, address: '10.0.0.8:8080', zone: null, terminating: true, isSetAside: true },
        { ...shown, address: '10.0.0.9:8080', zone: null, spiffeId: null, transport: 'plaintext', ready: false },
      ],
    },
  ]);
});

describe('the settings', () => {
  it('are all there, each as a person would write it', () => {
    const { settings } = parse(configPage, configPageOf(load('--idle-timeout', 'never')));
    expect(Object.keys(settings)).toEqual(Object.keys(agentTable));
    expect(settings).toMatchObject({
      idleTimeout: { value: 'never', from: '--idle-timeout' },
      adminListen: { value: '127.0.0.1:15000', from: 'the default' },
      streamWindow: { value: '256KiB', from: 'the default' },
      includeInboundPorts: { value: '*', from: 'the default' },
      capture: { value: 'true', from: 'the default' },
    });
  });

  it('that differ from their defaults are those that were given and say something else, without secrets', () => {
    const given = ['--max-connections', '2', '--minimum-outbound', 'plaintext', '--app-metrics', '9102/?token=hunter2'];
    expect(changedSettings(load(...given))).toEqual([
      { name: 'controlPlane', typed: '--control-plane https://control-plane:15012', from: '--control-plane' },
      { name: 'meshNetworks', typed: '--mesh-networks 10.0.0.0/8', from: '--mesh-networks' },
      { name: 'appMetrics', typed: '--app-metrics 9102/?[hidden]', from: '--app-metrics' },
      { name: 'maxConnections', typed: '--max-connections 2', from: '--max-connections' },
    ]);
  });

  it('A5: hide what a Prometheus or the kubelet shows the application', () => {
    const { settings } = configPageOf(load('--app-metrics', '9102/metrics?token=hunter2'));
    expect(settings.appMetrics?.value).toBe('9102/metrics?[hidden]');
    expect(JSON.stringify(settings)).not.toContain('hunter2');
  });
});

describe('the status', () => {
  const shown: StatusShown = {
    nowMs,
    startedAtMs: nowMs - 60_000,
    settings: load().settings,
    readiness: timedReadiness(clock, createReadiness(['policy'])),
    identity: undefined,
    revocations: noRevocations,
    policyInForce: undefined,
    isControlPlaneUp: false,
    controlPlaneFacts: undefined,
    openNow: { connections: { inbound: 1, outbound: 2 }, tunnels: { inbound: 0, outbound: 1 } },
    placesNow: { inUse: 3, most: 10_000 },
    newConnections: createLastMinute(clock).counts(),
    interception: { proofs: [], bypassed: { inbound: 0, outbound: 0 } },
    failures: [],
    drain: { stage: 'serving', isStopping: false, open: 3 },
    changed: [],
  };

  it('says of each direction that nothing is known of, why', () => {
    const unknownOf = (parts: Partial<StatusShown>) => statusPageOf({ ...shown, ...parts }).interception.unknown;
    expect(unknownOf({})).toEqual([
      { direction: 'outbound', why: 'no proof yet' },
      { direction: 'inbound', why: 'control plane away' },
    ]);
    const proofs = [{ direction: 'outbound', family: 'ipv4', isOk: true } as const];
    const proved = { isControlPlaneUp: true, interception: { ...shown.interception, proofs } };
    expect(unknownOf(proved)).toEqual([{ direction: 'inbound', why: 'no proof yet, or not lately' }]);
    const alone = { ...shown.settings, includeInboundPorts: [] };
    expect(unknownOf({ ...proved, settings: alone })).toEqual([
      { direction: 'inbound', why: 'nothing inbound is to be captured' },
    ]);
  });

  it('names each gate, and why it is closed', () => {
    const page = parse(statusPage, statusPageOf(shown));
    expect(page.isReady).toBe(false);
    expect(page.gates.map(({ gate }) => gate)).toEqual(readinessGates);
    expect(page.gates.filter(({ isOpen }) => !isOpen)).toEqual([
      {
        gate: 'policy',
        isOpen: false,
        why: 'Not yet',
        since: ago(0),
        remedy: 'Look at the control plane below: policies come over its stream',
      },
    ]);
    expect(page.gates[0]).toEqual({ gate: 'listeners', isOpen: true, why: null, since: null, remedy: null });
    expect(page).toMatchObject({ identity: null, modes: [], policies: null, connections: { inbound: 1, outbound: 2 } });
  });

  it('knows a revoked identity from a revoked certificate, which a renewal replaces', () => {
    const authority = createTestAuthority('cluster.local');
    const current = createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web', nowMs: Date.now() });
    const renewal = { nextAttemptMs: undefined, lastFailure: undefined, clockSkewMs: undefined };
    const isRevoked = (lists: RevocationLists) =>
      statusPageOf({ ...shown, identity: { current, renewal }, revocations: createRevocations(lists) }).identity
        ?.isRevoked;
    expect(isRevoked({ certificates: [], identities: [current.spiffeId.uri] })).toBe(true);
    expect(isRevoked({ certificates: [{ serials: [current.leaf.serialNumber] }], identities: [] })).toBe(false);
  });

  it('has the calls that fail lately, in words', () => {
    const call = { kind: 'reports', sinceMs: nowMs - 900_000, reason: 'server_untrusted', message: 'CERT' } as const;
    const page = statusPageOf({
      ...shown,
      controlPlaneFacts: {
        sinceMs: nowMs - 5000,
        hasBeenUp: true,
        why: 'It ended',
        failing: [
          { ...call, lastMs: nowMs - 1000 },
          { ...call, kind: 'canary', lastMs: nowMs - 601_000 },
        ],
      },
    });
    expect(parse(statusPage, page).controlPlane).toEqual({
      address: 'https://control-plane:15012',
      isUp: false,
      since: ago(5),
      hasBeenUp: true,
      why: 'It ended',
      failing: [
        {
          ...{ call: 'reports', since: ago(900), last: ago(1), reason: 'server_untrusted', message: 'CERT' },
          ...renewalReasons.server_untrusted,
        },
      ],
    });
  });

  it('says of a missing identity what to do about the attempt that failed', () => {
    const remedyOf = (parts: Partial<StatusShown>) => {
      const readiness = timedReadiness(clock, createReadiness(['identity']));
      const { gates } = statusPageOf({ ...shown, readiness, ...parts });
      return gates.find(({ gate }) => gate === 'identity')?.remedy;
    };
    const times = { sinceMs: nowMs, lastMs: nowMs };
    const call = { kind: 'certificates', reason: 'server_untrusted', message: 'CERT', ...times } as const;
    const facts = { sinceMs: nowMs, hasBeenUp: false, why: undefined, failing: [call] };
    expect(remedyOf({ controlPlaneFacts: facts })).toBe(renewalReasons.server_untrusted.remedy);
    expect(remedyOf({})).toBe('Look at the reason, and in the log');
  });

  it('counts what failed within ten minutes, by kind, with the last of each', () => {
    const failure = (id: string, reason: string, seconds: number, direction: 'inbound' | 'outbound' = 'inbound') =>
      ({
        id,
        direction,
        outcome: 'denied',
        reason,
        at: ago(seconds),
        happened: 'It',
        remedy: 'Do',
        peerAddress: '10.0.0.9:1',
        openedAt: ago(seconds),
        durationMs: 1,
      }) as ShownFailure;
    const failures = [
      failure('e', 'no_endpoint', 1, 'outbound'),
      failure('d', 'default_deny', 2),
      failure('c', 'default_deny', 500),
      failure('b', 'default_deny', 601),
      failure('a', 'draining', 700),
    ];
    expect(parse(statusPage, statusPageOf({ ...shown, failures })).failures).toMatchObject([
      { direction: 'inbound', reason: 'default_deny', count: 2, last: ago(2), lastId: 'd' },
      { direction: 'outbound', reason: 'no_endpoint', count: 1, last: ago(1), lastId: 'e' },
    ]);
  });
});
