import { expect, it } from 'vitest';
import type { DeniedReason } from '../../../src/outcomes.ts';
import { deniedReasons } from '../../../src/outcomes.ts';
import type { Ended } from '../../../src/proxy/connection-line.ts';
import { createRecentFailures } from '../../../src/proxy/recent-failures.ts';

const failed = (id: string, atMs: number, reason: DeniedReason = 'default_deny'): Ended => ({
  id,
  direction: 'inbound',
  peerAddress: { ip: '10.0.0.9', port: 40112 },
  openedAtMs: atMs - 5,
  durationMs: 5,
  known: { originalDestination: { ip: '10.0.0.7', port: 80 } },
  bytes: undefined,
  outcome: { kind: 'denied', reason, detail: 'What was found' },
  nowMs: atMs,
  clockSkewMs: undefined,
});

it('has the words of each, the latest first', () => {
  const failures = createRecentFailures();
  failures.add(failed('a-1', 1000));
  failures.add(failed('a-2', 3000, 'not_ready'));
  failures.add(failed('a-3', 2000));
  expect(failures.all().map(({ id }) => id)).toEqual(['a-2', 'a-3', 'a-1']);
  expect(failures.find('a-1')).toMatchObject({
    at: '1970-01-01T00:00:01.000Z',
    openedAt: '1970-01-01T00:00:00.995Z',
    peerAddress: '10.0.0.9:40112',
    originalDestination: '10.0.0.7:80',
    reason: 'default_deny',
    ...deniedReasons.default_deny,
    detail: 'What was found',
  });
  expect(failures.find('a-4')).toBeUndefined();
});

it('keeps so many of each reason, so that a flood of one hides none of another', () => {
  const failures = createRecentFailures(3);
  failures.add(failed('rare', 1, 'not_ready'));
  for (let number = 0; number < 1000; number += 1) failures.add(failed(`a-${number}`, 2 + number));
  expect(failures.all().map(({ id }) => id)).toEqual(['a-999', 'a-998', 'a-997', 'rare']);
});
