import { describe, expect, it } from 'vitest';
import type { ShownConnection, ShownFailure, StatusPage } from '../../../src/admin-api.ts';
import { connectionsText } from '../../../src/cli/connections/page-text.ts';
import { handshakesText } from '../../../src/cli/handshakes/page-text.ts';
import { statusText } from '../../../src/cli/status/page-text.ts';
import { readinessGates } from '../../../src/outcomes.ts';

const now = '2026-11-22T10:00:00.000Z';
const ago = (seconds: number) => new Date(Date.parse(now) - seconds * 1000).toISOString();
const hostile = '\u001b[2J\u202eevil\n';
const steers = /[\p{Cc}\p{Cf}]/u;

const controlPlane: StatusPage['controlPlane'] = {
  address: 'https://control-plane:15012',
  isUp: true,
  since: ago(600),
  hasBeenUp: true,
  why: null,
  failing: [],
};

const idle = { carried: 0, failed: 0, reasons: [] };

function status(parts: Partial<StatusPage> = {}): StatusPage {
  return {
    now,
    version: '0.1.0',
    startedAt: ago(3600),
    pod: { name: 'web-0', namespace: 'shop', workload: 'web' },
    isReady: true,
    gates: readinessGates.map((gate) => ({ gate, isOpen: true, why: null, since: null, remedy: null })),
    identity: {
      spiffeId: 'spiffe://cluster.local/ns/shop/sa/web',
      isExpired: false,
      endedBecause: null,
      isRevoked: false,
      notAfter: ago(-1800),
      nextRenewal: ago(-600),
      lastFailure: null,
    },
    modes: [{ port: '*', mode: 'STRICT', setBy: 'istio-system/default', fromPolicy: 'STRICT' }],
    minimumInboundMode: 'DISABLE',
    policies: { enforced: 0, audit: 0, dry_run: 0, invalid: 0 },
    minimumOutbound: 'plaintext',
    outboundPolicy: 'ALLOW_ANY',
    controlPlane,
    connections: { inbound: 3, outbound: 12 },
    tunnels: { inbound: 2, outbound: 4 },
    places: { inUse: 15, most: 10_000 },
    newConnections: { inbound: idle, outbound: idle },
    interception: {
      isOn: true,
      proofs: [
        { direction: 'outbound', family: 'ipv4', isOk: true },
        { direction: 'outbound', family: 'ipv6', isOk: true },
      ],
      unknown: [{ direction: 'inbound', why: 'control plane away' }],
      bypassed: { inbound: 0, outbound: 0 },
    },
    failures: [],
    drain: { stage: 'serving', isStopping: false, open: 15 },
    changedSettings: [],
    ...parts,
  };
}

