import { describe, expect, it } from 'vitest';
import { createSidecarBook } from '../../../src/control-plane/sidecar-book.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const minute = 60_000;
const pod = (name: string, podUid = `uid of ${name}`) => ({
  namespace: 'shop',
  serviceAccount: 'web',
  pod: name,
  podUid,
  expiresAtMs: Number.POSITIVE_INFINITY,
});

function setUp(maxSidecars?: number) {
  const clock = createFakeClock();
  let roots = ['old'];
  const settings = { trustedRoots: () => roots, unknownForMs: 0, ...(maxSidecars !== undefined && { maxSidecars }) };
  const book = createSidecarBook(clock, settings);
  const names = () => book.living().sidecars.map((one) => one.pod);
  const inMs = (ms: number) => clock.now() + ms;
  return { clock, book, names, inMs, publish: (latest: string[]) => (roots = latest) };
}

describe('createSidecarBook', () => {
  it('has a sidecar until its last certificate ends, with the end of the last one under each root', async () => {
    const { book, clock, names, inMs } = setUp();
    const [first, last] = [inMs(10 * minute), inMs(30 * minute)];
    book.issued(pod('web-0'), 'old', last);
    book.issued(pod('web-0'), 'old', first);
    book.issued(pod('web-0'), 'new', first);
    const [web] = book.living().sidecars;
    expect(web?.certificates).toEqual(
      new Map([
        ['old', last],
        ['new', first],
      ]),
    );
    await clock.advance(20 * minute);
    expect([...book.living().sidecars[0]!.certificates.keys()]).toEqual(['old']);
    await clock.advance(10 * minute);
    expect(names()).toEqual([]);
  });

  it('knows nothing of certificates from before for as long as they may last, also when the wall clock is set forward', async () => {
    const clock = createFakeClock();
    const book = createSidecarBook(clock, { trustedRoots: () => [], unknownForMs: 60 * minute });
    await clock.advance(10 * minute);
    expect(book.living().unknownUntilMs).toBe(clock.now() + 50 * minute);
    clock.stepWall(24 * 60 * minute);
    expect(book.living().unknownUntilMs).toBe(clock.now() + 50 * minute);
    await clock.advance(50 * minute);
    expect(book.living().unknownUntilMs).toBe(0);
  });

  it('has a sidecar as long as it has a stream, and knows which roots it was told on it', async () => {
    const { book, names, publish } = setUp();
    const stream = book.streamOpened(pod('web-0'));
    expect(book.living().sidecars).toMatchObject([{ pod: 'shop/web-0', streams: 1, toldRoots: undefined }]);
    stream.told();
    publish(['old', 'new']);
    expect(book.living().sidecars[0]?.toldRoots).toEqual(['old']);
    const second = book.streamOpened(pod('web-0'));
    second.told();
    stream.closed();
    expect(book.living().sidecars).toMatchObject([{ streams: 1, toldRoots: ['old', 'new'] }]);
    second.closed();
    expect(names()).toEqual([]);
  });

  it('keeps the last report of a sidecar, and when it came', async () => {
    const { book, clock, inMs } = setUp();
    book.issued(pod('web-0'), 'old', inMs(minute));
    book.reported(pod('web-0'), { issuedBy: 'a' });
    await clock.advance(1000);
    const callers = { since: '2030-05-01T12:00:00Z', minimumMode: 'DISABLE', callers: [], further: [] } as const;
    book.reported(pod('web-0'), { issuedBy: 'b', callers: { ...callers, callers: [], further: [] } });
    const [sidecar] = book.living().sidecars;
    expect(sidecar).toMatchObject({ report: { issuedBy: 'b' }, reportedAtMs: clock.now() });
    expect(JSON.parse(sidecar?.callers ?? '')).toEqual(callers);
    book.reported(pod('web-0'), { issuedBy: 'b' });
    expect(book.living().sidecars[0]?.callers).toBeUndefined();
  });

  it('does not let the report of a pod speak for another one of the same name', () => {
    const { book, inMs } = setUp();
    book.issued(pod('web-0', 'first'), 'old', inMs(minute));
    book.issued(pod('web-0', 'second'), 'old', inMs(minute));
    book.reported(pod('web-0', 'second'), { issuedBy: 'b' });
    expect(book.living().sidecars.map(({ report }) => report?.issuedBy)).toEqual([undefined, 'b']);
  });

  it('forgets names beyond its bound and never that there is somebody', async () => {
    const { book, clock, names, inMs } = setUp(2);
    const [soon, late] = [inMs(10 * minute), inMs(30 * minute)];
    book.streamOpened(pod('with-stream'));
    book.issued(pod('a'), 'old', late);
    book.issued(pod('b'), 'old', soon);
    book.issued(pod('c'), 'new', soon);
    expect(names()).toEqual(['shop/with-stream', 'shop/c']);
    expect(book.living().unnamedUntilMs).toEqual(new Map([['old', late]]));
    await clock.advance(10 * minute);
    expect(names()).toEqual(['shop/with-stream']);
    await clock.advance(20 * minute);
    expect(book.living().unnamedUntilMs).toEqual(new Map());
  });

  it('makes room first with those whose certificates have ended, and stays within its bound', async () => {
    const { book, clock, names, inMs } = setUp(2);
    book.issued(pod('ended'), 'old', inMs(minute));
    book.issued(pod('a'), 'old', inMs(10 * minute));
    await clock.advance(minute);
    book.issued(pod('b'), 'old', inMs(9 * minute));
    expect([names(), book.living().unnamedUntilMs.size]).toEqual([['shop/a', 'shop/b'], 0]);
    for (let index = 0; index < 1000; index++) book.reported(pod(`reporter-${index}`), {});
    expect(names()).toEqual(['shop/b']);
    expect(book.living().unnamedUntilMs.get('old')).toBe(clock.now() + 9 * minute);
  });
});
