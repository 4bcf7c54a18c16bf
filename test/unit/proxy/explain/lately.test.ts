import { describe, expect, it } from 'vitest';
import { deniedReasons } from '../../../../src/outcomes.ts';
import type { Outcome } from '../../../../src/proxy/account.ts';
import { inViewOf, isStillSo, latelyOf } from '../../../../src/proxy/explain/lately.ts';
import type { FailureRun } from '../../../../src/proxy/failure-runs.ts';

const minuteMs = 60_000;
const run = (failures: number, outcome: Outcome = { kind: 'closed', reason: 'upstream_refused' }): FailureRun => ({
  failures,
  sinceMs: 0,
  last: {
    id: 'a-1',
    direction: 'outbound',
    peerAddress: undefined,
    openedAtMs: 0,
    durationMs: 0,
    known: { endpoint: { ip: '10.0.0.7', port: 80 } },
    bytes: undefined,
    outcome,
    nowMs: 0,
    clockSkewMs: undefined,
  },
});

describe('what experience says', () => {
  it.each([
    [1, minuteMs, true],
    [1, minuteMs + 1, false],
    [2, minuteMs + 1, true],
    [2, 10 * minuteMs, true],
    [2, 10 * minuteMs + 1, false],
  ])('of %i in a row after %i ms counts: %s', (failures, nowMs, counts) => {
    expect(latelyOf(run(failures), nowMs) !== undefined).toBe(counts);
  });

  it('counts no more where another endpoint or another identity is expected now', () => {
    const expectedId = 'spiffe://cluster.local/ns/shop/sa/api';
    const lately = latelyOf(run(2, { kind: 'handshake', reason: 'peer_identity', facts: { expectedId } }), 0)!;
    expect(isStillSo(lately, [{ address: '10.0.0.7:80', expectedId }])).toBe(true);
    expect(isStillSo(lately, [{ address: '10.0.0.7:80', expectedId: `${expectedId}-v2` }])).toBe(false);
    expect(isStillSo(lately, [{ address: '10.0.0.8:80', expectedId }])).toBe(false);
  });

  it('has the words of the other side, and what to do there', () => {
    const facts = { other: { outcome: 'denied', reason: 'connection_limit' } } as const;
    const lately = latelyOf(run(3, { kind: 'denied', reason: 'peer_refused', facts }), 0)!;
    expect(lately.latest.remedy).toBe(`Over there: ${deniedReasons.connection_limit.remedy}`);
    const { verdict } = inViewOf(
      { kind: 'carried', sentence: 'It would be reached' },
      'It would be attempted',
      lately,
      0,
    );
    expect(verdict.sentence).toMatch(
      /^It would be attempted, but the last 3 FAILED since 1970.*Z, the latest just now: The sidecar of the other side .*: The sidecar carries /,
    );
  });

  it('changes no verdict but that of one that would be carried', () => {
    const verdict = { kind: 'not_carried', sentence: 'It would not pass' } as const;
    expect(inViewOf(verdict, 'It would be attempted', latelyOf(run(2), 0), 0)).toEqual({ verdict });
  });
});
