import { afterEach, describe, expect, it } from 'vitest';
import type { PeersByRoot } from '../../../src/agent/reports.ts';
import { reportTimes, startReports } from '../../../src/agent/reports.ts';
import { maxReportedModes, policyStateOf } from '../../../src/agent/sidecar-state.ts';
import { trafficBookLimits } from '../../../src/agent/traffic-book.ts';
import type { PolicyState, Report, ReportedCallers, SidecarState } from '../../../src/control-api.ts';
import { maxReportBytes, maxReportedNameLength, parseJson, report as reportSchema } from '../../../src/control-api.ts';
import { RenewalError } from '../../../src/errors.ts';
import type { Identity } from '../../../src/identity/identity.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import { renewalReasons } from '../../../src/outcomes.ts';
import { version } from '../../../src/version.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const authority = createTestAuthority('cluster.local');
const other = createTestAuthority('cluster.local');
const partner = createTestAuthority('partner.example');
const options = { namespace: 'shop', serviceAccount: 'web' };
const ownRoots = (...authorities: readonly { readonly bundlePem: string }[]) =>
  authorities.map(({ bundlePem }) => bundlePem).join('');
const identityUnder = (cluster: string) =>
  createTestIdentity(authority, {
    ...options,
    bundles: parseTrustBundles({ 'cluster.local': cluster, 'partner.example': partner.bundlePem }),
  });
const fingerprintsOf = (identity: Identity, domain = 'cluster.local') =>
  (identity.bundles.domains.get(domain) ?? []).map(({ fingerprint }) => fingerprint);
const root = (n: number) => n.toString(16).padStart(64, '0');
const peersOf = (...counts: readonly [root: string, recent: number, unnamed?: number][]): PeersByRoot =>
  new Map(counts.map(([name, size, unnamed = 0]) => [name, { recent: { size }, unnamed }]));

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

const idle: SidecarState = {
  notReady: [],
  modes: [{ port: '*', mode: 'STRICT' }],
  interception: [],
  bypassed: 0,
  open: { inbound: 0, outbound: 0 },
  failures: [],
  edges: [],
};
const at = '2030-05-01T12:00:00.000Z';
const noCallers: ReportedCallers = { since: at, minimumMode: 'DISABLE', callers: [], further: [] };
const failure = (count: number) =>
  ({ direction: 'inbound', outcome: 'handshake', reason: 'expired', count, lastAt: at }) as const;
const edge = (n: number) => ({
  direction: 'outbound' as const,
  peer: `spiffe://cluster.local/ns/shop/sa/${'x'.repeat(200)}${n}`,
  service: `${'s'.repeat(100)}${n}.shop`,
  security: 'mutual_tls',
  connections: 1e12,
  lastAt: at,
});

/** A sidecar that looks every 5 s exactly, and repeats after 300 s. */
function start() {
  const clock = createFakeClock();
  const captured = captureLog();
  const sent: Report[] = [];
  const state = {
    clock,
    sent,
    log: captured,
    identity: identityUnder(ownRoots(authority)) as Identity | undefined,
    peers: peersOf(),
    roots: [root(7)] as readonly string[],
    session: 1,
    fares: idle as SidecarState,
    called: noCallers as ReportedCallers | undefined,
    roomBytes: 0,
    answer: async (_signal: AbortSignal): Promise<void> => undefined,
  };
  const reports = startReports({
    clock,
    log: captured.log,
    identity: () => state.identity,
    peers: { byRoot: () => state.peers },
    state: () => state.fares,
    callers(maxBytes) {
      state.roomBytes = maxBytes;
      return state.called;
    },
    reporting: {
      session: () => state.session,
      controlPlaneRoots: async () => state.roots,
      async send(report, signal) {
        sent.push(report);
        await state.answer(signal);
      },
    },
  });
  closing.push(reports.close);
  return Object.assign(state, { close: reports.close });
}

const look = reportTimes.lookMs;

