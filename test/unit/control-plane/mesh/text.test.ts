import { describe, expect, it } from 'vitest';
import type { SidecarState } from '../../../../src/control-api.ts';
import { joinedEdges } from '../../../../src/control-plane/mesh/edges.ts';
import type { MeshSidecar, MeshStatus } from '../../../../src/control-plane/mesh/status.ts';
import { edgesText, meshText, podText } from '../../../../src/control-plane/mesh/text.ts';

const now = '2030-05-01T12:00:00.000Z';
const fine: SidecarState = {
  notReady: [],
  modes: [{ port: '*', mode: 'STRICT' }],
  notAfter: '2030-05-01T12:54:00.000Z',
  interception: [{ direction: 'outbound', family: 'ipv4', isOk: true }],
  bypassed: 0,
  open: { inbound: 3, outbound: 12 },
  failures: [],
  edges: [],
};
const web = 'spiffe://cluster.local/ns/shop/sa/web';
const api = 'spiffe://cluster.local/ns/shop/sa/api';
const sidecar = (name: string, state: SidecarState | null, more: Partial<MeshSidecar> = {}): MeshSidecar => ({
  pod: `shop/${name}`,
  spiffeId: `spiffe://cluster.local/ns/shop/sa/${name.replace(/-\d+$/, '')}`,
  reportedAt: state === null ? null : now,
  version: '0.1.0',
  state,
  streams: 1,
  isStale: false,
  revokedAt: null,
  registrySpiffeId: null,
  ...more,
});
const mesh = (...sidecars: MeshSidecar[]): MeshStatus => ({
  trustDomain: 'cluster.local',
  now,
  sidecars,
  otherPods: [],
  unnamedRoots: 0,
});
const expired = { direction: 'outbound', outcome: 'handshake', reason: 'expired', count: 4 } as const;
const ago = (minutes: number) => new Date(Date.parse(now) - minutes * 60_000).toISOString();

describe('the list of sidecars', () => {
  it('is a line for each, and one about all', () => {
    expect(meshText(mesh(sidecar('api-0', fine), sidecar('web-0', fine)))).toEqual([
      '2 sidecars; nothing to say of them',
      '',
      '  pod         ready  mode    certificate  open          report  version  last failure',
      '  shop/api-0  yes    STRICT  54m left     3 in, 12 out  now     0.1.0',
      '  shop/web-0  yes    STRICT  54m left     3 in, 12 out  now     0.1.0',
    ]);
  });

  it.each<[string, Partial<SidecarState>, RegExp, RegExp]>([
    ['a shut gate', { notReady: ['policy'] }, /^1 sidecar; 1 not ready$/, /no: policy/],
    [
      'rules that are gone',
      { interception: [{ direction: 'inbound', family: 'ipv4', isOk: false }] },
      /; 1 not capturing$/,
      /NOT CAPTURING/,
    ],
    ['connections around it', { bypassed: 1 }, /; 1 not capturing$/, /NOT CAPTURING/],
    ['renewals in vain', { renewalFailure: 'unreachable' }, /; 1 failing to renew$/, /renewal fails \(unreachable\)/],
    ['an end', { notAfter: ago(2) }, /nothing/, /LAPSED 2m ago/],
    [
      'ports with a mode of their own',
      { modes: [...fine.modes, { port: '8080', mode: 'DISABLE' }], modesLeftOut: 3, invalidPolicies: 2 },
      /^1 sidecar; 1 with INVALID policies$/,
      /STRICT, 8080 DISABLE, 3 more ports, 2 policies INVALID/,
    ],
    ['nothing yet', { notAfter: undefined, modes: [] }, /nothing/, /none yet +none yet/],
    [
      'a failure of late',
      { failures: [{ ...expired, lastAt: ago(3) }] },
      /; 1 with failures in the last 10 minutes$/,
      /outbound handshake expired, 4 times, 3m ago$/,
    ],
    ['an old failure', { failures: [{ ...expired, lastAt: ago(30) }] }, /nothing to say/, /30m ago$/],
  ])('names %s', (_, state, summary, row) => {
    const lines = meshText(mesh(sidecar('web-0', { ...fine, ...state })));
    expect(lines[0]).toMatch(summary);
    expect(lines.at(-1)).toMatch(row);
  });

  it('shows who has not reported, and that there are more than it has names of', () => {
    const lines = meshText({ ...mesh(sidecar('web-0', null)), unnamedRoots: 1 });
    expect(lines[0]).toBe('1 sidecar; 1 without a report');
    expect(lines[3]).toContain('no report');
    expect(lines.at(-1)).toMatch(/whose names had no place/);
    expect(meshText(mesh())).toEqual(['No sidecar of cluster.local is alive']);
  });

  it('lets no report steer the terminal', () => {
    const lines = meshText(mesh(sidecar('web-0', fine, { version: '\u001b[2J\u202e1' })));
    const text = lines.join('\n');
    expect([text.includes('\u001b'), text.includes('\u202e')]).toEqual([false, false]);
  });
});

