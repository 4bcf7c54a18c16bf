import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PermittedEndpoint } from '../../../src/policy/permit.ts';
import type { Outcome } from '../../../src/proxy/account.ts';
import type { Attempt } from '../../../src/proxy/outbound/endpoint-book.ts';
import { createEndpointBook, setAsideLimits } from '../../../src/proxy/outbound/endpoint-book.ts';
import { refusalLineLimits } from '../../../src/proxy/refusal-lines.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const endpoint = (ip = '10.0.0.7', serviceAccount = 'api'): PermittedEndpoint => {
  const spiffeId = `spiffe://cluster.local/ns/shop/sa/${serviceAccount}`;
  return { transport: 'hbone', address: { ip, port: 80 }, spiffeId, key: `${ip}:80 ${spiffeId}` };
};
const refused: Outcome = { kind: 'closed', reason: 'upstream_refused', detail: 'connect ECONNREFUSED' };

/** A random number just below 1 makes each wait as long as it can be. */
function makeBook(random = 0.999_999) {
  const clock = createFakeClock(0, () => random);
  const captured = captureLog();
  const suppressed: string[] = [];
  const book = createEndpointBook({
    clock,
    log: captured.log,
    counter: { logLineSuppressed: (reason) => suppressed.push(reason) },
  });
  const fail = (one = endpoint()) => {
    const attempt = book.begin(one);
    attempt.failed(refused);
    attempt.end();
  };
  /** Until the next connection may try it, rounded up to 100. */
  const waitMs = async (one = endpoint()) => {
    const startMs = clock.monotonic();
    while (book.isSetAside(one)) await clock.advance(100);
    return clock.monotonic() - startMs;
  };
  return { clock, book, fail, waitMs, suppressed, lines: captured.lines };
}

describe('our connections to an endpoint', () => {
  it('are counted from their dial to their end, once each', () => {
    const { book } = makeBook();
    const first = book.begin(endpoint());
    const second = book.begin(endpoint());
    first.reached();
    expect(book.connections(endpoint())).toBe(2);
    first.end();
    first.end();
    expect(book.connections(endpoint())).toBe(1);
    second.failed(refused);
    second.end();
    expect(book.connections(endpoint())).toBe(0);
  });

  it('are those to this identity at this address', () => {
    const { book } = makeBook();
    book.begin(endpoint());
    expect(book.connections(endpoint('10.0.0.8'))).toBe(0);
    expect(book.connections(endpoint('10.0.0.7', 'other'))).toBe(0);
  });

  it('are right whatever their order and however they end', () => {
    const step = fc.record({ ip: fc.constantFrom('10.0.0.7', '10.0.0.8'), end: fc.boolean(), fails: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const { book } = makeBook();
        const open = { '10.0.0.7': [] as Attempt[], '10.0.0.8': [] as Attempt[] };
        for (const { ip, end, fails } of steps) {
          if (!end) open[ip].push(book.begin(endpoint(ip)));
          const attempt = end ? open[ip].shift() : undefined;
          if (fails) attempt?.failed(refused);
          else attempt?.reached();
          attempt?.end();
        }
        for (const [ip, attempts] of Object.entries(open)) expect(book.connections(endpoint(ip))).toBe(attempts.length);
      }),
    );
  });
});

