import { describe, expect, it } from 'vitest';
import { createOwnAddresses, createOwnWorkload } from '../../../../src/agent/registry/own-workload.ts';
import type { FoundWorkload } from '../../../../src/agent/registry/workload-book.ts';
import {
  createWorkloadBook,
  workloadBookLimits,
  workloadBookTimes,
} from '../../../../src/agent/registry/workload-book.ts';
import type { NamedWorkload } from '../../../../src/control-api.ts';
import { maxWorkloads } from '../../../../src/control-api.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import { spiffeId } from '../../../support/identities.ts';
import { ids, ips, namedWorkload } from '../../../support/named-workloads.ts';

/** A book whose control plane answers when the test says so. */
function bookAndControlPlane(limits = workloadBookLimits) {
  const clock = createFakeClock();
  const { log, lines } = captureLog();
  const calls: { ips: readonly string[]; answer(...workloads: NamedWorkload[]): void; fail(): void }[] = [];
  const book = createWorkloadBook(
    {
      clock,
      log,
      client: {
        workloads: (asked, signal) =>
          new Promise((resolve, reject) => {
            signal?.addEventListener('abort', () => reject(signal.reason));
            calls.push({
              ips: asked,
              answer: (...workloads) => resolve(workloads),
              fail: () => reject(new Error('it is away')),
            });
          }),
      },
    },
    limits,
  );
  const last = async () => {
    await clock.advance(0);
    return calls.at(-1)!;
  };
  return { book, clock, calls, last, lines };
}
const web = namedWorkload('web');
const known = { kind: 'known', workload: web };
const asked = (before?: NamedWorkload): FoundWorkload => ({ kind: 'asked', before });

