import { expect, it } from 'vitest';
import { timedReadiness } from '../../../src/agent/gate-times.ts';
import { timestamp } from '../../../src/clock.ts';
import { createReadiness } from '../../../src/lifecycle.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

it('says since when a gate is closed, whatever the reason is meanwhile', async () => {
  const clock = createFakeClock();
  const start = timestamp(clock.now());
  const readiness = timedReadiness(clock, createReadiness(['identity', 'policy']));
  await clock.advance(1000);
  readiness.close('identity', 'Another reason');
  expect(readiness.closedSince('identity')).toBe(start);
  readiness.open('identity');
  expect(readiness.closedSince('identity')).toBe(undefined);
  await clock.advance(1000);
  readiness.close('identity', 'Over');
  expect(readiness.closedSince('identity')).toBe(timestamp(clock.now()));
  expect([...readiness.closed()]).toEqual([
    ['policy', 'Not yet'],
    ['identity', 'Over'],
  ]);
});