describe('a report', () => {
  it('needs no root for a certificate that has ended', async () => {
    const sidecar = start();
    const identity = identityUnder(ownRoots(authority));
    sidecar.identity = { ...identity, notAfterMs: sidecar.clock.now() + 1.5 * look };
    await sidecar.clock.advance(look);
    await sidecar.clock.advance(look);
    expect(sidecar.sent.map(({ issuedBy }) => issuedBy)).toEqual([fingerprintsOf(identity)[0], undefined]);
    expect(sidecar.sent.map(({ trustedRoots }) => trustedRoots)).toEqual([
      fingerprintsOf(identity),
      fingerprintsOf(identity),
    ]);
  });

  it('says by which roots this sidecar lives and trusts, and how many peers each vouches for', async () => {
    const sidecar = start();
    const identity = identityUnder(ownRoots(authority, other));
    sidecar.identity = identity;
    const [own = '', second = ''] = fingerprintsOf(identity);
    sidecar.peers = peersOf([own, 3], [second, 0], [root(9), 2, 40]);
    await sidecar.clock.advance(look);
    expect(sidecar.sent).toEqual([
      {
        version,
        callers: noCallers,
        issuedBy: own,
        trustedRoots: [own, second],
        controlPlaneRoots: [root(7)],
        peersByRoot: [
          { root: own, peers: 3 },
          { root: root(9), peers: 42 },
        ],
        state: idle,
      },
    ]);
  });

  it('waits for the first identity', async () => {
    const sidecar = start();
    sidecar.identity = undefined;
    await sidecar.clock.advance(10 * look);
    expect(sidecar.sent).toEqual([]);
    sidecar.identity = identityUnder(ownRoots(authority));
    await sidecar.clock.advance(look);
    expect(sidecar.sent).toHaveLength(1);
  });

  it('fits into what the control plane takes, however many roots there are', async () => {
    const sidecar = start();
    const many = Array.from({ length: 45 }, () => createTestAuthority('cluster.local'));
    const identity = identityUnder(ownRoots(authority, ...many));
    sidecar.identity = identity;
    sidecar.roots = Array.from({ length: 100 }, (_, n) => root(n));
    sidecar.peers = peersOf(...Array.from({ length: 30 }, (_, n) => [root(n), 1e9] as [string, number]));
    const failures = Array.from({ length: trafficBookLimits.reportedFailures }, () => failure(1e12));
    const edges = Array.from({ length: trafficBookLimits.reportedEdges }, (_, n) => edge(n));
    const policy: PolicyState = {
      mode: 'STRICT',
      modeSetBy: 'n'.repeat(maxReportedNameLength),
      modeProblem: 'spec.mtls.mode is "LAX"',
      ports: Array.from({ length: 100 }, (_, n) => ({
        port: 60_000 + n,
        mode: 'PERMISSIVE',
        setBy: 'n'.repeat(maxReportedNameLength),
      })),
      authorization: [{ name: 'shop/broken', action: 'DENY', rules: [], problem: 'CUSTOM is not supported' }],
    };
    sidecar.fares = { ...idle, failures, edges, ...policyStateOf(policy, 'DISABLE') };
    expect(sidecar.fares).toMatchObject({ modesLeftOut: 101 - maxReportedModes, invalidPolicies: 2 });
    await sidecar.clock.advance(look);
    const [sent] = sidecar.sent;
    const text = JSON.stringify(sent);
    expect(parseJson(reportSchema, text)).toEqual(sent);
    expect(text.length).toBeLessThan(maxReportBytes);
    expect(sent?.trustedRoots).toEqual(fingerprintsOf(identity).slice(-40));
    expect(sent?.controlPlaneRoots).toEqual(sidecar.roots.slice(-40));
    expect(sent?.peersByRoot).toHaveLength(20);
  });

  it('gives callers the room that the rest of it leaves, and is without them where they say nothing', async () => {
    const sidecar = start();
    await sidecar.clock.advance(look);
    const { callers, ...rest } = sidecar.sent[0] ?? {};
    expect(callers).toEqual(noCallers);
    expect(sidecar.roomBytes).toBe(maxReportBytes - JSON.stringify(rest).length - ',"callers":'.length);
    sidecar.called = undefined;
    await sidecar.clock.advance(look);
    expect(sidecar.sent[1]).not.toHaveProperty('callers');
  });

  it('follows soon after a caller is new, and a minute after one has only called again', async () => {
    const sidecar = start();
    const caller = (connections: number) =>
      ({ port: 8080, address: '10.0.0.9', kind: 'unknown', connections, open: 0, firstAt: at, lastAt: at }) as const;
    await sidecar.clock.advance(look);
    sidecar.called = { ...noCallers, callers: [caller(1)] };
    await sidecar.clock.advance(look);
    expect(sidecar.sent).toHaveLength(2);
    sidecar.called = { ...noCallers, callers: [caller(2)] };
    await sidecar.clock.advance(reportTimes.countsMs - look);
    expect(sidecar.sent).toHaveLength(2);
    await sidecar.clock.advance(2 * look);
    expect(sidecar.sent).toHaveLength(3);
  });

  it('leaves out roots of other trust domains first, and all counts before one of its own', async () => {
    const sidecar = start();
    const many = Array.from({ length: 20 }, () => createTestAuthority('cluster.local'));
    const identity = identityUnder(ownRoots(authority, ...many));
    sidecar.identity = identity;
    const own = fingerprintsOf(identity);
    sidecar.peers = peersOf([root(1), 1], ...own.slice(0, 20).map((name) => [name, 1] as [string, number]));
    await sidecar.clock.advance(look);
    expect(sidecar.sent[0]?.peersByRoot).toEqual(own.slice(0, 20).map((name) => ({ root: name, peers: 1 })));
    sidecar.peers = peersOf(...own.map((name) => [name, 1] as [string, number]));
    await sidecar.clock.advance(look);
    expect(sidecar.sent[1]).not.toHaveProperty('peersByRoot');
  });
});

