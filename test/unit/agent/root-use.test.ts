import { describe, expect, it } from 'vitest';
import { quietBeforeRemovalMs, removalOf } from '../../../src/agent/root-use.ts';
import { recentPeerMs } from '../../../src/proxy/peer-book.ts';

const nowMs = Date.parse('2026-11-22T12:00:00Z');
const hour = 3_600_000;
const ids = (...names: string[]) => new Map(names.map((name) => [`spiffe://m/${name}`, nowMs]));
const seen = (recent = ids(), unnamed = 0, lastSeenMs = nowMs) => ({ open: 0, recent, unnamed, lastSeenMs });
const ask = (question: Partial<Parameters<typeof removalOf>[0]>) =>
  removalOf({ isOurs: false, use: undefined, sinceMs: nowMs - 9 * hour, nowMs, ...question });

describe('a root may be removed', () => {
  it('when no peer has chained to it since the count began, an hour ago or more', () => {
    const yes = { mayBeRemoved: true, removal: '0 peers chain to it since 2026-11-22T03:00:00Z' };
    expect(ask({})).toEqual(yes);
    expect(ask({ sinceMs: nowMs - hour })).toMatchObject({ mayBeRemoved: true });
  });

  it('when the last peer of it has been gone for an hour, and not since the count began', () => {
    expect(ask({ use: seen(ids(), 0, nowMs - hour) })).toEqual({
      mayBeRemoved: true,
      removal: '0 peers chain to it since 2026-11-22T11:00:00Z',
    });
  });
});

describe('a root may not be removed', () => {
  it('before an hour has been looked at', () => {
    const early = {
      mayBeRemoved: false,
      removal:
        '0 peers chain to it since 2026-11-22T11:00:00Z, which is less than an hour: ask again at 2026-11-22T12:00:01Z',
    };
    expect(ask({ sinceMs: nowMs - hour + 1 })).toEqual(early);
    expect(ask({ use: seen(ids(), 0, nowMs - hour + 1) })).toEqual(early);
  });

  it.each([
    [seen(ids('a')), '1 peer chains to it, or did within the last hour: spiffe://m/a'],
    [
      seen(ids('a', 'b', 'c')),
      '3 peers chain to it, or did within the last hour: spiffe://m/a, spiffe://m/b, spiffe://m/c',
    ],
    [
      seen(ids('a', 'b', 'c', 'd')),
      '4 peers chain to it, or did within the last hour: spiffe://m/a, spiffe://m/b, spiffe://m/c and others',
    ],
    [seen(ids('a'), 5), 'Up to 6 peers chain to it, or did within the last hour: spiffe://m/a and others'],
    [seen(ids(), 5), 'Up to 5 peers chain to it, or did within the last hour'],
  ])('while peers chain to it, or did lately, also those whose names were not kept', (use, removal) => {
    expect(ask({ use: { ...use, lastSeenMs: 0 } })).toEqual({ mayBeRemoved: false, removal });
  });

  it('while our own certificate chains to it', () => {
    const isOurs = true;
    expect(ask({ isOurs })).toEqual({
      mayBeRemoved: false,
      removal: 'Our own certificate chains to it; 0 peers chain to it since 2026-11-22T03:00:00Z',
    });
    expect(ask({ isOurs, use: seen(ids('a')) })).toEqual({
      mayBeRemoved: false,
      removal: 'Our own certificate chains to it, and 1 peer chains to it, or did within the last hour: spiffe://m/a',
    });
  });
});

it('asks for the time for which peers are remembered', () => {
  expect(quietBeforeRemovalMs).toBe(recentPeerMs);
});
