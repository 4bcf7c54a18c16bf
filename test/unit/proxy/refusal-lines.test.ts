import { describe, expect, it } from 'vitest';
import type { ConnectionLineKind } from '../../../src/proxy/refusal-lines.ts';
import { createRefusalLines, refusalLineLimits } from '../../../src/proxy/refusal-lines.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const accessLogRate = 100;
const { burst, linesPerSecond, summaryMs } = refusalLineLimits;
const denied: ConnectionLineKind = { direction: 'inbound', outcome: 'denied', reason: 'default_deny' };
const garbage: ConnectionLineKind = { direction: 'inbound', outcome: 'handshake', reason: 'bad_record' };

function scene() {
  const clock = createFakeClock();
  const { log, lines } = captureLog();
  const counted: string[] = [];
  const counter = { logLineSuppressed: (reason: string) => void counted.push(reason) };
  const refusals = createRefusalLines({ counter, log, clock, accessLogRate });
  let written = 0;
  const flood = (refused: ConnectionLineKind, times: number) => {
    for (let number = 0; number < times; number += 1) refusals.tell(refused, () => (written += 1));
  };
  return { clock, lines, counted, refusals, flood, written: () => written };
}

describe('lines about refusals', () => {
  it('X11: a flood writes a burst, and every few seconds one line that says how many it did not', async () => {
    const { clock, lines, counted, flood, written } = scene();
    flood(denied, 10_000);
    expect(written()).toBe(burst);
    expect(lines).toEqual([]);
    await clock.advance(summaryMs);
    const summary = { level: 'warn', direction: 'inbound', outcome: 'denied', reason: 'default_deny' };
    expect(lines).toMatchObject([{ ...summary, suppressed: 10_000 - burst }]);
    expect(counted).toEqual(Array.from({ length: 10_000 - burst }, () => 'default_deny'));
    flood(denied, 1000);
    await clock.advance(summaryMs);
    expect(lines).toMatchObject([{}, { ...summary, suppressed: 1000 - Math.min(burst, linesPerSecond * 5) }]);
  });

  it('X11: a flood for one reason hides no other reason, nor the same one of the other direction', () => {
    const { flood, written } = scene();
    flood(denied, 1000);
    const before = written();
    flood(garbage, 1);
    flood({ ...denied, direction: 'outbound' }, 1);
    flood({ direction: 'inbound', outcome: 'closed', reason: 'reset' }, burst);
    flood({ direction: 'inbound', outcome: 'handshake', reason: 'reset' }, 1);
    expect(written()).toBe(before + 2 + burst + 1);
  });

  it('says nothing, and leaves no timer, when nothing was left out', async () => {
    const { clock, lines, flood } = scene();
    flood(denied, burst);
    expect(clock.pending).toBe(0);
    flood(denied, 1);
    await clock.advance(summaryMs);
    expect(lines).toHaveLength(1);
    await clock.advance(10 * summaryMs);
    expect(lines).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  it('X11: a flood of connections that were carried writes so many lines, and hides no refusal', async () => {
    const { clock, lines, counted, flood, written } = scene();
    const carried: ConnectionLineKind = { direction: 'inbound', outcome: 'closed', reason: 'eof', isCarried: true };
    flood(carried, 5000);
    expect(written()).toBe(2 * accessLogRate);
    flood(denied, burst);
    flood({ ...carried, reason: 'reset' }, 1);
    flood({ ...carried, reason: 'reset', isCarried: false }, 1);
    expect(written()).toBe(2 * accessLogRate + burst + 2);
    await clock.advance(summaryMs);
    const left = 5000 - 2 * accessLogRate;
    expect(lines).toMatchObject([
      { msg: 'Log lines of carried connections suppressed', direction: 'inbound', reason: 'eof', suppressed: left },
    ]);
    expect(lines[0]).not.toHaveProperty('isCarried');
    expect(counted).toEqual(Array.from({ length: left }, () => 'eof'));
  });

  it('says at the end what was left out until then, once', async () => {
    const { clock, lines, refusals, flood } = scene();
    flood(denied, burst + 3);
    flood(garbage, burst + 1);
    refusals.close();
    expect(lines).toMatchObject([
      { reason: 'default_deny', suppressed: 3 },
      { reason: 'bad_record', suppressed: 1 },
    ]);
    refusals.close();
    await clock.advance(summaryMs);
    expect(lines).toHaveLength(2);
  });
});