const apiV2 = 'spiffe://cluster.local/ns/shop/sa/api-v2';

describe('what the control plane knows beside a report', () => {
  const lapsed = { ...fine, notAfter: ago(2), renewalFailure: 'http_403' };

  it.each<[string, MeshSidecar, string, RegExp, RegExp]>([
    [
      'a stale report',
      sidecar('api-0', fine, { isStale: true, reportedAt: ago(7), streams: 0 }),
      '1 sidecar; 1 STALE',
      /unknown, was yes .* STALE, 7m ago/,
      /STALE +what follows was so when it reported, and it has no stream/,
    ],
    [
      'a revoked identity',
      sidecar('api-0', lapsed, { revokedAt: ago(2) }),
      '1 sidecar; 1 REVOKED',
      / REVOKED 2m ago +3 in/,
      /REVOKED +2m ago, at 2030-05-01T11:58:00Z: .*\n.*revoke --lift --identity spiffe:\S+\/sa\/api`/,
    ],
    [
      'a revoked identity that has not reported',
      sidecar('api-0', null, { revokedAt: ago(2) }),
      '1 sidecar; 1 REVOKED; 1 without a report',
      /no report +REVOKED 2m ago +never/,
      /revoke --list/,
    ],
    [
      'another service account in the registry',
      sidecar('api-0', fine, { registrySpiffeId: apiV2 }),
      '1 sidecar; 1 with another identity in the registry',
      /yes, registry says sa\/api-v2 /,
      /registry +says sa\/api-v2: callers expect spiffe:\S+\/sa\/api-v2 and refuse it.*\n.*Restart the pod/,
    ],
  ])('is shown of %s', (_, one, summary, row, detail) => {
    const lines = meshText(mesh(one));
    expect(lines[0]).toBe(summary);
    expect(lines[3]).toMatch(row);
    expect(podText(mesh(one)).join('\n')).toMatch(detail);
  });

  it('says nothing of when the certificate of a revoked identity ends, nor of the renewals that are refused for it', () => {
    const text = podText(mesh(sidecar('api-0', lapsed, { revokedAt: ago(2) }))).join('\n');
    expect(text).toContain('  certificate  REVOKED 2m ago\n');
    expect(text).not.toMatch(/http_403|LAPSED/);
  });

  it('calls a report stale where it does not take its word for anything of now', () => {
    const stale = { isStale: true, reportedAt: ago(7) };
    expect(meshText(mesh(sidecar('api-0', { ...fine, notReady: ['policy'] }, stale)))[0]).toBe('1 sidecar; 1 STALE');
  });

  it('names the pods of the registry that have no line, the first ones', () => {
    const others = Array.from({ length: 12 }, (_, index) => ({ pod: `shop/p${index}`, hasSidecar: false }));
    const all = { ...mesh(sidecar('api-0', fine)), otherPods: [{ pod: 'shop/new', hasSidecar: true }, ...others] };
    expect(meshText(all).slice(4)).toEqual([
      '',
      '1 pod of the registry with a sidecar that has no certificate and no stream here: shop/new',
      expect.stringMatching(/^12 pods of the registry without a sidecar: shop\/p0, .*, shop\/p9 and 2 more$/),
    ]);
    expect(meshText({ ...all, sidecars: [] })).toContain('No sidecar of cluster.local is alive');
  });

  it('has the word of `remora status` for interception that is lost', () => {
    const state = { ...fine, interception: [{ direction: 'inbound', family: 'ipv4', isOk: false }] } as const;
    expect(podText(mesh(sidecar('api-0', { ...state, interception: [...state.interception] })))).toContain(
      '  capture      inbound ipv4 LOST',
    );
  });
});

describe('one sidecar', () => {
  it('is told of with the words of each failure', () => {
    const state: SidecarState = {
      ...fine,
      failures: [
        { ...expired, lastAt: ago(3) },
        { ...expired, reason: 'of_a_newer_version', lastAt: ago(3) },
      ],
      edges: [
        { direction: 'outbound', peer: api, service: 'api.shop', security: 'mutual_tls', connections: 9, lastAt: now },
        { direction: 'inbound', security: 'plaintext', connections: 1, lastAt: ago(1) },
      ],
    };
    expect(podText(mesh(sidecar('web-0', state)))).toEqual([
      'shop/web-0, spiffe://cluster.local/ns/shop/sa/web: reported now, 1 stream to the control plane',
      '  version      0.1.0',
      '  ready        yes',
      '  mode         STRICT',
      '  certificate  54m left, until 2030-05-01T12:54:00Z',
      '  capture      outbound ipv4 ok',
      '  open         3 inbound connections, 12 outbound connections',
      '  failures since it started',
      '    outbound handshake expired, 4 times, 3m ago',
      expect.stringMatching(/^ {6}A certificate in the peer's chain has expired\. /),
      '    outbound handshake of_a_newer_version, 4 times, 3m ago',
      '  connected with',
      '    to spiffe://cluster.local/ns/shop/sa/api as api.shop: 9 connections, mutual_tls, now',
      '    from somebody: 1 connection, plaintext, 1m ago',
    ]);
  });
});

describe('edges', () => {
  const outbound = { direction: 'outbound', security: 'mutual_tls', lastAt: now } as const;
  const inbound = { ...outbound, direction: 'inbound' } as const;

  it('are one where both ends report it, with what the caller counts, over all pods of an identity', () => {
    const calling = { ...fine, edges: [{ ...outbound, peer: api, service: 'api.shop', connections: 2 }] };
    const called = { ...fine, edges: [{ ...inbound, peer: web, connections: 5 }] };
    expect(joinedEdges([sidecar('web-0', calling), sidecar('web-1', calling), sidecar('api-0', called)])).toEqual([
      {
        ...{ from: web, to: api, service: 'api.shop', security: 'mutual_tls' },
        ...{ connections: 4, lastAt: now, seenBy: 'both' },
      },
    ]);
  });

  it('name the end that alone reports it', () => {
    const plain = { ...fine, edges: [{ ...inbound, security: 'plaintext', connections: 5 }] };
    expect(edgesText(mesh(sidecar('api-0', plain)))[1]).toMatch(
      /plaintext +spiffe:\S+\/api +plaintext +5 +now +called$/,
    );
    expect(edgesText(mesh(sidecar('api-0', null)))).toEqual(['No connection was reported']);
  });

  it('names what sets the mode of each port, where the report has it', () => {
    const modes = [
      { port: '*', mode: 'PERMISSIVE' },
      { port: '8080', mode: 'STRICT', setBy: 'shop/api' },
      { port: '9090', mode: 'PERMISSIVE', setBy: 'floor' },
    ];
    expect(podText(mesh(sidecar('web-0', { ...fine, modes })))).toContain(
      '  mode         PERMISSIVE, 8080 STRICT (shop/api), 9090 PERMISSIVE (floor)',
    );
  });
});
