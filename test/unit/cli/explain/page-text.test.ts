import { describe, expect, it } from 'vitest';
import type { ShownFailure } from '../../../../src/admin-api.ts';
import { explainText } from '../../../../src/cli/explain/page-text.ts';
import type { InboundPage, OutboundPage, ShownEndpointFacts, ShownOutbound } from '../../../../src/explain-api.ts';

const now = '2026-11-22T13:00:00.000Z';
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const webId = 'spiffe://cluster.local/ns/shop/sa/web';

const endpoint = (over: Partial<ShownEndpointFacts> = {}): ShownEndpointFacts => ({
  address: '10.0.0.7:8080',
  via: '10.0.0.7:15008',
  transport: 'hbone',
  expectedId: apiId,
  isReady: true,
  isTerminating: false,
  use: 'chosen_from',
  connections: 0,
  tunnels: 0,
  streams: 0,
  ...over,
});
const destination = (over: Partial<ShownOutbound> = {}): ShownOutbound => ({
  destination: '10.96.0.10:80',
  verdict: { kind: 'carried', sentence: '10.96.0.10:80 would be reached' },
  capture: { isCaptured: true, rule: 'Everything else', isProved: true },
  registry: { answer: 'known', service: 'api.shop', heldForSeconds: 12, isControlPlaneUp: true },
  outboundPolicy: 'ALLOW_ANY',
  minimumOutbound: 'plaintext',
  endpoints: [endpoint()],
  endpointsNotShown: 0,
  keptAt: null,
  recentFailures: [],
  ...over,
});
const to = (...destinations: ShownOutbound[]): OutboundPage => ({ kind: 'to', now, to: '10.96.0.10:80', destinations });
const failure = (over: Partial<ShownFailure> = {}): ShownFailure => ({
  id: 'abc-1',
  direction: 'outbound',
  peerAddress: '127.0.0.1:40000',
  originalDestination: '10.96.0.10:80',
  openedAt: '2026-11-22T12:57:59.000Z',
  at: '2026-11-22T12:58:00.000Z',
  durationMs: 1000,
  outcome: 'handshake',
  reason: 'expired',
  happened: 'A certificate has expired',
  remedy: 'Look at the clocks',
  ...over,
});
const refusal = {
  outcome: 'handshake',
  reason: 'peer_identity',
  happened: 'The peer proved another identity',
  remedy: 'Check which workload runs there',
  detail: 'it is somebody else',
} as const;

