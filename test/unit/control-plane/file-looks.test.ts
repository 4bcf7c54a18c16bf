import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FileLooks } from '../../../src/control-plane/file-looks.ts';
import { fileLookTimesMs, lookAtFiles } from '../../../src/control-plane/file-looks.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

let clock: FakeClock;
let looks: FileLooks;
let change: () => void;
let isWatched: boolean;
let started: number;
let finish: () => void;
beforeEach(() => {
  clock = createFakeClock();
  started = 0;
  isWatched = true;
  const watch = (_: readonly string[], onChange: () => void) => {
    change = onChange;
    return () => {
      isWatched = false;
    };
  };
  looks = lookAtFiles({ clock, watch }, ['/a'], () => {
    started += 1;
    return new Promise((resolve) => {
      finish = resolve;
    });
  });
});
afterEach(async () => {
  const closed = looks.close();
  finish?.();
  await closed;
});

describe('a look', () => {
  it('comes a moment after a change, once for changes that come together and however many follow', async () => {
    for (let i = 0; i < 5; i++) {
      change();
      await clock.advance(fileLookTimesMs.settle / 5);
    }
    expect(started).toBe(1);
    finish();
    await clock.advance(fileLookTimesMs.settle);
    expect(started).toBe(1);
  });

  it('comes without a change at each poll', async () => {
    for (let polls = 1; polls <= 3; polls++) {
      await clock.advance(fileLookTimesMs.poll);
      expect(started).toBe(polls);
      finish();
    }
  });

  it('that is running is the only one, and is followed by another when something changes meanwhile', async () => {
    change();
    await clock.advance(fileLookTimesMs.settle);
    change();
    await clock.advance(fileLookTimesMs.settle);
    expect(started).toBe(1);
    finish();
    await clock.advance(0);
    expect(started).toBe(2);
    finish();
    await clock.advance(fileLookTimesMs.settle);
    expect(started).toBe(2);
  });

  it('is waited for at the end, and none follows', async () => {
    change();
    await clock.advance(fileLookTimesMs.settle);
    change();
    await clock.advance(fileLookTimesMs.settle);
    let isClosed = false;
    const closed = looks.close().then(() => {
      isClosed = true;
    });
    await clock.advance(fileLookTimesMs.poll);
    expect([isClosed, isWatched, clock.pending]).toEqual([false, false, 0]);
    finish();
    await closed;
    change();
    await clock.advance(fileLookTimesMs.poll);
    expect(started).toBe(1);
  });
});