describe('reports', () => {
  it.each<[string, (sidecar: ReturnType<typeof start>) => void]>([
    ['other roots in the bundle', (sidecar) => (sidecar.identity = identityUnder(ownRoots(authority, other)))],
    ['the first peer of a root', (sidecar) => (sidecar.peers = peersOf([root(1), 1]))],
    ['a name that was forgotten', (sidecar) => (sidecar.peers = peersOf([root(1), 0, 1]))],
    ['another root for the control plane', (sidecar) => (sidecar.roots = [root(7), root(8)])],
    ['a control plane that was away', (sidecar) => sidecar.session++],
    ['a gate that was shut', (sidecar) => (sidecar.fares = { ...idle, notReady: ['policy'] })],
    ['the first failure of its kind', (sidecar) => (sidecar.fares = { ...idle, failures: [failure(1)] })],
    ['the first connection to somebody', (sidecar) => (sidecar.fares = { ...idle, edges: [edge(1)] })],
    ['the first connection around the sidecar', (sidecar) => (sidecar.fares = { ...idle, bypassed: 1 })],
    ['a certificate under another root', (sidecar) => (sidecar.identity = createTestIdentity(other, { ...options }))],
  ])('are sent at the next look after %s, and once', async (_, change) => {
    const sidecar = start();
    await sidecar.clock.advance(look);
    change(sidecar);
    await sidecar.clock.advance(look - 1);
    expect(sidecar.sent).toHaveLength(1);
    await sidecar.clock.advance(1);
    expect(sidecar.sent).toHaveLength(2);
    await sidecar.clock.advance(10 * look);
    expect(sidecar.sent).toHaveLength(2);
  });

  it('tell of the last peer of a root at the next look, and of numbers in between after five minutes', async () => {
    const sidecar = start();
    sidecar.peers = peersOf([root(1), 5]);
    await sidecar.clock.advance(look);
    sidecar.peers = peersOf([root(1), 6]);
    await sidecar.clock.advance(reportTimes.repeatMs - 1);
    expect(sidecar.sent).toHaveLength(1);
    await sidecar.clock.advance(1);
    expect(sidecar.sent.at(-1)?.peersByRoot).toEqual([{ root: root(1), peers: 6 }]);
    sidecar.peers = peersOf([root(1), 0]);
    await sidecar.clock.advance(look);
    expect(sidecar.sent.map(({ peersByRoot }) => peersByRoot?.length)).toEqual([1, 1, 0]);
  });

  it('tell of numbers of connections and failures a minute later at the earliest', async () => {
    const sidecar = start();
    sidecar.fares = { ...idle, failures: [failure(1)] };
    await sidecar.clock.advance(look);
    sidecar.fares = { ...idle, failures: [failure(2)], open: { inbound: 7, outbound: 0 } };
    await sidecar.clock.advance(reportTimes.countsMs - 1);
    expect(sidecar.sent).toHaveLength(1);
    await sidecar.clock.advance(1);
    expect(sidecar.sent.at(-1)?.state).toEqual(sidecar.fares);
    await sidecar.clock.advance(2 * reportTimes.countsMs);
    expect(sidecar.sent).toHaveLength(2);
  });

  it('that fail are tried again, later each time, are told of at the first and when it goes on, and end nothing', async () => {
    const sidecar = start();
    sidecar.answer = async () => {
      throw new RenewalError('server_untrusted', 'another root');
    };
    await sidecar.clock.advance(look + 3_600_000);
    const tries = sidecar.sent.length;
    expect(tries).toBeGreaterThan(20);
    expect(tries).toBeLessThan(60);
    const lines = sidecar.log.lines.filter(({ level }) => level !== 'debug');
    const failed = {
      msg: 'Report not taken',
      reason: 'server_untrusted',
      detail: 'another root',
      remedy: renewalReasons.server_untrusted.remedy,
    };
    expect(lines).toEqual([
      expect.objectContaining({ ...failed, level: 'info', failures: 1, nextAttemptMs: 3750 }),
      expect.objectContaining({ ...failed, level: 'warn', failures: 3 }),
    ]);
    sidecar.answer = async () => undefined;
    await sidecar.clock.advance(reportTimes.backoff.capMs);
    expect(sidecar.sent).toHaveLength(tries + 1);
    expect(sidecar.log.lines.at(-1)).toMatchObject({ level: 'info', msg: 'Reports are taken again', failures: tries });
    await sidecar.clock.advance(10 * look);
    expect(sidecar.sent).toHaveLength(tries + 1);
    sidecar.session++;
    sidecar.answer = async () => {
      throw new RenewalError('timeout', 'late');
    };
    await sidecar.clock.advance(look);
    expect(sidecar.log.lines.at(-1)).toMatchObject({ level: 'info', detail: 'late', nextAttemptMs: 3750 });
  });

  it('wait as long as the control plane asks', async () => {
    const sidecar = start();
    sidecar.answer = async () => {
      throw new RenewalError('http_429', 'later', { retryAfterMs: 60_000 });
    };
    await sidecar.clock.advance(look + 59_999);
    expect(sidecar.sent).toHaveLength(1);
    await sidecar.clock.advance(1);
    expect(sidecar.sent).toHaveLength(2);
  });

  it('that fail in a way nobody thought of end nothing either', async () => {
    const sidecar = start();
    sidecar.peers = {
      [Symbol.iterator]: () => {
        throw new TypeError('odd');
      },
    } as unknown as PeersByRoot;
    await sidecar.clock.advance(look);
    sidecar.peers = peersOf();
    await sidecar.clock.advance(2 * look);
    expect(sidecar.sent).toHaveLength(1);
    expect(sidecar.log.lines).toEqual([expect.objectContaining({ detail: 'odd' })]);
  });

  it('that nobody answers are given up when the sidecar stops', async () => {
    const sidecar = start();
    const asked = Promise.withResolvers<AbortSignal>();
    sidecar.answer = (signal) => {
      asked.resolve(signal);
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    };
    await sidecar.clock.advance(look);
    await sidecar.close();
    expect((await asked.promise).aborted).toBe(true);
    expect(sidecar.log.lines).toEqual([]);
    expect(sidecar.clock.pending).toBe(0);
  });

  it('of sidecars that start together are spread over five seconds', async () => {
    const times = await Promise.all(
      [0, 0.25, 0.5, 0.75, 0.875].map(async (random) => {
        const clock = createFakeClock(0, () => random);
        const sentAt = Promise.withResolvers<number>();
        const reports = startReports({
          clock,
          log: captureLog().log,
          identity: () => identityUnder(ownRoots(authority)),
          peers: { byRoot: () => peersOf() },
          state: () => idle,
          callers: () => noCallers,
          reporting: {
            session: () => 1,
            controlPlaneRoots: async () => [],
            send: async () => sentAt.resolve(clock.now()),
          },
        });
        closing.push(reports.close);
        await clock.advance(10_000);
        return sentAt.promise;
      }),
    );
    expect(times).toEqual([2500, 3750, 5000, 6250, 6875]);
  });
});
