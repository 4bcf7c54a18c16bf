import { expect, it } from 'vitest';
import type { ControlClient } from '../../../src/agent/control-client.ts';
import { createControlPlaneBook } from '../../../src/agent/control-plane-book.ts';
import { RenewalError } from '../../../src/errors.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

it('knows since when the stream is up or down, whether it ever was up, and why it is not', async () => {
  const clock = createFakeClock();
  const startMs = clock.now();
  const book = createControlPlaneBook(clock);
  await clock.advance(1000);
  book.streamEnded('ECONNREFUSED');
  expect(book.facts()).toMatchObject({ sinceMs: startMs, hasBeenUp: false, why: 'ECONNREFUSED' });
  book.streamUp();
  expect(book.facts()).toMatchObject({ sinceMs: startMs + 1000, hasBeenUp: true, why: undefined });
  book.streamEnded('A newer one that could not be opened, while this one is up');
  expect(book.facts().why).toBe(undefined);
  await clock.advance(1000);
  book.streamDown();
  book.streamEnded('It has ended');
  expect(book.facts()).toMatchObject({ sinceMs: startMs + 2000, hasBeenUp: true, why: 'It has ended' });
});

it('knows since when a kind of call fails, until one goes well, and not of those that nobody waited for', async () => {
  const clock = createFakeClock();
  const startMs = clock.now();
  const book = createControlPlaneBook(clock);
  let next: Error | undefined = new RenewalError('server_untrusted', 'Not trusted');
  const report = async () => {
    if (next !== undefined) throw next;
  };
  const { report: send } = book.watching({ report } as unknown as ControlClient);
  const call = () => send({} as never).catch(() => undefined);
  await call();
  await clock.advance(5000);
  await call();
  const failing = [
    {
      kind: 'reports',
      sinceMs: startMs,
      lastMs: startMs + 5000,
      reason: 'server_untrusted',
      message: 'Not trusted',
    },
  ];
  expect(book.facts().failing).toEqual(failing);
  next = new Error('The sidecar is shutting down');
  await call();
  expect(book.facts().failing).toEqual(failing);
  next = undefined;
  await call();
  expect(book.facts().failing).toEqual([]);
});