describe('an endpoint that could not be reached', () => {
  it('is set aside for a time that doubles with each failure in a row, up to the cap', async () => {
    const { fail, waitMs } = makeBook();
    const waits: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      fail();
      waits.push(await waitMs());
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  });

  it('is set aside for at least half of that time, at random', async () => {
    const { fail, waitMs } = makeBook(0);
    fail();
    expect(await waitMs()).toBe(setAsideLimits.baseMs / 2);
  });

  it('starts clean once it was reached, by whichever connection', async () => {
    const { book, fail, waitMs } = makeBook();
    const early = book.begin(endpoint());
    fail();
    early.reached();
    expect(book.isSetAside(endpoint())).toBe(false);
    fail();
    expect(await waitMs()).toBe(1000);
  });

  it('is set aside once for many connections that fail together', async () => {
    const { book, waitMs } = makeBook();
    const together = Array.from({ length: 50 }, () => book.begin(endpoint()));
    for (const attempt of together) attempt.failed(refused);
    expect(await waitMs()).toBe(1000);
  });

  it('says of what it is set aside, after how many failures, and for how long', async () => {
    const { clock, book, fail, waitMs } = makeBook();
    expect(book.whySetAside(endpoint())).toBe(undefined);
    fail();
    await clock.advance(400);
    expect(book.whySetAside(endpoint())).toEqual({ outcome: refused, failures: 1, forMs: 600 });
    await waitMs();
    expect(book.whySetAside(endpoint())).toBe(undefined);
    book.begin(endpoint());
    expect(book.whySetAside(endpoint())).toEqual({ outcome: refused, failures: 1, forMs: 0 });
  });

  it('is tried again by one connection at a time', async () => {
    const { book, fail, waitMs } = makeBook();
    fail();
    await waitMs();
    const trial = book.begin(endpoint());
    expect(book.isSetAside(endpoint())).toBe(true);
    trial.failed(refused);
    trial.end();
    expect(await waitMs()).toBe(2000);
    const next = book.begin(endpoint());
    next.reached();
    expect(book.isSetAside(endpoint())).toBe(false);
  });

  it('is tried by the next connection at once when the one that tried it was given up', async () => {
    const { book, fail, waitMs } = makeBook();
    fail();
    await waitMs();
    const given = book.begin(endpoint());
    given.end();
    expect(book.isSetAside(endpoint())).toBe(false);
    const second = book.begin(endpoint());
    given.end();
    expect(book.isSetAside(endpoint())).toBe(true);
    second.failed(refused);
    expect(await waitMs()).toBe(2000);
  });

  it('is not waited for longer because somebody tried it before its time', async () => {
    const { clock, book, fail, waitMs } = makeBook();
    fail();
    await clock.advance(400);
    fail();
    const early = book.begin(endpoint());
    expect(await waitMs()).toBe(600);
    early.end();
    expect(book.isSetAside(endpoint())).toBe(false);
  });

  it('says nothing of another identity at the same address', () => {
    const { book, fail } = makeBook();
    fail();
    expect(book.isSetAside(endpoint('10.0.0.7', 'other'))).toBe(false);
  });

  it('is forgotten when too many others have failed after it', () => {
    const { book, fail } = makeBook();
    const ipOf = (i: number) => `10.0.${i >> 8}.${i & 255}`;
    for (let i = 0; i <= setAsideLimits.endpoints; i += 1) fail(endpoint(ipOf(i)));
    expect(book.countSetAside()).toBe(setAsideLimits.endpoints);
    expect(book.isSetAside(endpoint(ipOf(0)))).toBe(false);
    expect(book.isSetAside(endpoint(ipOf(1)))).toBe(true);
  });

  it('is not forgotten before others when it has failed again after them', async () => {
    const { book, fail, waitMs } = makeBook();
    const ipOf = (i: number) => `10.0.${i >> 8}.${i & 255}`;
    for (let i = 0; i < setAsideLimits.endpoints; i += 1) fail(endpoint(ipOf(i)));
    await waitMs(endpoint(ipOf(0)));
    fail(endpoint(ipOf(0)));
    fail(endpoint(ipOf(setAsideLimits.endpoints)));
    expect(book.isSetAside(endpoint(ipOf(0)))).toBe(true);
    expect(book.countRemembered()).toBe(setAsideLimits.endpoints);
  });

  it('is counted as long as it gets no connection but one that tries it', async () => {
    const { book, fail, waitMs } = makeBook();
    fail();
    fail(endpoint('10.0.0.8'));
    expect(book.countSetAside()).toBe(2);
    await waitMs();
    expect(book.countSetAside()).toBe(0);
    book.begin(endpoint());
    expect(book.countSetAside()).toBe(1);
  });
});

describe('the log', () => {
  it('says that an endpoint is set aside, why and for how long, and when it is back', async () => {
    const { book, fail, waitMs, lines } = makeBook();
    fail();
    await waitMs();
    fail();
    book.begin(endpoint()).reached();
    book.begin(endpoint()).reached();
    const shown = { endpoint: '10.0.0.7:80', peerId: 'spiffe://cluster.local/ns/shop/sa/api' };
    const why = { outcome: 'closed', reason: 'upstream_refused', detail: 'connect ECONNREFUSED' };
    expect(lines).toMatchObject([
      { level: 'warn', msg: 'Endpoint set aside', ...shown, ...why, failures: 1, forMs: 1000 },
      { level: 'warn', msg: 'Endpoint set aside', ...shown, ...why, failures: 2, forMs: 2000 },
      { level: 'info', msg: 'Endpoint taken back', ...shown, failures: 2 },
    ]);
    expect(lines).toHaveLength(3);
  });

  it('has a bounded number of such lines, and each that is left out is counted', () => {
    const { book, fail, lines, suppressed } = makeBook();
    for (let i = 0; i < 500; i += 1) {
      fail();
      book.begin(endpoint()).reached();
    }
    expect(lines.filter(({ msg }) => msg === 'Endpoint set aside')).toHaveLength(refusalLineLimits.burst);
    expect(lines.filter(({ msg }) => msg === 'Endpoint taken back')).toHaveLength(refusalLineLimits.burst);
    expect(suppressed).toEqual(Array.from({ length: 500 - refusalLineLimits.burst }, () => 'upstream_refused'));
  });
});