describe('The book of workloads', () => {
  it('asks once for what it does not know, and says who was answered', async () => {
    const { book, calls, clock, last } = bookAndControlPlane();
    const told: string[][] = [];
    book.subscribe((answered) => told.push([...answered]));
    expect([book.find(ips.web), book.find(ips.web), book.find(ips.api)]).toEqual([asked(), asked(), asked()]);
    (await last()).answer(web);
    await clock.advance(0);
    expect(calls.map((call) => call.ips)).toEqual([[ips.web, ips.api]]);
    expect(told).toEqual([[ips.web, ips.api]]);
    expect([book.find(ips.web), book.find(ips.api)]).toEqual([known, { kind: 'unknown' }]);
    await clock.advance(1000);
    expect(calls).toHaveLength(1);
  });

  it('asks anew when an answer is old, and says meanwhile what was known', async () => {
    const { book, clock, last } = bookAndControlPlane();
    book.find(ips.web);
    (await last()).answer(web);
    await clock.advance(workloadBookTimes.known - 1);
    expect(book.find(ips.web)).toEqual(known);
    await clock.advance(1);
    expect(book.find(ips.web)).toEqual(asked(web));
    const moved = namedWorkload('web', { name: 'another' });
    (await last()).answer(moved);
    await clock.advance(0);
    expect(book.find(ips.web)).toEqual({ kind: 'known', workload: moved });
  });

  it('asks soon again for an address that was no pod', async () => {
    const { book, clock, last } = bookAndControlPlane();
    book.find(ips.web);
    (await last()).answer();
    await clock.advance(workloadBookTimes.unknown - 1);
    expect(book.find(ips.web)).toEqual({ kind: 'unknown' });
    await clock.advance(1);
    expect(book.find(ips.web)).toEqual(asked());
  });

  it('makes one call at a time, with a pause, each for as many as one may ask for', async () => {
    const { book, calls, clock, last } = bookAndControlPlane();
    for (let index = 0; index < maxWorkloads + 7; index += 1) book.find(`10.1.0.${index}`);
    expect((await last()).ips).toHaveLength(maxWorkloads);
    await clock.advance(5000);
    expect(calls).toHaveLength(1);
    calls[0]?.answer();
    await clock.advance(workloadBookTimes.pause - 1);
    expect(calls).toHaveLength(1);
    await clock.advance(1);
    expect(calls[1]?.ips).toHaveLength(7);
  });

  it('tries again with growing waits when it is not answered, and says so once in the log', async () => {
    const { book, calls, clock, lines, last } = bookAndControlPlane();
    book.find(ips.web);
    const waitsMs: number[] = [];
    for (let failure = 1; failure <= 9; failure += 1) {
      (await last()).fail();
      await clock.advance(0);
      const sinceMs = clock.monotonic();
      while (calls.length === failure) await clock.advance(250);
      waitsMs.push(clock.monotonic() - sinceMs);
    }
    expect(waitsMs).toEqual([750, 1500, 3000, 6000, 12_000, 24_000, 45_000, 45_000, 45_000]);
    expect(lines.filter(({ level }) => level === 'info')).toHaveLength(1);
    (await last()).answer(web);
    await clock.advance(0);
    expect(book.find(ips.web)).toEqual(known);
    await clock.advance(workloadBookTimes.known);
    book.find(ips.web);
    (await last()).fail();
    await clock.advance(749);
    expect(calls).toHaveLength(11);
    await clock.advance(1);
    expect(calls).toHaveLength(12);
    expect(lines.filter(({ level }) => level === 'info')).toHaveLength(2);
  });

  it('keeps a bounded number of answers, those that are in use', async () => {
    const { book, calls, clock, last } = bookAndControlPlane({ ...workloadBookLimits, answers: 2 });
    for (const ip of [ips.web, ips.api]) book.find(ip);
    (await last()).answer(web, namedWorkload('api'));
    await clock.advance(workloadBookTimes.pause);
    expect(book.find(ips.web)).toEqual(known);
    book.find('10.9.9.9');
    (await last()).answer();
    await clock.advance(workloadBookTimes.pause);
    expect(calls).toHaveLength(2);
    expect([book.find(ips.web), book.find(ips.api)]).toEqual([known, asked()]);
  });

  it('asks no more than a bounded number of questions, however many addresses call', async () => {
    const { book, clock, last } = bookAndControlPlane();
    const found = Array.from({ length: 100_000 }, (_, index) =>
      book.find(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`),
    );
    expect(found.filter(({ kind }) => kind === 'asked')).toHaveLength(workloadBookLimits.questions);
    expect(found.at(-1)).toEqual({ kind: 'unknown' });
    expect(book.find('10.0.0.0')).toEqual(asked());
    (await last()).answer();
    await clock.advance(0);
    expect(book.find('10.200.0.1')).toEqual(asked());
  });

  it('stops in the middle of a call, and of a wait', async () => {
    const inCall = bookAndControlPlane();
    inCall.book.find(ips.web);
    await inCall.last();
    await inCall.book.close();
    const inWait = bookAndControlPlane();
    inWait.book.find(ips.web);
    (await inWait.last()).fail();
    await inWait.clock.advance(0);
    await inWait.book.close();
    expect([inCall.clock.pending, inWait.clock.pending]).toEqual([0, 0]);
    expect(inCall.lines).toEqual([]);
    expect(inCall.book.find(ips.api)).toEqual({ kind: 'unknown' });
  });
});

describe('Our own workload', () => {
  const own = (found: Record<string, FoundWorkload>, id = ids.web) => {
    const state: { found: typeof found; id: string | undefined } = { found, id };
    const asks: string[] = [];
    const ask = createOwnWorkload({
      book: {
        find(ip) {
          asks.push(ip);
          return state.found[ip] ?? { kind: 'unknown' };
        },
      },
      identity: () => (state.id === undefined ? undefined : spiffeId(state.id)),
      addresses: () => [ips.api, ips.web],
    });
    return { ask, state, asks };
  };
  const found = known as FoundWorkload;

  it('is the one at an address of ours that is of our identity, and stays', () => {
    const { ask, state, asks } = own({
      [ips.api]: { kind: 'known', workload: namedWorkload('api') },
      [ips.web]: found,
    });
    expect(ask()).toEqual(found);
    state.found = {};
    expect(ask()).toEqual(found);
    expect(asks).toEqual([ips.api, ips.web]);
  });

  it('is asked for until there is an identity, and while an address is', () => {
    const { ask, state } = own({ [ips.web]: found }, ids.api);
    state.id = undefined;
    expect(ask()).toEqual(asked());
    state.id = ids.web;
    state.found = { [ips.web]: asked() };
    expect(ask()).toEqual(asked());
    state.found = { [ips.web]: found };
    expect(ask()).toEqual(found);
  });

  it.each([
    ['no address of ours is a pod', {}, ids.web],
    ['the pod is of another service account', { [ips.web]: found }, ids.web.replace('sa/web', 'sa/other')],
    ['the pod is of another namespace', { [ips.web]: found }, ids.web.replace('ns/shop', 'ns/other')],
    ['our identity names no namespace', { [ips.web]: found }, 'spiffe://cluster.local/vm'],
  ])('is unknown when %s', (_, answers, id) => {
    expect(own(answers, id).ask()).toEqual({ kind: 'unknown' });
  });

  it('is looked for at a few global addresses, which are read from time to time', async () => {
    const clock = createFakeClock();
    let reads = 0;
    const address = (text: string) => ({ address: text, netmask: '', mac: '', internal: false, cidr: null });
    const list = ['127.0.0.1', '169.254.1.1', ...Array.from({ length: 20 }, (_, index) => `10.0.0.${index + 1}`)];
    const addresses = createOwnAddresses(clock, () => {
      reads += 1;
      return { eth0: [...list.map((text) => ({ ...address(text), family: 'IPv4' as const }))] };
    });
    expect(addresses()).toEqual(Array.from({ length: 8 }, (_, index) => `10.0.0.${index + 1}`));
    addresses();
    expect(reads).toBe(1);
    await clock.advance(10_000);
    addresses();
    expect(reads).toBe(2);
  });
});