describe('the status for a person', () => {
  it('says in a dozen lines that all is well', () => {
    expect(statusText(status(), 100)).toEqual([
      'Ready',
      '',
      'Sidecar:       shop/web-0, remora 0.1.0, up for 1h',
      'Identity:      spiffe://cluster.local/ns/shop/sa/web',
      '               valid for 30m more, next renewal at 2026-11-22T10:10:00Z',
      'Control plane: stream up since 2026-11-22T09:50:00Z, https://control-plane:15012',
      'Inbound mode:  STRICT (istio-system/default; floor of this pod DISABLE)',
      'Outbound:      minimumOutbound plaintext, outboundPolicy ALLOW_ANY',
      'Interception:  outbound ipv4 ok, outbound ipv6 ok, inbound not known (control plane away)',
      'Carrying:      3 inbound and 12 outbound connections (15 of at most 10000), in 2 inbound and 4 outbound tunnels',
      'Not default:   nothing',
      'Failures:      none within the last ten minutes',
    ]);
  });

  it('says what sets the mode of each port, and what the policies do', () => {
    const modes = [
      { port: '*', mode: 'PERMISSIVE', setBy: null, fromPolicy: 'PERMISSIVE' },
      { port: '8080', mode: 'STRICT', setBy: 'shop/api', fromPolicy: 'STRICT' },
      { port: '9090', mode: 'PERMISSIVE', setBy: 'floor', fromPolicy: 'DISABLE' },
    ] as const;
    const policies = { enforced: 3, audit: 1, dry_run: 2, invalid: 1 };
    const lines = statusText(status({ modes: [...modes], policies, minimumInboundMode: 'PERMISSIVE' }), 100);
    for (const line of [
      'Inbound mode:  PERMISSIVE (mesh default; floor of this pod PERMISSIVE), 8080 STRICT (shop/api), 9090 PERMISSIVE (the floor of this pod, minimumInboundMode)',
      'Policies:      3 enforced, 1 of AUDIT, 2 on trial, 1 INVALID',
    ])
      expect(lines).toContain(line);
  });

  it('names the first policy that is invalid, with its problem, and how many more there are', () => {
    const problem = 'spec.mtls.mode is "LAX"';
    const modes = [{ port: '*', mode: 'STRICT', setBy: 'shop/api', fromPolicy: 'STRICT', problem } as const];
    const firstInvalidPolicy = { name: 'PeerAuthentication shop/api', problem };
    const textOf = (invalid: number) =>
      statusText(
        status({ modes, policies: { enforced: 0, audit: 0, dry_run: 0, invalid }, firstInvalidPolicy }),
        100,
      ).join('\n');
    expect(textOf(1)).toContain('Inbound mode:  STRICT (INVALID, shop/api; floor of this pod DISABLE)');
    expect(textOf(1)).toContain(
      `Policies:      1 INVALID\n               INVALID PeerAuthentication shop/api: ${problem}\n`,
    );
    expect(textOf(3)).toContain(`shop/api: ${problem}; 2 more: GET /policy`);
  });

  it('says first what keeps it from being ready, and everything that is wrong in capitals or in words', () => {
    const gates = readinessGates.map((gate) => ({
      gate,
      isOpen: gate !== 'policy' && gate !== 'identity',
      why:
        gate === 'policy'
          ? 'No policy has arrived yet'
          : gate === 'identity'
            ? 'Our own certificate has expired'
            : null,
      since: gate === 'policy' ? ago(90) : null,
      remedy: gate === 'policy' ? 'Look at it' : null,
    }));
    const lines = statusText(
      status({
        isReady: false,
        gates,
        identity: {
          spiffeId: 'spiffe://cluster.local/ns/shop/sa/web',
          isExpired: true,
          endedBecause: null,
          isRevoked: false,
          notAfter: ago(60),
          nextRenewal: null,
          lastFailure: {
            reason: 'unreachable',
            happened: 'The control plane cannot be reached',
            remedy: 'Look at it',
            message: 'ECONNREFUSED',
            at: ago(5),
          },
        },
        modes: [],
        policies: null,
        controlPlane: { ...controlPlane, isUp: false, since: ago(30), why: 'ECONNREFUSED' },
        interception: {
          isOn: true,
          proofs: [{ direction: 'outbound', family: 'ipv4', isOk: false }],
          unknown: [],
          bypassed: { inbound: 1, outbound: 2 },
        },
        drain: { stage: 'leaving', isStopping: true, open: 1 },
      }),
      100,
    );
    expect(lines.slice(0, 4)).toEqual([
      `NOT READY: 2 gates of ${gates.length} are closed`,
      '  identity, closed: Our own certificate has expired',
      '  policy, closed since 2026-11-22T09:58:30Z, for 1m30s: No policy has arrived yet',
      '    What to do: Look at it',
    ]);
    for (const line of [
      '               LAPSED 1m ago, at 2026-11-22T09:59:00Z',
      '               renewal failed 5s ago (unreachable): The control plane cannot be reached',
      '               Look at it. ECONNREFUSED',
      'Control plane: stream DOWN since 2026-11-22T09:59:30Z, https://control-plane:15012: ECONNREFUSED',
      '               meanwhile policy, destinations and revocations stay as it last told them',
      'Inbound mode:  none in force, so everything new is refused',
      'Interception:  outbound ipv4 LOST, 3 connections GO AROUND THE SIDECAR',
      'Draining:      new connections are taken for the drain delay; 1 connection open, then the process ends',
    ])
      expect(lines).toContain(line);
  });

  it('shows what was set, what passes by because of it, and that there is no room', () => {
    const lines = statusText(
      status({
        modes: [{ port: '*', mode: 'STRICT', setBy: 'floor', fromPolicy: 'PERMISSIVE' }],
        places: { inUse: 2, most: 2 },
        changedSettings: [
          { name: 'excludeOutboundPorts', typed: '--exclude-outbound-ports 8080', from: '--exclude-outbound-ports' },
          { name: 'maxConnections', typed: '--max-connections 2', from: 'REMORA_MAX_CONNECTIONS' },
          { name: 'podName', typed: '--pod-name web-0', from: '/etc/remora.yaml line 3' },
        ],
      }),
      100,
    );
    for (const line of [
      'Inbound mode:  STRICT (the floor of this pod, minimumInboundMode)',
      'Not captured:  by --exclude-outbound-ports 8080: what that leaves out goes around this sidecar, as it is',
      'Carrying:      3 inbound and 12 outbound connections (2 of at most 2, FULL: new ones are refused), in 2 inbound and 4 outbound tunnels',
      'Not default:   --exclude-outbound-ports 8080, --max-connections 2 (REMORA_MAX_CONNECTIONS),',
      '               --pod-name web-0 (/etc/remora.yaml line 3)',
    ])
      expect(lines).toContain(line);
  });

  it('says since when an identity is revoked, and that nothing but lifting that helps', () => {
    const why = 'No peer accepts the certificate: the identity has been revoked';
    const { identity } = status();
    if (identity === null) throw new TypeError('There is none');
    const revoked = { ...identity, isExpired: true, isRevoked: true, endedBecause: why, notAfter: ago(60) };
    const lines = statusText(status({ identity: revoked }), 100);
    expect(lines).toContain(`               LAPSED 1m ago, at 2026-11-22T09:59:00Z: ${why}`);
    expect(lines).toContain(
      '               no renewal helps until that is lifted: beside the control plane `remora control-plane revoke --list` shows it, `--lift` takes it back',
    );
  });

  it('parts the stream of the control plane from calls that fail, and from a control plane that never said anything', () => {
    const failure = {
      since: ago(60),
      last: ago(2),
      reason: 'server_untrusted',
      happened: 'It answers, but is not trusted',
      remedy: 'Put the root there',
      message: 'CERT',
    };
    const failing = [
      { ...failure, call: 'reports' },
      { ...failure, call: 'canary', since: ago(90), last: ago(20) },
    ];
    const words = [
      '               calls FAIL since 2026-11-22T09:58:30Z, last 2s ago (reports, canary; server_untrusted): It answers, but is not trusted',
      '               Put the root there. CERT',
    ];
    const shownOf = (parts: Partial<StatusPage['controlPlane']>, others: Partial<StatusPage> = {}) => {
      const lines = statusText(status({ ...others, controlPlane: { ...controlPlane, ...parts } }), 100);
      const from = lines.findIndex((line) => line.startsWith('Control plane:'));
      return lines.slice(
        from,
        lines.findIndex((line) => line.startsWith('Inbound mode:')),
      );
    };
    expect(shownOf({ failing })).toEqual([
      'Control plane: stream up since 2026-11-22T09:50:00Z, https://control-plane:15012',
      ...words,
    ]);
    expect(shownOf({ isUp: false, hasBeenUp: false, why: 'CERT', failing }, { identity: null })).toEqual([
      'Control plane: stream NEVER UP since 2026-11-22T09:50:00Z, https://control-plane:15012: CERT',
      '               it has told no policy yet',
      ...words,
    ]);
    expect(shownOf({ isUp: false })).toContain(
      '               unless a renewal succeeds, this identity ends at 2026-11-22T10:30:00Z, in 30m',
    );
  });

  it('says first that connections fail, where more of the new ones do than are made', () => {
    const reasons = [
      { reason: 'connection_limit', count: 12 },
      { reason: 'default_deny', count: 1 },
    ];
    const firstOf = (carried: number) =>
      statusText(status({ newConnections: { inbound: { carried, failed: 13, reasons }, outbound: idle } }), 100).slice(
        0,
        2,
      );
    expect(firstOf(12)).toEqual([
      'Ready, but connections FAIL',
      '  inbound: 13 of 25 new connections FAILED within the last minute: 12 connection_limit, 1 default_deny',
    ]);
    expect(firstOf(13)).toEqual(['Ready', '']);
  });

  it('lists what failed lately, each kind once', () => {
    const failure = {
      direction: 'inbound',
      outcome: 'denied',
      reason: 'default_deny',
      happened: 'No policy allows it',
      remedy: 'Allow it',
      count: 12,
      last: ago(3),
      lastId: 'ab12-3',
    } as const;
    const both = [failure, { ...failure, direction: 'outbound', count: 1, lastId: 'ab12-4' } as const];
    expect(statusText(status({ failures: both }), 60).slice(-6)).toEqual([
      'Failures within the last ten minutes; at most 50 of a kind are counted',
      'COUNT  LAST    DIR  REASON        LAST ID',
      '   12  3s ago  in   default_deny  ab12-3',
      '    1  3s ago  out  default_deny  ab12-4',
      '',
      '  default_deny: No policy allows it. Allow it',
    ]);
  });
});

