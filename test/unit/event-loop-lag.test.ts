import { expect, it } from 'vitest';
import { watchEventLoop } from '../../src/event-loop-lag.ts';
import { captureLog } from '../support/captured-log.ts';
import { createFakeClock } from '../support/fake-clock.ts';

/** A watch whose event loop can be blocked: the time goes on, and no timer runs. */
function watch() {
  const clock = createFakeClock();
  let blockedMs = 0;
  const recorded: number[] = [];
  const { log, lines } = captureLog();
  const watched = { ...clock, monotonic: () => clock.monotonic() + blockedMs };
  const { close } = watchEventLoop({ clock: watched, log, record: (lagSeconds) => recorded.push(lagSeconds) });
  const block = async (ms: number) => {
    blockedMs += ms;
    await clock.advance(100);
    return recorded.splice(0).map((lag) => Math.round(lag * 1000));
  };
  return { clock, recorded, lines, close, block };
}

it('records ten samples a second', async () => {
  const { clock, recorded } = watch();
  await clock.advance(1000);
  expect(recorded).toEqual(new Array(10).fill(0));
});

it('records each sample that fell due while it was blocked', async () => {
  const { block } = watch();
  expect(await block(350)).toEqual([350, 250, 150, 50]);
  expect(await block(0)).toEqual([0]);
});

it('records a minute of them at most', async () => {
  const { block } = watch();
  const lags = await block(3_600_000);
  expect([lags.length, lags[0]]).toEqual([601, 60_000]);
});

it('tells of half a second and more, three times and then once in ten seconds', async () => {
  const { clock, lines, block } = watch();
  await block(499);
  expect(lines).toEqual([]);
  for (let i = 0; i < 4; i += 1) await block(500);
  const message = 'The event loop was blocked, and every connection waited';
  expect(lines.map(({ msg, lagMs }) => [msg, lagMs])).toEqual(new Array(3).fill([message, 500]));
  await clock.advance(10_000);
  await block(700);
  expect(lines.at(3)).toMatchObject({ level: 'warn', lagMs: 700 });
});

it('stops when it is closed', () => {
  const { clock, close } = watch();
  close();
  expect(clock.pending).toBe(0);
});
