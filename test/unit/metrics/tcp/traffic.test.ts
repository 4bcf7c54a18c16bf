import { describe, expect, it } from 'vitest';
import type { FoundWorkload } from '../../../../src/agent/registry/workload-book.ts';
import type { NamedWorkload } from '../../../../src/control-api.ts';
import { createSeriesBook, maxTcpSeries } from '../../../../src/metrics/tcp/series.ts';
import { createTcpTraffic, tcpTrafficLimits } from '../../../../src/metrics/tcp/traffic.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import { ids, inbound, ips, namedWorkload, outbound, plaintext } from '../../../support/named-workloads.ts';

const known = (workload: NamedWorkload): FoundWorkload => ({ kind: 'known', workload });
const asked: FoundWorkload = { kind: 'asked', before: undefined };

/** The ledger of `api`, with a registry that says what the test wants. */
function ledger(limits = tcpTrafficLimits, book = createSeriesBook()) {
  const clock = createFakeClock();
  const found = new Map<string, FoundWorkload>([[ips.web, known(namedWorkload('web'))]]);
  const state = { own: known(namedWorkload('api')) as FoundWorkload };
  const workloads = { find: (ip: string): FoundWorkload => found.get(ip) ?? { kind: 'unknown' } };
  const traffic = createTcpTraffic({ clock, workloads, ownWorkload: () => state.own, names: {} }, limits, book);
  const counts = () =>
    traffic.series().map(({ labels: { source_workload, destination_workload }, ...rest }) => ({
      from: source_workload,
      to: destination_workload,
      ...rest,
    }));
  return { clock, found, state, traffic, counts };
}
const web = { from: 'web-deployment', to: 'api-deployment' };
const nobody = { from: 'unknown', to: 'api-deployment' };
/** What the client sends is received in Istio's words, whoever reports it. */
const bytes = { sentBytes: 7, receivedBytes: 3 };

describe('The books of connections between workloads', () => {
  it('count a connection when it opens, its bytes while it lives, and its end', () => {
    const { traffic, counts } = ledger();
    const connection = { ...inbound(), bytes: { bytesSent: 0, bytesReceived: 0 } };
    traffic.connectionOpened(connection);
    expect(counts()).toEqual([{ ...web, opened: 1, closed: 0, sentBytes: 0, receivedBytes: 0 }]);
    Object.assign(connection.bytes, inbound().bytes);
    expect(counts()).toEqual([{ ...web, opened: 1, closed: 0, ...bytes }]);
    traffic.connectionClosed(connection);
    expect(counts()).toEqual([{ ...web, opened: 1, closed: 1, ...bytes }]);
    expect(counts()).toEqual([{ ...web, opened: 1, closed: 1, ...bytes }]);
  });

  it('sum up what has the same labels, and keep apart what does not', () => {
    const { traffic, counts } = ledger();
    for (const connection of [inbound(), inbound(), inbound(plaintext)]) {
      traffic.connectionOpened(connection);
      traffic.connectionClosed(connection);
    }
    expect(counts()).toEqual([
      { ...web, opened: 2, closed: 2, sentBytes: 14, receivedBytes: 6 },
      { ...nobody, opened: 1, closed: 1, ...bytes },
    ]);
  });

  it('count nothing of a connection that they did not see opened', () => {
    const { traffic, counts } = ledger();
    traffic.connectionClosed(inbound());
    expect(counts()).toEqual([]);
  });
});