function connection(parts: Partial<ShownConnection>): ShownConnection {
  return {
    id: 'ab12cd34ef-1',
    direction: 'outbound',
    peerAddress: '10.0.0.5:40000',
    openedAt: ago(90),
    ageSeconds: 90,
    originalDestination: '10.96.0.10:80',
    service: 'api.shop',
    transport: 'hbone',
    security: 'mutual_tls',
    peerId: 'spiffe://cluster.local/ns/shop/sa/api',
    tunnel: '0123456789ab',
    tlsVersion: 'TLSv1.3',
    cipher: 'TLS_AES_256_GCM_SHA384',
    group: 'X25519MLKEM768',
    bytesSent: 2048,
    bytesReceived: 5_000_000,
    ...parts,
  };
}

describe('the connections for a person', () => {
  it('are summed up, and those that have moved most come first', () => {
    const connections = [
      connection({ id: 'small', bytesReceived: 1 }),
      connection({
        id: 'plain',
        direction: 'inbound',
        peerId: undefined,
        service: undefined,
        originalDestination: '10.0.0.7:80',
        security: 'plaintext',
        transport: 'plaintext',
        tunnel: undefined,
        tlsVersion: undefined,
        bytesSent: 0,
        bytesReceived: 3000,
      }),
      connection({ id: 'large' }),
    ];
    expect(connectionsText({ now, connections, leftOut: 0 }, 100)).toEqual([
      '3 connections: 1 inbound, 2 outbound; in 1 tunnel; 1 in plaintext',
      'TLSv1.3 X25519MLKEM768 TLS_AES_256_GCM_SHA384: 2 connections',
      '',
      'DIR  AGE    PEER                                   DESTINATION  SENT  RECEIVED  TUNNEL        ID',
      'out  1m30s  spiffe://cluster.local/ns/shop/sa/api  api.shop:80  2.0K      4.8M  0123456789ab  large',
      'in   1m30s  10.0.0.5:40000                         10.0.0.7:80    0B      2.9K  plaintext     plain',
      'out  1m30s  spiffe://cluster.local/ns/shop/sa/api  api.shop:80  2.0K        1B  0123456789ab  small',
    ]);
  });

  it('tell direct ones from those in tunnels', () => {
    const { tunnel: _, ...direct } = connection({ id: 'direct', transport: 'direct' });
    const lines = connectionsText({ now, connections: [connection({}), direct], leftOut: 0 }, 100);
    expect(lines[0]).toBe('2 connections: 0 inbound, 2 outbound; in 1 tunnel; 1 directly');
    expect(lines.find((line) => line.endsWith(' direct'))).toMatch(/ direct +direct$/);
  });

  it('fit 100 columns with long names, and keep the ids of connections', () => {
    const long = connection({
      peerId: `spiffe://a-very-long-trust-domain.example.org/ns/${'n'.repeat(63)}/sa/${'s'.repeat(63)}`,
      service: `${'s'.repeat(63)}.${'n'.repeat(63)}`,
    });
    const lines = connectionsText({ now, connections: [long], leftOut: 0 }, 100);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
    expect(lines.at(-1)).toMatch(/ab12cd34ef-1$/);
  });

  it('say how many the page has left out', () => {
    const lines = connectionsText({ now, connections: [connection({})], leftOut: 5 }, 100);
    expect(lines[1]).toBe('Not shown: 5 connections more');
  });

  it('may be none', () => {
    expect(connectionsText({ now, connections: [], leftOut: 0 }, 100)).toEqual(['No connections']);
  });
});

