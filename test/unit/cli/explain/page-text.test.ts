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
    const lines = explainText(to(destination({ verdict, endpoints: [endpoint({ refusal })] })));
    expect(lines.slice(0, 3)).toEqual([
      '10.96.0.10:80 would be refused: no',
      '  peer_identity: it is somebody else',
      '  What to do: Check which workload runs there',
    ]);
    expect(lines).toContain(
      '              Would be refused: The peer proved another identity (peer_identity): it is somebody else',
    );
  });

  it.each<[string, ShownOutbound['registry'], string]>([
    [
      'the control plane is away',
      { answer: 'known', heldForSeconds: 90, isControlPlaneUp: false },
      'Registry    knows it; known for 1m30s, and the control plane is away',
    ],
    [
      'nobody has answered',
      { answer: 'unavailable', why: 'no answer in time', heldForSeconds: null, isControlPlaneUp: false },
      'Registry    inside the mesh networks, and there is no answer: no answer in time',
    ],
    [
      'nobody was asked',
      { answer: 'outside', heldForSeconds: null, isControlPlaneUp: true },
      'Registry    not asked: it is outside the mesh networks',
    ],
  ])('says when %s', (_name, registry, line) => {
    expect(explainText(to(destination({ registry })))).toContain(line);
  });

  it('says loudly when the rules are not in order', () => {
    const capture = { isCaptured: true, rule: 'Everything else', isProved: false };
    expect(explainText(to(destination({ capture })))).toContain(
      "Captured    yes, by the rule 'Everything else', but THE RULES ARE NOT IN ORDER: it may go around the sidecar",
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
    identity: { trustDomain: 'cluster.local', isTrustDomainKnown: true, revoked: null },
    hasControlPlane: true,
    policyMode: 'PERMISSIVE',
    minimumInboundMode: 'STRICT',
    ports: [
      {
        ports: 'port 8080',
        verdict: { kind: 'carried', sentence: `${webId} to port 8080 would be let in` },
        capture: { isCaptured: true, rule: 'Everything else', isProved: null },
        mode: { mode: 'STRICT', setBy: 'floor' },
        permittedBy: 'No policy narrows who may connect',
      },
    ],
    recentFailures: [],
  };

  it('is read in the order in which it is taken', () => {
    expect(explainText(page)).toEqual([
      `${webId} to port 8080 would be let in`,
      '',
      'Captured    its sidecar comes through a tunnel, which is never captured',
      "            dialled without one: yes, by the rule 'Everything else'",
      'Identity    its trust domain cluster.local has a trust bundle here',
      '            not revoked; its certificate has to prove it',
      'Mode        STRICT: --minimum-inbound-mode of this pod sets it; the control plane says PERMISSIVE',
      'Permitted   No policy narrows who may connect',
    ]);
  });

  it('whom nobody may rely on is shown with why, and so is a trust domain without a bundle', () => {
    const identity = { trustDomain: 'other.example', isTrustDomainKnown: false, revoked: 'the list is out of date' };
    const lines = explainText({ ...page, identity });
    expect(lines).toContain('Identity    its trust domain other.example has NO trust bundle here');
    expect(lines).toContain('            NOT RELIED ON: the list is out of date');
  });

  it('without identity has none, and before the first policy nobody is let in', () => {
    const [port] = page.ports;
    const lines = explainText({ ...page, identity: null, policyMode: null, ports: [{ ...port!, mode: null }] });
    expect(lines).toContain('Identity    none');
    expect(lines).toContain('Mode        no policy has arrived yet, so nobody is let in');
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