describe('A connection whose peer is being asked for', () => {
  it('is counted under its name as soon as that is known', () => {
    const { found, traffic, counts } = ledger();
    found.set(ips.web, asked);
    traffic.connectionOpened(inbound());
    expect(counts()).toEqual([]);
    found.set(ips.web, known(namedWorkload('web')));
    traffic.answered([ips.web]);
    expect(counts()).toEqual([{ ...web, opened: 1, closed: 0, ...bytes }]);
  });

  it('is counted so also when it has ended meanwhile', () => {
    const { found, traffic, counts } = ledger();
    found.set(ips.web, asked);
    const connection = inbound();
    traffic.connectionOpened(connection);
    traffic.connectionClosed(connection);
    expect(counts()).toEqual([]);
    found.set(ips.web, known(namedWorkload('web')));
    traffic.answered([ips.web]);
    expect(counts()).toEqual([{ ...web, opened: 1, closed: 1, ...bytes }]);
  });

  it('is counted after the wait by what is known, each in its time', async () => {
    const { clock, found, traffic, counts } = ledger();
    found.set(ips.web, asked);
    traffic.connectionOpened(inbound());
    await clock.advance(tcpTrafficLimits.waitMs / 2);
    traffic.connectionOpened(inbound());
    await clock.advance(tcpTrafficLimits.waitMs / 2 - 1);
    expect(counts()).toEqual([]);
    await clock.advance(1);
    expect(counts()).toMatchObject([{ ...nobody, opened: 1 }]);
    await clock.advance(tcpTrafficLimits.waitMs / 2);
    expect(counts()).toMatchObject([{ ...nobody, opened: 2 }]);
    expect(clock.pending).toBe(0);
    traffic.connectionOpened(inbound());
    await clock.advance(tcpTrafficLimits.waitMs);
    expect(counts()).toMatchObject([{ ...nobody, opened: 3 }]);
  });

  it('is counted then by what was known before, where the control plane does not answer', async () => {
    const { clock, found, traffic, counts } = ledger();
    found.set(ips.web, { kind: 'asked', before: namedWorkload('web') });
    traffic.connectionOpened(inbound());
    await clock.advance(tcpTrafficLimits.waitMs);
    expect(counts()).toMatchObject([{ ...web, opened: 1 }]);
  });

  it('is counted once when the answer came in time', async () => {
    const { clock, found, traffic, counts } = ledger();
    found.set(ips.web, asked);
    traffic.connectionOpened(inbound());
    found.set(ips.web, known(namedWorkload('web')));
    traffic.answered([ips.web]);
    await clock.advance(tcpTrafficLimits.waitMs);
    expect(counts()).toMatchObject([{ ...web, opened: 1 }]);
  });

  it('is counted once, also when the answer comes after the wait', async () => {
    const { clock, found, traffic, counts } = ledger();
    found.set(ips.web, asked);
    traffic.connectionOpened(inbound());
    await clock.advance(tcpTrafficLimits.waitMs);
    found.set(ips.web, known(namedWorkload('web')));
    traffic.answered([ips.web]);
    expect(counts()).toMatchObject([{ ...nobody, opened: 1 }]);
  });

  it('keeps nobody waiting whose peer is known', () => {
    const { found, traffic, counts } = ledger();
    found.set('10.0.0.9', asked);
    traffic.connectionOpened(inbound({}, '10.0.0.9'));
    traffic.connectionOpened(inbound());
    expect(counts()).toMatchObject([{ ...web, opened: 1 }]);
  });

  it('waits for our own name too, which any answer may be', () => {
    const { state, traffic, counts } = ledger();
    state.own = asked;
    traffic.connectionOpened(inbound());
    traffic.connectionOpened(inbound(plaintext));
    traffic.answered([ips.api]);
    expect(counts()).toEqual([]);
    state.own = known(namedWorkload('api'));
    traffic.answered([ips.api]);
    expect(counts()).toMatchObject([web, nobody]);
  });

  it('is counted at once when too many wait', () => {
    const { found, traffic, counts } = ledger({ ...tcpTrafficLimits, waiting: 3 });
    found.set(ips.web, asked);
    for (let index = 0; index < 5; index += 1) traffic.connectionOpened(inbound());
    expect(counts()).toMatchObject([{ ...nobody, opened: 2 }]);
  });
});

describe('The number of series', () => {
  /** 100,000 identities, each from an address of its own, of which the registry knows every one. */
  const crowd = (index: number) => {
    const ip = `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
    const workload = namedWorkload('web', { address: ip, name: `w${index}`, serviceAccount: `a${index}` });
    return { ip, workload, peerId: `spiffe://cluster.local/ns/shop/sa/a${index}` };
  };

  it('is bounded under 100,000 distinct peers, of which none is lost', () => {
    const { found, traffic } = ledger();
    for (let index = 0; index < 100_000; index += 1) {
      const { ip, workload, peerId } = crowd(index);
      found.set(ip, known(workload));
      for (const connection of [inbound({ peerId }, ip), outbound({ peerId, endpoint: { ip, port: 8080 } })]) {
        traffic.connectionOpened(connection);
        traffic.connectionClosed(connection);
      }
      found.delete(ip);
    }
    const series = traffic.series();
    expect(series.length).toBeLessThanOrEqual(maxTcpSeries + 2);
    const sum = (count: 'opened' | 'closed' | 'sentBytes') => series.reduce((total, one) => total + one[count], 0);
    expect([sum('opened'), sum('closed'), sum('sentBytes')]).toEqual([200_000, 200_000, 1_400_000]);
    expect(series.find(({ labels }) => labels.source_principal === 'other')?.opened).toBe(100_000 - maxTcpSeries / 2);
  });

  it('does not grow with a port scan', () => {
    const { traffic } = ledger();
    for (let port = 1; port <= 65_535; port += 1) {
      traffic.connectionOpened(inbound({ originalDestination: { ip: ips.api, port } }));
      traffic.connectionOpened(inbound({ ...plaintext, originalDestination: { ip: ips.api, port } }));
    }
    // With the Service of the one port that has one, and without.
    expect(traffic.series()).toHaveLength(4);
  });

  it('beyond the bound leaves the first as they are', () => {
    const { traffic, counts } = ledger(tcpTrafficLimits, createSeriesBook(1));
    traffic.connectionOpened(inbound());
    traffic.connectionOpened(inbound({ peerId: ids.web.replace('shop', 'toys') }));
    traffic.connectionOpened(inbound());
    expect(counts()).toMatchObject([
      { ...web, opened: 2 },
      { from: 'other', to: 'api-deployment', opened: 1 },
    ]);
  });
});
