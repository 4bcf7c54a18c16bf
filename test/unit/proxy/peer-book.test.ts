import { describe, expect, it } from 'vitest';
import type { VerifiedPeer } from '../../../src/identity/verify-peer.ts';
import { createPeerBook, peerBookLimits, recentPeerMs } from '../../../src/proxy/peer-book.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { spiffeId } from '../../support/identities.ts';

const hour = 3_600_000;
const startMs = Date.parse('2026-01-01T00:00:00Z');

const named = (name: string, rootFingerprint = 'old') =>
  ({ rootFingerprint, spiffeId: spiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`) }) as VerifiedPeer;
const id = (name: string) => named(name).spiffeId.uri;

function newBook(limits: Partial<typeof peerBookLimits> = {}) {
  const clock = createFakeClock(startMs);
  return { clock, book: createPeerBook(clock, { ...peerBookLimits, ...limits }) };
}

describe('the book of peers', () => {
  it('counts the open tunnels of each root, and names each identity once', () => {
    const { clock, book } = newBook();
    for (const name of ['web', 'web', 'api']) book.opened(named(name));
    book.opened(named('db', 'new'));
    expect(book.byRoot()).toEqual(
      new Map([
        [
          'old',
          {
            open: 3,
            recent: new Map([
              [id('web'), clock.now()],
              [id('api'), clock.now()],
            ]),
            unnamed: 0,
            lastSeenMs: clock.now(),
          },
        ],
        ['new', { open: 1, recent: new Map([[id('db'), clock.now()]]), unnamed: 0, lastSeenMs: clock.now() }],
      ]),
    );
  });

  it('knows an identity for an hour after its last tunnel has ended, and the root after that', async () => {
    const { clock, book } = newBook();
    const ends = [book.opened(named('web')), book.opened(named('web'))];
    await clock.advance(hour);
    ends[0]?.();
    await clock.advance(2 * hour);
    expect(book.byRoot().get('old')).toMatchObject({ open: 1, recent: new Map([[id('web'), clock.now()]]) });
    ends[1]?.();
    ends[1]?.();
    const endedMs = clock.now();
    await clock.advance(recentPeerMs);
    const gone = { open: 0, recent: new Map([[id('web'), endedMs]]), unnamed: 0, lastSeenMs: endedMs };
    expect(book.byRoot().get('old')).toEqual(gone);
    await clock.advance(1);
    expect(book.byRoot().get('old')).toEqual({ ...gone, recent: new Map() });
  });

  it('counts a tunnel that ends twice once', () => {
    const { book } = newBook();
    const end = book.opened(named('web'));
    book.opened(named('web'));
    end();
    end();
    expect(book.byRoot().get('old')).toMatchObject({ open: 1 });
  });

  it('has a tunnel that was proved anew under its new root, and remembers the old one', () => {
    const { book } = newBook();
    book.opened(named('web', 'old'))();
    book.opened(named('web', 'new'));
    expect(book.byRoot().get('old')).toMatchObject({ open: 0, recent: new Map([[id('web'), startMs]]) });
    expect(book.byRoot().get('new')).toMatchObject({ open: 1 });
  });

  it('takes nobody for long gone because the wall clock was set forward', async () => {
    const { clock, book } = newBook();
    book.opened(named('web'))();
    await clock.advance(1000);
    clock.stepWall(10 * hour);
    expect(book.byRoot().get('old')).toMatchObject({ recent: new Map([[id('web'), clock.now() - 1000]]) });
    expect(book.sinceMs).toBe(clock.now() - 1000);
  });

  it('tells of an unknown root that it is kept since its beginning', async () => {
    const { clock, book } = newBook();
    await clock.advance(5 * hour);
    expect(book.byRoot()).toEqual(new Map());
    expect(book.sinceMs).toBe(startMs);
  });
});

describe('a book that is full', () => {
  it('forgets the identity of the root that is gone for longest, and counts it until it would be old', async () => {
    const { clock, book } = newBook({ identitiesOfRoot: 2 });
    for (const name of ['a', 'b', 'c']) {
      book.opened(named(name))();
      await clock.advance(1000);
    }
    book.opened(named('other', 'new'));
    const ofOld = () => book.byRoot().get('old');
    expect([...(ofOld()?.recent.keys() ?? [])]).toEqual([id('b'), id('c')]);
    expect(ofOld()?.unnamed).toBe(1);
    expect(book.byRoot().get('new')).toMatchObject({ unnamed: 0 });
    await clock.advance(hour - 3000);
    expect(ofOld()).toMatchObject({ recent: { size: 2 }, unnamed: 1 });
    await clock.advance(1);
    expect(ofOld()).toMatchObject({ recent: { size: 2 }, unnamed: 0 });
  });

  it('counts from one again when those that it had forgotten are old', async () => {
    const { clock, book } = newBook({ identitiesOfRoot: 1 });
    for (const name of ['a', 'b', 'c']) book.opened(named(name))();
    expect(book.byRoot().get('old')).toMatchObject({ unnamed: 2 });
    await clock.advance(hour + 1);
    for (const name of ['d', 'e']) book.opened(named(name))();
    expect(book.byRoot().get('old')).toMatchObject({ recent: new Map([[id('e'), clock.now()]]), unnamed: 1 });
  });

  it('never forgets one that is connected, and counts the others that are', () => {
    const { book } = newBook({ identitiesOfRoot: 1 });
    book.opened(named('a'));
    const ends = ['b', 'b', 'c'].map((name) => book.opened(named(name)));
    const all = { recent: new Map([[id('a'), startMs]]) };
    expect(book.byRoot().get('old')).toMatchObject({ ...all, open: 4, unnamed: 3 });
    for (const end of ends) end();
    expect(book.byRoot().get('old')).toMatchObject({ ...all, open: 1, unnamed: 3 });
  });

  it('names one that ends when there is a place for it by then', () => {
    const { book } = newBook({ identitiesOfRoot: 1 });
    const first = book.opened(named('a'));
    const ends = [book.opened(named('b')), book.opened(named('b'))];
    first();
    for (const end of ends) end();
    expect(book.byRoot().get('old')).toMatchObject({ open: 0, recent: new Map([[id('b'), startMs]]), unnamed: 1 });
  });

  it('counts an identity once that has a tunnel with a name and one without', () => {
    const { book } = newBook({ identitiesOfRoot: 1 });
    const first = book.opened(named('a'));
    const unnamed = book.opened(named('b'));
    first();
    book.opened(named('b'));
    unnamed();
    expect(book.byRoot().get('old')).toMatchObject({ open: 1, recent: new Map([[id('b'), startMs]]), unnamed: 1 });
  });

  it('shares its places among the roots, and takes none from another root', () => {
    const { book } = newBook({ identities: 2 });
    for (const name of ['a', 'b']) book.opened(named(name))();
    book.opened(named('c', 'new'))();
    expect(book.byRoot().get('old')).toMatchObject({ recent: { size: 2 }, unnamed: 0 });
    expect(book.byRoot().get('new')).toMatchObject({ recent: { size: 0 }, unnamed: 1 });
  });

  it('has places again for others when the old are gone', async () => {
    const { clock, book } = newBook({ identities: 2 });
    for (const name of ['a', 'b']) book.opened(named(name))();
    await clock.advance(hour + 1);
    book.byRoot();
    for (const name of ['c', 'd']) book.opened(named(name, 'new'))();
    expect(book.byRoot().get('new')).toMatchObject({ recent: { size: 2 }, unnamed: 0 });
  });

  it('claims to be kept only since the last use of a root that it has forgotten', async () => {
    const { clock, book } = newBook({ roots: 2, identities: 2 });
    book.opened(named('a', 'one'));
    await clock.advance(1000);
    book.opened(named('b', 'two'))();
    const endedMs = clock.now();
    await clock.advance(1000);
    book.opened(named('c', 'three'))();
    expect([...book.byRoot().keys()]).toEqual(['one', 'three']);
    expect(book.sinceMs).toBe(endedMs);
    expect(book.byRoot().get('three')).toMatchObject({ recent: { size: 1 }, unnamed: 0 });
  });
});
