import { describe, expect, it } from 'vitest';
import type { CarriedConnection, Turns } from '../../../src/agent/traffic-book.ts';
import { alsoTelling, createTrafficBook, trafficBookLimits } from '../../../src/agent/traffic-book.ts';
import type { LiveConnection, Observer } from '../../../src/proxy/account.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const to = (peerId?: string, service?: string): CarriedConnection => ({
  direction: 'outbound',
  facts: { security: peerId === undefined ? 'plaintext' : 'mutual_tls', peerId, service },
});
const api = 'spiffe://cluster.local/ns/shop/sa/api';

describe('the book of traffic', () => {
  it('counts connections by who was at the other end, the latest first', async () => {
    const clock = createFakeClock(0);
    const book = createTrafficBook(clock);
    book.connectionOpened(to(api, 'api.shop'));
    book.connectionOpened(to());
    await clock.advance(1000);
    book.connectionOpened(to(api, 'api.shop'));
    expect(book.edges()).toEqual([
      {
        direction: 'outbound',
        peer: api,
        service: 'api.shop',
        security: 'mutual_tls',
        connections: 2,
        lastAt: '1970-01-01T00:00:01.000Z',
      },
      { direction: 'outbound', security: 'plaintext', connections: 1, lastAt: '1970-01-01T00:00:00.000Z' },
    ]);
  });

  it('counts failures of each kind, the latest first', () => {
    const book = createTrafficBook(createFakeClock(0));
    book.handshakeFailed('inbound', 'expired');
    book.connectionDenied('inbound', 'default_deny');
    book.connectionFailed('outbound', 'upstream_refused');
    book.handshakeFailed('inbound', 'expired');
    expect(book.failures().map(({ outcome, reason, count }) => [outcome, reason, count])).toEqual([
      ['handshake', 'expired', 2],
      ['closed', 'upstream_refused', 1],
      ['denied', 'default_deny', 1],
    ]);
  });

  it('stays within its bounds when a hundred thousand different peers come by', () => {
    const book = createTrafficBook(createFakeClock(0));
    for (let n = 0; n < 100_000; n += 1) book.connectionOpened(to(`${api}-${n}`));
    const edges = book.edges();
    expect(edges).toHaveLength(trafficBookLimits.reportedEdges);
    expect(edges[0]?.peer).toBe(`${api}-99999`);
    // The first was forgotten long ago, and is counted anew.
    book.connectionOpened(to(`${api}-0`));
    expect(book.edges()[0]).toMatchObject({ peer: `${api}-0`, connections: 1 });
  });

  it('leaves out what a report has no room for', () => {
    const book = createTrafficBook(createFakeClock(0));
    book.connectionOpened(to(`${api}${'x'.repeat(300)}`));
    book.connectionOpened(to(api, 's'.repeat(300)));
    expect(book.edges()).toEqual([]);
  });

  it('hears what its neighbour hears, before it, where it wants to', () => {
    const heard: string[] = [];
    const recorder = (name: string): Turns & Pick<Observer, 'connectionClosed'> => ({
      connectionOpened: () => void heard.push(`${name} opened`),
      connectionClosed: () => void heard.push(`${name} closed`),
      connectionFailed: () => void heard.push(`${name} failed`),
      connectionDenied: () => void heard.push(`${name} denied`),
      handshakeFailed: () => void heard.push(`${name} handshake`),
    });
    const { connectionClosed } = recorder('ends');
    const observer = alsoTelling({ ...recorder('metrics'), other: () => 'kept' }, recorder('book'), {
      connectionClosed,
    });
    observer.connectionOpened(to());
    observer.connectionClosed({} as LiveConnection, 'eof');
    observer.connectionFailed('inbound', 'upstream_refused');
    observer.connectionDenied('inbound', 'default_deny');
    observer.handshakeFailed('inbound', 'expired');
    const both = (turn: string) => [`book ${turn}`, `metrics ${turn}`];
    expect(heard).toEqual([
      ...both('opened'),
      ...['book closed', 'ends closed', 'metrics closed'],
      ...['failed', 'denied', 'handshake'].flatMap(both),
    ]);
    expect(observer.other()).toBe('kept');
  });
});