function failed(parts: Partial<ShownFailure>): ShownFailure {
  return {
    id: 'ab12cd34ef-2',
    at: ago(30),
    direction: 'inbound',
    peerAddress: '10.0.0.9:41000',
    openedAt: ago(31),
    durationMs: 12,
    outcome: 'handshake',
    reason: 'untrusted',
    happened: 'The certificate chains to no root that is trusted',
    remedy: 'Look at the roots of both',
    presentedId: 'spiffe://cluster.local/ns/shop/sa/old',
    detail: 'SELF_SIGNED_CERT_IN_CHAIN',
    ...parts,
  };
}

describe('the failed handshakes for a person', () => {
  it('say of each reason once what it means and what to do, then show each', () => {
    const handshakes = [
      failed({ tunnelTo: '10.0.0.5:15008' }),
      failed({
        id: 'two',
        direction: 'outbound',
        reason: 'reset',
        happened: 'The peer closed it',
        remedy: 'Look at its log',
        presentedId: undefined,
        detail: undefined,
        tunnelTo: '10.0.0.7:15008',
        originalDestination: '10.96.0.1:80',
        otherReason: 'untrusted',
        otherHappened: 'It does not trust us',
      }),
      failed({ id: 'three', detail: 'older', tunnelTo: undefined, originalDestination: '10.0.0.5:8080' }),
    ];
    expect(handshakesText({ now, handshakes }, 120)).toEqual([
      '3 handshakes failed that the sidecar remembers: 2 untrusted, 1 reset',
      '',
      'untrusted: The certificate chains to no root that is trusted',
      '  Look at the roots of both',
      '  Last: SELF_SIGNED_CERT_IN_CHAIN',
      '',
      'reset: The peer closed it',
      '  Look at its log',
      '  The other side says untrusted: It does not trust us',
      '',
      'AGO  DIR  REASON     PEER            TO              CERTIFICATE                            ID',
      '30s  in   untrusted  10.0.0.9:41000  10.0.0.5:15008  spiffe://cluster.local/ns/shop/sa/old  ab12cd34ef-2',
      '30s  out  reset      10.0.0.7:15008  10.96.0.1:80    (none seen)                            two',
      '30s  in   untrusted  10.0.0.9:41000  10.0.0.5:8080   spiffe://cluster.local/ns/shop/sa/old  three',
    ]);
    expect(handshakesText({ now, handshakes: [] }, 100)).toEqual(['No handshake has failed']);
  });
});

it('nothing that a peer or a file has said steers the terminal', () => {
  const lines = [
    ...connectionsText(
      {
        now,
        connections: [connection({ id: hostile, peerId: hostile, service: hostile, cipher: hostile, tunnel: hostile })],
        leftOut: 0,
      },
      100,
    ),
    ...handshakesText(
      {
        now,
        handshakes: [failed({ reason: hostile, presentedId: hostile, detail: hostile, remedy: hostile, id: hostile })],
      },
      100,
    ),
    ...statusText(
      status({
        pod: { name: hostile, namespace: hostile, workload: hostile },
        controlPlane: { ...controlPlane, address: hostile },
      }),
      100,
    ),
  ];
  for (const line of lines) expect(line).not.toMatch(steers);
});
