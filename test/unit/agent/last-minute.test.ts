import { expect, it } from 'vitest';
import { createLastMinute } from '../../../src/agent/last-minute.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const none = { carried: 0, failed: 0, reasons: [] };

it('counts what was carried and what failed, each direction apart, and forgets it after a minute', async () => {
  const clock = createFakeClock();
  const minute = createLastMinute(clock);
  expect(minute.counts()).toEqual({ inbound: none, outbound: none });
  minute.connectionDenied('inbound', 'default_deny');
  await clock.advance(30_000);
  minute.connectionOpened({ direction: 'inbound', facts: { security: 'mutual_tls' } });
  for (let count = 0; count < 2; count += 1) minute.connectionDenied('inbound', 'connection_limit');
  minute.handshakeFailed('outbound', 'timeout');
  minute.connectionFailed('outbound', 'upstream_refused');
  minute.connectionFailed('outbound', 'upstream_refused');
  expect(minute.counts()).toEqual({
    inbound: {
      carried: 1,
      failed: 3,
      reasons: [
        { reason: 'connection_limit', count: 2 },
        { reason: 'default_deny', count: 1 },
      ],
    },
    outbound: {
      carried: 0,
      failed: 3,
      reasons: [
        { reason: 'upstream_refused', count: 2 },
        { reason: 'timeout', count: 1 },
      ],
    },
  });
  await clock.advance(35_000);
  expect(minute.counts().inbound).toEqual({
    carried: 1,
    failed: 2,
    reasons: [{ reason: 'connection_limit', count: 2 }],
  });
  await clock.advance(30_000);
  expect(minute.counts()).toEqual({ inbound: none, outbound: none });
});

it('takes the place of the minute before', async () => {
  const clock = createFakeClock();
  const minute = createLastMinute(clock);
  for (let count = 0; count < 20; count += 1) {
    minute.connectionDenied('inbound', 'default_deny');
    await clock.advance(5000);
  }
  minute.connectionDenied('inbound', 'default_deny');
  expect(minute.counts().inbound.failed).toBe(12);
});
