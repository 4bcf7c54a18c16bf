import { beforeAll, describe, expect, it } from 'vitest';
import { alsoTelling } from '../../../src/agent/traffic-book.ts';
import { createLog } from '../../../src/log.ts';
import type { Family } from '../../../src/metrics/family.ts';
import { sidecarFamilies } from '../../../src/metrics/sidecar-families.ts';
import { maxTcpSeries } from '../../../src/metrics/tcp/series.ts';
import { createTcpTraffic } from '../../../src/metrics/tcp/traffic.ts';
import type { ClosedReason, DeniedReason, Direction, HandshakeReason } from '../../../src/outcomes.ts';
import { closedReasons, deniedReasons, handshakeReasons } from '../../../src/outcomes.ts';
import { createAccounts } from '../../../src/proxy/account.ts';
import { createPeerBook } from '../../../src/proxy/peer-book.ts';
import { createRecentFailures } from '../../../src/proxy/recent-failures.ts';
import { createRefusalLines } from '../../../src/proxy/refusal-lines.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { sidecarMetrics } from '../../support/metrics.ts';

/** The books of a sidecar, and its page. */
function sidecar() {
  const clock = createFakeClock();
  const log = createLog('silent');
  const peers = createPeerBook(clock);
  const nobody = { kind: 'unknown' } as const;
  const tcp = createTcpTraffic({
    clock,
    workloads: { find: () => nobody },
    ownWorkload: () => nobody,
    names: { workloadName: 'api', workloadNamespace: 'shop' },
  });
  const metrics = sidecarMetrics({
    liveConnections: () => accounts.live(),
    peersByRoot: peers.byRoot,
    tcpSeries: tcp.series,
  });
  const observer = alsoTelling(metrics, tcp);
  const refusals = createRefusalLines({ counter: metrics, log, clock });
  const accounts = createAccounts({ observer, refusals, failures: createRecentFailures(), log, clock });
  return { accounts, metrics, observer, peers, refusals };
}

const outcomes = [
  ...Object.keys(closedReasons).map((reason) => ({ kind: 'closed', reason: reason as ClosedReason }) as const),
  ...Object.keys(deniedReasons).map((reason) => ({ kind: 'denied', reason: reason as DeniedReason }) as const),
  ...Object.keys(handshakeReasons).map((reason) => ({ kind: 'handshake', reason: reason as HandshakeReason }) as const),
];

/** What a peer can choose: its address and port, its identity, its root's name, what it asks for, and how it fails. */
function meet({ accounts, metrics, observer, peers, refusals }: ReturnType<typeof sidecar>, index: number): void {
  const direction: Direction = index % 2 === 0 ? 'inbound' : 'outbound';
  const ip = `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
  const port = index % 65_536;
  const outcome = outcomes[index % outcomes.length] ?? { kind: 'closed', reason: 'eof' };
  const peerId = `spiffe://cluster.local/ns/n${index}/sa/s${index}`;
  const account = accounts.open({ direction, peerAddress: { ip, port }, id: `id-${index}` });
  if (outcome.kind === 'handshake') observer.handshakeFailed(direction, outcome.reason);
  else
    observer.handshakeSucceeded(direction, 1, {
      version: 'TLSv1.3',
      cipher: 'TLS_AES_256_GCM_SHA384',
      group: 'X25519',
    });
  if (outcome.kind === 'closed') {
    peers.opened({ rootFingerprint: `${index % 100}`.padStart(64, '0'), spiffeId: { uri: peerId } } as never)();
    const facts = {
      transport: 'hbone',
      security: 'mutual_tls',
      originalDestination: { ip, port },
      service: `s${index}`,
      peerId,
    };
    account.established({ ...facts, transport: 'hbone', security: 'mutual_tls' }, { bytesSent: 1, bytesReceived: 2 });
  }
  account.close(outcome);
  refusals.tell({ direction, outcome: outcome.kind, reason: outcome.reason } as never, () => undefined);
  metrics.eventLoopLagged(0);
}

interface Shown {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
}

const seriesOn = (page: string): Shown[] =>
  page.split('\n').flatMap((line) => {
    const [, name, labels = ''] = /^([a-z_]+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === undefined) return [];
    return [
      {
        name,
        labels: new Map([...labels.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, value])),
      },
    ];
  });

const ofRemora = (page: string) => page.split('\n').filter((line) => line.startsWith('remora_'));
/** A page without its values, which have more digits the longer it counts. */
const withoutValues = (page: string) => ofRemora(page).map((line) => line.slice(0, line.lastIndexOf(' ')));

describe('100,000 peers with an identity, an address and a destination of their own, at every port', () => {
  let early: string;
  let late: string;

  beforeAll(async () => {
    const books = sidecar();
    const few = 5000;
    for (let index = 0; index < few; index += 1) meet(books, index);
    early = await books.metrics.text('prometheus');
    for (let index = few; index < 100_000; index += 1) meet(books, index);
    late = await books.metrics.text('prometheus');
  });

  it('leave as many series of remora_* as the first of them', () => {
    expect(withoutValues(late)).toEqual(withoutValues(early));
    expect(ofRemora(late).length).toBeGreaterThan(200);
    expect(ofRemora(late).length).toBeLessThan(400);
    expect(ofRemora(late).join('\n').length).toBeLessThan(40_000);
  });

  it('add no value to a label that is not declared', () => {
    const families: Readonly<Record<string, Family>> = sidecarFamilies;
    const shown = seriesOn(late);
    for (const { name, labels } of shown) {
      const family = families[name] ?? families[name.replace(/_(?:bucket|sum|count)$/, '')];
      for (const [label, value] of labels) {
        const declared = family?.labels?.[label];
        if (label === 'le' && family?.type === 'histogram') continue;
        expect(declared, `${name} ${label}`).toBeDefined();
        if (declared?.kind === 'closed') expect(declared.values, `${name} ${label}`).toContain(value);
      }
    }
    expect(shown.length).toBeGreaterThan(200);
  });

  it('add no more than a bounded number of values to those that are, with one for the rest', () => {
    const values = new Map<string, Set<string>>();
    for (const { name, labels } of seriesOn(late))
      for (const [label, value] of labels)
        values.set(`${name} ${label}`, (values.get(`${name} ${label}`) ?? new Set()).add(value));
    for (const [name, { labels = {} }] of Object.entries<Family>(sidecarFamilies))
      for (const [label, declared] of Object.entries(labels)) {
        const seen = values.get(`${name} ${label}`)?.size ?? 0;
        if (declared.kind === 'bounded') expect(seen, `${name} ${label}`).toBeLessThanOrEqual(declared.most + 1);
      }
    expect(values.get('istio_tcp_connections_opened_total source_principal')).toContain('other');
  });

  it('leave a bounded number of series of istio_tcp_*', () => {
    const ofIstio = (page: string) =>
      page.split('\n').filter((line) => line.startsWith('istio_tcp_connections_opened_total{'));
    // A few sets of labels, in which `other` stands for the peer, come on top.
    expect(ofIstio(late).length).toBeLessThan(maxTcpSeries + 20);
    expect(ofIstio(late).length).toBe(ofIstio(early).length);
  });
});