describe('a connection of the application', () => {
  it('is read from the verdict down, in the order of its steps', () => {
    const page = to(
      destination({
        endpoints: [
          endpoint({ tunnels: 1, streams: 3 }),
          endpoint({ address: '10.0.0.8:8080', setAside: { ...refusal, failures: 2, forSeconds: 4 } }),
          endpoint({ address: '10.0.0.9:8080', use: 'reserve', why: 'It is terminating' }),
          endpoint({ address: '10.0.0.10:8080', use: 'not_used', isReady: false, why: 'It is not ready' }),
        ],
        endpointsNotShown: 7,
        keptAt: '10.0.0.7:8080',
        recentFailures: [failure({ detail: 'it ended 5 s ago' })],
      }),
    );
    expect(explainText(page)).toEqual([
      '10.96.0.10:80 would be reached',
      '',
      "Captured    yes, by the rule 'Everything else'",
      'Registry    knows it as api.shop; known for 12s, and the control plane says when it changes',
      'Admitted    yes',
      '            --minimum-outbound is plaintext, --outbound-policy ALLOW_ANY',
      `Endpoints   10.0.0.7:8080 by hbone through 10.0.0.7:15008, expected as ${apiId}`,
      '              1 tunnel open, with 3 connections',
      `            10.0.0.8:8080 by hbone through 10.0.0.7:15008, expected as ${apiId}`,
      '              Set aside for 4s more, after 2 failures: The peer proved another identity (peer_identity): it is somebody else',
      '              No tunnel is open',
      `            10.0.0.9:8080 by hbone through 10.0.0.7:15008, expected as ${apiId}`,
      '              In reserve: It is terminating',
      '              No tunnel is open',
      `            10.0.0.10:8080 by hbone through 10.0.0.7:15008, expected as ${apiId}`,
      '              Not used: It is not ready',
      '            and 7 more',
      '            All connections of this pod go to 10.0.0.7:8080 for now',
      'Lately      2m ago: A certificate has expired (expired, abc-1): it ended 5 s ago',
    ]);
  });

  it('has the reason, what was found and what to do below a refusal', () => {
    const verdict = { kind: 'refused', sentence: '10.96.0.10:80 would be refused: no', ...refusal } as const;
    const other = { ...refusal, reason: 'revoked', detail: 'by name' };
    const recentFailures = [failure({ ...refusal })];
    const endpoints = [endpoint({ refusal }), endpoint({ refusal: other })];
    const lines = explainText(to(destination({ verdict, endpoints, recentFailures })));
    expect(lines.slice(0, 3)).toEqual([
      '10.96.0.10:80 would be refused: no',
      '  peer_identity: it is somebody else',
      '  What to do: Check which workload runs there',
    ]);
    expect(lines).toContain('              Would be refused: peer_identity, as above');
    expect(lines).toContain('              Would be refused: The peer proved another identity (revoked): by name');
    expect(lines).toContain('Lately      2m ago: peer_identity, as above (abc-1)');
  });

  it('says a single cause once, where the sentence has it', () => {
    const over = { ...refusal, outcome: 'denied', reason: 'identity_expired', detail: 'It was revoked' } as const;
    const verdict = { kind: 'refused', sentence: '10.96.0.10:80 would be refused: It was revoked', ...over } as const;
    const lines = explainText(to(destination({ verdict, endpoints: [] })));
    expect(lines.slice(0, 2)).toEqual(['10.96.0.10:80 would be refused: It was revoked', '  identity_expired']);
  });

  it('has what failed last, what to do and whom to ask below a verdict that experience speaks against', () => {
    const latest = failure({ ...refusal, tunnelTo: '10.0.0.7:15008' });
    const verdict = { kind: 'carried', sentence: '10.96.0.10:80 would be attempted, but the last 5 FAILED' } as const;
    const lately = { failures: 5, since: now, latest };
    expect(explainText(to(destination({ verdict, lately }))).slice(0, 5)).toEqual([
      '10.96.0.10:80 would be attempted, but the last 5 FAILED',
      '  peer_identity: it is somebody else',
      '  What to do: Check which workload runs there',
      '  `remora explain abc-1` tells of the latest, through 10.0.0.7:15008',
      '',
    ]);
  });

  it('has what to do below a verdict that it goes around the sidecar', () => {
    const verdict = { kind: 'goes_around', sentence: 'It GOES AROUND', remedy: 'Delete the pod' } as const;
    expect(explainText(to(destination({ verdict, registry: null, endpoints: [] }))).slice(0, 3)).toEqual([
      'It GOES AROUND',
      '  What to do: Delete the pod',
      '',
    ]);
  });

  it.each<[string, ShownOutbound['registry'], string]>([
    [
      'the control plane is away',
      { answer: 'known', heldForSeconds: 90, isControlPlaneUp: false },
      'Registry    knows it as a pod with a sidecar; known for 1m30s, and the control plane is away',
    ],
    [
      'nobody has answered',
      { answer: 'unavailable', why: 'no answer in time', heldForSeconds: null, isControlPlaneUp: false },
      'Registry    inside the mesh networks, and there is no answer: no answer in time',
    ],
    [
      'nobody was asked',
      { answer: 'outside', heldForSeconds: null, isControlPlaneUp: true },
      'Registry    not asked: it is outside the mesh networks, and no ServiceEntry registers it',
    ],
    [
      'there is no policy',
      { answer: 'no_policy', heldForSeconds: null, isControlPlaneUp: true },
      'Registry    not asked: it is outside the mesh networks, and what is registered is not known yet',
    ],
    [
      'a ServiceEntry answers',
      { answer: 'known', entry: 'shop/db', isRegistered: true, heldForSeconds: null, isControlPlaneUp: true },
      'Registry    knows it by the ServiceEntry shop/db; the control plane was asked just now',
    ],
    [
      'what is registered is not known',
      { answer: 'unknown', isRegistered: true, heldForSeconds: null, isControlPlaneUp: true },
      'Registry    registered by a ServiceEntry, and the control plane does not know it',
    ],
  ])('says when %s', (_name, registry, line) => {
    expect(explainText(to(destination({ registry })))).toContain(line);
  });

  it('says loudly when the rules are not in order', () => {
    const capture = { isCaptured: true, rule: 'Everything else', isProved: false };
    expect(explainText(to(destination({ capture })))).toContain(
      "Captured    NO, THE RULES DO NOT HOLD: it should be, by the rule 'Everything else'",
    );
  });

  it('is one of several where a name has several addresses', () => {
    const page = { ...to(destination(), destination({ destination: '10.96.0.11:80' })), to: 'api.shop:80' };
    expect(explainText(page)[0]).toBe('api.shop:80 is 10.96.0.10:80 and 10.96.0.11:80');
    expect(explainText({ ...to(), to: 'api.shop:80', lookupFailure: 'The name api.shop was not found' })).toEqual([
      'api.shop:80 would not even be dialled: The name api.shop was not found',
    ]);
  });

  it('cannot steer the terminal, whatever the registry says', () => {
    const registry = {
      answer: 'known',
      service: 'api\u001b[2J',
      heldForSeconds: null,
      isControlPlaneUp: true,
    } as const;
    const endpoints = [endpoint({ expectedId: 'spiffe://a/\u202Eb', why: '\u0007', use: 'not_used' })];
    const lines = explainText(to(destination({ registry, endpoints })));
    expect(lines.join('')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(lines.join('')).toContain('api\uFFFD[2J');
  });
});

describe('a peer', () => {
  const page: InboundPage = {
    kind: 'from',
    now,
    from: webId,
    identity: { at: null, trustDomain: 'cluster.local', isTrustDomainKnown: true, revoked: null },
    caller: null,
    hasControlPlane: true,
    minimumInboundMode: 'STRICT',
    ports: [
      {
        ports: 'port 8080',
        verdict: { kind: 'carried', sentence: `${webId} to port 8080 would be let in` },
        capture: { isCaptured: true, rule: 'Everything else', isProved: null },
        mode: { mode: 'STRICT', setBy: 'floor', fromPolicy: 'PERMISSIVE' },
        permittedBy: 'No policy narrows who may connect',
      },
    ],
    portsNotShown: 0,
    recentFailures: [],
  };

  it('is read in the order in which it is taken', () => {
    expect(explainText(page)).toEqual([
      `${webId} to port 8080 would be let in`,
      '',
      'Captured    its sidecar comes through a tunnel, which is never captured',
      "            mutual TLS with the port itself: yes, by the rule 'Everything else'",
      'Identity    its trust domain cluster.local has a trust bundle here',
      '            not revoked; its certificate has to prove it',
      'Mode        STRICT: --minimum-inbound-mode of this pod sets it; the policy says PERMISSIVE',
      'Permitted   No policy narrows who may connect',
    ]);
  });

  it.each<[NonNullable<InboundPage['caller']>, string]>([
    [{ answer: 'sidecar', spiffeId: webId }, `a pod with a sidecar there: ${webId}`],
    [{ answer: 'no_sidecar' }, 'a pod without a sidecar there'],
    [{ answer: 'unknown' }, 'the registry knows nobody there'],
    [{ answer: 'unavailable', why: 'it is away' }, 'not known: it is away'],
  ])('without identity is whom the registry has at its address: %j', (caller, words) => {
    const lines = explainText({ ...page, identity: null, caller });
    expect(lines.find((line) => line.startsWith('Caller'))).toContain(words);
  });

  it('whom nobody may rely on is shown with why, and so is a trust domain without a bundle', () => {
    const identity = {
      at: null,
      trustDomain: 'other.example',
      isTrustDomainKnown: false,
      revoked: 'the list is out of date',
    };
    const lines = explainText({ ...page, identity });
    expect(lines).toContain('Identity    its trust domain other.example has NO trust bundle here');
    expect(lines).toContain('            NOT RELIED ON: the list is out of date');
  });

  it('is told which policies there are, which one decides, and what those say that decide nothing', () => {
    const [port] = page.ports;
    const mode = { mode: 'PERMISSIVE', setBy: 'shop/api', fromPolicy: 'PERMISSIVE' } as const;
    const counts = { enforced: 2, audit: 11, dry_run: 1, invalid: 1 };
    const audited = ['shop/audit-a', 'shop/audit-b'];
    const dryRun = { verdict: 'denied', reason: 'policy_deny', policy: 'shop/trial' } as const;
    const policies = { ...counts, policy: 'shop/allow', audited, auditedCount: 11, dryRun };
    const lines = explainText({ ...page, portsNotShown: 3, ports: [{ ...port!, mode, policies }] });
    expect(lines.slice(lines.findIndex((line) => line.startsWith('Mode')))).toEqual([
      'Mode        PERMISSIVE: shop/api sets it; --minimum-inbound-mode of this pod is STRICT',
      'Policies    2 enforced, 1 INVALID, 11 of AUDIT, 1 on trial; shop/allow decides',
      '            audited by shop/audit-a, shop/audit-b and 9 more',
      '            with those on trial in force: denied by shop/trial (policy_deny)',
      '            without its address DENY rules about one hold, and none of ALLOW: --at says from where',
      'Permitted   No policy narrows who may connect',
      '',
      '3 more ports that the policy treats in a way of their own: --port explains one',
    ]);
  });

  it('is told of which port a failure was, where that is known', () => {
    const recentFailures = [
      failure({ originalDestination: '10.0.0.7:8080', detail: undefined }),
      failure({ originalDestination: undefined, tunnelTo: '10.0.0.7:15008', detail: undefined }),
    ];
    const text = explainText({ ...page, recentFailures }).join('\n');
    expect(text).toMatch(/Lately .* ago, to 10\.0\.0\.7:8080: /);
    expect(text).toMatch(/ ago, a tunnel to 10\.0\.0\.7:15008, for whichever port: /);
  });

  it('is told that the PeerAuthentication which sets the mode is invalid, and why', () => {
    const [port] = page.ports;
    const mode = {
      mode: 'STRICT',
      setBy: 'shop/api',
      fromPolicy: 'STRICT',
      problem: 'spec.mtls.mode is "LAX"',
    } as const;
    const lines = explainText({ ...page, ports: [{ ...port!, mode }] });
    const at = lines.findIndex((line) => line.startsWith('Mode'));
    expect(lines.slice(at, at + 2)).toEqual([
      'Mode        STRICT: the PeerAuthentication shop/api is INVALID, and STRICT is what that means',
      '            spec.mtls.mode is "LAX"',
    ]);
  });

  it('without identity has none, and before the first policy nobody is let in', () => {
    const [port] = page.ports;
    const lines = explainText({ ...page, identity: null, ports: [{ ...port!, mode: null }] });
    expect(lines).toContain('Identity    none');
    expect(lines).toContain('Mode        no policy can be enforced, so nobody new is let in');
  });
});

describe('a connection by its id', () => {
  it('is told with both identities, dates, the clock and the other side, and then as it would be now', () => {
    const told = failure({
      expectedId: apiId,
      presentedId: webId,
      presentedSerial: '0A',
      presentedIssuer: 'CN=root',
      presentedNotBefore: '2026-11-22T11:00:00.000Z',
      presentedNotAfter: '2026-11-22T12:00:00.000Z',
      clockSkewSeconds: 30,
      otherReason: 'untrusted',
      otherHappened: 'It does not trust us',
      otherRemedy: 'Compare the roots',
      detail: 'it ended 58 minutes ago',
    });
    const again = to(destination({ recentFailures: [told, failure({ id: 'abc-0' })] }));
    const lines = explainText({ kind: 'id', now, id: 'abc-1', failure: told, again });
    expect(lines.slice(0, 18)).toEqual([
      'A certificate has expired, 2m ago',
      '  expired: it ended 58 minutes ago',
      '  What to do: Look at the clocks',
      '',
      'Id          abc-1, outbound',
      'From        127.0.0.1:40000',
      'To          10.96.0.10:80',
      `Expected    ${apiId}`,
      `Presented   ${webId}`,
      'Certificate valid from 2026-11-22T11:00:00Z until 2026-11-22T12:00:00Z',
      '            serial 0A, issued by CN=root',
      '            the clock of the control plane is 30 s ahead of ours',
      'Other side  It does not trust us (untrusted)',
      '            Compare the roots',
      '',
      'If it were made now:',
      '',
      '10.96.0.10:80 would be reached',
    ]);
    expect(lines.filter((line) => line.startsWith('Lately'))).toEqual([
      'Lately      2m ago: A certificate has expired (expired, abc-0)',
    ]);
  });

  it('has what the other side has to do as what to do, and both ends of the tunnel', () => {
    const told = failure({
      outcome: 'denied',
      reason: 'peer_refused',
      otherReason: 'connection_limit',
      otherHappened: 'It is full',
      otherRemedy: 'Raise its limit',
      tunnelFrom: '10.0.0.1:40000',
      tunnelTo: '10.0.0.7:15008',
    });
    const lines = explainText({ kind: 'id', now, id: 'abc-1', failure: told, again: null });
    expect(lines).toContain('  What to do: Over there: Raise its limit');
    expect(lines).toContain('Tunnel      from 10.0.0.1:40000 to 10.0.0.7:15008');
    expect(lines).toContain('Other side  It is full (connection_limit)');
    expect(lines.filter((line) => line.includes('Raise its limit'))).toHaveLength(1);
  });

  it('leaves what to do to what would become of it now, where that is the same', () => {
    const verdict = { kind: 'refused', sentence: 'It would be refused', ...refusal } as const;
    const again = to(destination({ verdict, endpoints: [] }));
    const lines = explainText({
      kind: 'id',
      now,
      id: 'abc-1',
      failure: failure({ ...refusal, detail: 'it was another' }),
      again,
    });
    expect(lines.filter((line) => line.includes('What to do'))).toEqual([
      '  What to do: Check which workload runs there',
    ]);
  });

  it('says which way the clocks differ, and when too little is known to say more', () => {
    const lines = explainText({
      kind: 'id',
      now,
      id: 'abc-1',
      failure: failure({ clockSkewSeconds: -5 }),
      again: null,
    });
    expect(lines).toContain('Certificate the clock of the control plane is 5 s behind ours');
    expect(lines.at(-1)).toBe('Too little is known of it to say what would become of it now');
  });

  it('is not known here when nothing is', () => {
    expect(explainText({ kind: 'id', now, id: 'x-1', again: null })).toEqual([
      'The connection x-1 is not known here, or no longer: only those that are open, and the last that failed, are remembered',
      'The sidecar of the other side may know it by the same id, and the log of this one has its line',
    ]);
  });
});
