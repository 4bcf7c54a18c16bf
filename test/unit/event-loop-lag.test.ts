import { describe, expect, it } from 'vitest';
import { watchEventLoop } from '../../src/event-loop-lag.ts';
import { captureLog } from '../support/captured-log.ts';
import { createFakeClock } from '../support/fake-clock.ts';

/** A watch whose event loop is busy, or idle, and can be blocked: the time goes on, and no timer runs. */
function watch({ isIdle = false } = {}) {
  const clock = createFakeClock();
  let blockedMs = 0;
  let ranMs = 0;
  const recorded: number[] = [];
  const { log, lines } = captureLog();
  const watched = { ...clock, monotonic: () => clock.monotonic() + blockedMs };
  const active = () => (isIdle ? ranMs : watched.monotonic());
  const { close } = watchEventLoop({ clock: watched, log, active, record: (lagSeconds) => recorded.push(lagSeconds) });
  const block = async (ms: number) => {
    blockedMs += ms;
    await clock.advance(100);
    return recorded.splice(0).map((lag) => Math.round(lag * 1000));
  };
  /** Something runs for so long, and is over when the next timer is due. */
  const run = (ms: number) => {
    ranMs += ms;
  };
  return { clock, recorded, lines, close, block, run };
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

describe('an event loop that is idle', () => {
  it('is looked at once a second, and ten times as soon as it has work', async () => {
    const { clock, recorded, run } = watch({ isIdle: true });
    await clock.advance(100);
    expect(recorded.splice(0)).toEqual([0]);
    await clock.advance(3000);
    expect(recorded.splice(0)).toEqual([0, 0, 0]);
    run(60);
    await clock.advance(1000);
    expect(recorded.splice(0)).toEqual([0]);
    run(20);
    await clock.advance(100);
    await clock.advance(100);
    expect(recorded).toEqual([0, 0]);
  });

  it('has a block recorded that was over before the next look', async () => {
    const { clock, recorded, lines, run } = watch({ isIdle: true });
    await clock.advance(1100);
    recorded.splice(0);
    run(700);
    await clock.advance(1000);
    expect(recorded.map((lag) => Math.round(lag * 1000))).toEqual([700, 600, 500, 400, 300, 200, 100, 0]);
    expect(lines).toMatchObject([{ lagMs: 700 }]);
  });
});

it('stops when it is closed', () => {
  const { clock, close } = watch();
  close();
  expect(clock.pending).toBe(0);
});
