import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CallersConnection } from '../../../../src/agent/callers/caller-book.ts';
import { callerBookLimits, callerNames, createCallerBook } from '../../../../src/agent/callers/caller-book.ts';
import type { FoundWorkload } from '../../../../src/agent/registry/workload-book.ts';
import type { NamedWorkload } from '../../../../src/control-api.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import { namedWorkload } from '../../../support/named-workloads.ts';

const web = 'spiffe://cluster.local/ns/shop/sa/web';
const connection = (ip: string, port = 8080, peerId?: string, bytesSent = 1): CallersConnection => ({
  direction: 'inbound',
  peerAddress: { ip, port: 40_000 },
  facts: {
    security: peerId === undefined ? 'plaintext' : 'mutual_tls',
    originalDestination: { ip: '10.0.0.1', port },
    peerId,
  },
  bytes: { bytesSent },
});
const batch = (more: Partial<NamedWorkload> = {}) =>
  namedWorkload('web', { namespace: 'legacy', name: 'old-batch', ...more });

/** A book whose registry knows what `registry` holds, once it was asked. */
function start(limits = callerBookLimits) {
  const clock = createFakeClock(0);
  const registry = new Map<string, NamedWorkload>();
  const answers = new Map<string, FoundWorkload>();
  const asked: string[] = [];
  const find = (ip: string): FoundWorkload => {
    const answer = answers.get(ip);
    if (answer === undefined) asked.push(ip);
    return answer ?? { kind: 'asked', before: undefined };
  };
  const disabled = new Set<number>();
  const book = createCallerBook(clock, { find }, (port) => disabled.has(port), limits);
  return {
    clock,
    registry,
    disabled,
    asked,
    book,
    /** The registry answers all that was asked for. */
    answer() {
      const ips = asked.splice(0);
      for (const ip of ips) {
        const workload = registry.get(ip);
        answers.set(ip, workload === undefined ? { kind: 'unknown' } : { kind: 'known', workload });
      }
      book.answered(ips);
    },
    /** What it said is too old to go by. */
    expire: () => answers.clear(),
    call(one: CallersConnection) {
      book.connectionOpened(one);
      book.connectionClosed(one);
    },
  };
}

describe('the book of callers', () => {
  it('counts the connections of each address to each port, with when it was seen first and last', async () => {
    const { book, clock, call } = start();
    call(connection('10.0.0.9'));
    await clock.advance(1000);
    call(connection('10.0.0.9'));
    call(connection('10.0.0.9', 9090));
    expect(
      book
        .plaintext()
        .callers.map(({ ip, port, connections, firstMs, lastMs }) => [ip, port, connections, firstMs, lastMs]),
    ).toEqual([
      ['10.0.0.9', 8080, 2, 0, 1000],
      ['10.0.0.9', 9090, 1, 1000, 1000],
    ]);
    expect([...book.plaintextConnections()]).toEqual([
      ['8080', 2],
      ['9090', 1],
    ]);
  });

  it('knows who is connected, and when somebody came or went last', async () => {
    const { book, clock } = start();
    const open = connection('10.0.0.9');
    book.connectionOpened(open);
    await clock.advance(60_000);
    expect(book.plaintext().callers[0]).toMatchObject({ open: 1, firstMs: 0, lastMs: 0 });
    book.connectionClosed(open);
    await clock.advance(60_000);
    expect(book.plaintext().callers[0]).toMatchObject({ open: 0, firstMs: 0, lastMs: 60_000 });
  });

  it('keeps those with an identity apart, each identity of an address by itself', () => {
    const { book, call } = start();
    call(connection('10.0.0.9', 8080, web));
    call(connection('10.0.0.9', 8080, `${web}-2`));
    call(connection('10.0.0.9', 8080));
    expect(book.plaintext().callers).toHaveLength(1);
    expect(book.mutualTls().callers.map(({ principal }) => principal)).toEqual([web, `${web}-2`]);
  });

  it('passes over what goes out, and whoever was gone before its address could be asked for', () => {
    const { book, call } = start();
    call({ ...connection('10.0.0.9'), direction: 'outbound' });
    call({ ...connection('10.0.0.9'), peerAddress: undefined });
    expect(book.plaintext().callers).toEqual([]);
  });

  it('counts the connections that ended and in which the caller sent something', () => {
    const { book, call } = start();
    call(connection('10.0.0.9', 8080, undefined, 0));
    call(connection('10.0.0.9', 8080, undefined, 5));
    expect(book.plaintext().callers[0]).toMatchObject({ connections: 2, spoke: 1 });
  });

  it('counts the connections that came while the port was DISABLE', () => {
    const { book, call, disabled } = start();
    disabled.add(9090);
    call(connection('10.0.0.9', 8080));
    call(connection('10.0.0.9', 9090));
    disabled.delete(9090);
    call(connection('10.0.0.9', 9090));
    expect(
      book.plaintext().callers.map(({ port, connections, whileDisable }) => [port, connections, whileDisable]),
    ).toEqual([
      [8080, 1, 0],
      [9090, 2, 1],
    ]);
  });

  it('remembers whom the mode or a policy refused, and nobody who failed of something else', () => {
    const { book } = start();
    const refused = (kind: string, reason: string, ip: string) =>
      book.refused({
        direction: 'inbound',
        peerAddress: { ip, port: 1 },
        known: { originalDestination: { ip: '10.0.0.1', port: 8080 } },
        outcome: { kind, reason },
      });
    refused('denied', 'default_deny', '10.0.0.1');
    refused('denied', 'policy_deny', '10.0.0.2');
    refused('denied', 'policy_error', '10.0.0.3');
    refused('handshake', 'plaintext_in_strict', '10.0.0.4');
    refused('denied', 'connection_limit', '10.0.0.5');
    refused('handshake', 'expired', '10.0.0.6');
    refused('closed', 'upstream_refused', '10.0.0.7');
    expect(book.refusals().callers.map(({ ip, open }) => `${ip} ${open}`)).toEqual(
      [1, 2, 3, 4].map((n) => `10.0.0.${n} 0`),
    );
    expect(book.plaintext().callers).toEqual([]);
  });
});

describe('the name of a caller', () => {
  it('comes when the registry has answered, and the connection does not wait for it', () => {
    const { book, registry, answer } = start();
    registry.set('10.0.0.9', batch());
    book.connectionOpened(connection('10.0.0.9'));
    expect(book.plaintext().callers[0]?.workload).toBeUndefined();
    answer();
    expect(book.plaintext().callers[0]?.workload).toEqual(batch());
  });

  it('is asked for again a minute later when the registry did not know it, of a few callers at once', async () => {
    const { book, registry, answer, asked, expire, clock } = start();
    for (let n = 0; n < 200; n += 1) book.connectionOpened(connection(`10.0.1.${n}`));
    answer();
    expire();
    book.plaintext();
    expect(asked).toEqual([]);
    await clock.advance(callerNames.askAgainMs);
    book.plaintext();
    expect(asked).toHaveLength(callerNames.askedAtOnce);
    registry.set('10.0.1.0', batch());
    answer();
    expect(book.plaintext().callers.filter(({ workload }) => workload !== undefined)).toHaveLength(1);
  });

  it('stays with what it has done when its address becomes that of another', () => {
    const { book, registry, answer, expire, call } = start();
    const seen = () => book.plaintext().callers.map(({ workload, connections }) => `${workload?.name} ${connections}`);
    registry.set('10.0.0.9', batch());
    call(connection('10.0.0.9'));
    answer();
    call(connection('10.0.0.9'));
    registry.set('10.0.0.9', batch({ name: 'new-batch' }));
    expire();
    call(connection('10.0.0.9'));
    answer();
    call(connection('10.0.0.9'));
    expect(seen().sort()).toEqual(['new-batch 2', 'old-batch 2']);
    // The one before has its address again, and what it did is added up.
    registry.set('10.0.0.9', batch());
    expire();
    call(connection('10.0.0.9'));
    answer();
    expect(seen().sort()).toEqual(['new-batch 2', 'old-batch 3']);
  });

  it('is the same for one that calls again when nobody remembers what the registry said', () => {
    const { book, registry, answer, expire, call } = start();
    registry.set('10.0.0.9', batch());
    call(connection('10.0.0.9'));
    answer();
    expire();
    call(connection('10.0.0.9'));
    answer();
    expect(book.plaintext().callers).toMatchObject([{ connections: 2, spoke: 2, workload: batch() }]);
  });
});

describe('the bounds of the book', () => {
  it('hold when a hundred thousand different callers come by, and those that fell out are counted', () => {
    const { book, call } = start();
    for (let n = 0; n < 100_000; n += 1) call(connection(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`));
    const { callers, forgotten } = book.plaintext();
    expect(callers).toHaveLength(callerBookLimits.plaintext);
    expect(callers.at(-1)?.ip).toBe('10.1.134.159');
    expect(forgotten).toEqual([{ port: 8080, callers: 100_000 - callerBookLimits.plaintext, lastMs: 0 }]);
    expect(book.plaintextConnections().get('8080')).toBe(100_000);
  });

  it('do not let a crowd at one port make the callers of another one forgotten', () => {
    const { book, call } = start({ ...callerBookLimits, plaintext: 10 });
    call(connection('10.0.0.9', 9090));
    for (let n = 0; n < 100; n += 1) call(connection(`10.0.1.${n}`));
    expect(book.plaintext().callers.filter(({ port }) => port === 9090)).toHaveLength(1);
    expect(book.plaintext().forgotten).toEqual([{ port: 8080, callers: 91, lastMs: 0 }]);
  });

  it('let nobody who is connected be forgotten, and count those who then have no place', () => {
    const { book } = start({ ...callerBookLimits, plaintext: 2 });
    const open = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((ip) => connection(ip));
    for (const one of open) book.connectionOpened(one);
    expect(book.plaintext().callers.map(({ ip }) => ip)).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(book.plaintext().forgotten).toEqual([{ port: 8080, callers: 1, lastMs: 0 }]);
    for (const one of open) book.connectionClosed(one);
    expect(book.plaintext().callers.map(({ open: now }) => now)).toEqual([0, 0]);
  });

  it('let nobody be forgotten who is connected once more', () => {
    const { book, call } = start({ ...callerBookLimits, plaintext: 2 });
    const [one, two] = [connection('10.0.0.1'), connection('10.0.0.1')];
    book.connectionOpened(one);
    book.connectionOpened(two);
    book.connectionClosed(one);
    for (let n = 2; n < 9; n += 1) call(connection(`10.0.0.${n}`));
    expect(book.plaintext().callers).toMatchObject([{ ip: '10.0.0.1', open: 1 }, { ip: '10.0.0.8' }]);
  });

  it('put ports beyond the bound together as other ones', () => {
    const { book, call } = start({ ...callerBookLimits, plaintext: 3, ports: 2 });
    for (let port = 1; port <= 6; port += 1) call(connection('10.0.0.9', port));
    expect([...book.plaintextConnections()]).toEqual([
      ['1', 1],
      ['2', 1],
      ['other', 4],
    ]);
    expect(book.plaintext().forgotten.at(-1)?.port).toBeUndefined();
    expect(book.plaintext().callers.map(({ port }) => port)).toContain(6);
  });

  it('do not let the refused crowd out those who are let in', () => {
    const { book, call } = start({ ...callerBookLimits, refused: 5 });
    call(connection('10.0.0.9'));
    for (let n = 0; n < 1000; n += 1)
      book.refused({
        direction: 'inbound',
        peerAddress: { ip: `10.1.0.${n % 250}`, port: 1 },
        known: { originalDestination: { ip: '10.0.0.1', port: 8080 } },
        outcome: { kind: 'denied', reason: 'default_deny' },
      });
    expect(book.refusals().callers).toHaveLength(5);
    expect(book.plaintext().callers).toHaveLength(1);
  });

  it('hold, and no connection is lost, in whatever order callers come and go', () => {
    const turns = fc.array(
      fc.record({
        ip: fc.integer({ min: 1, max: 12 }),
        port: fc.integer({ min: 1, max: 5 }),
        stays: fc.boolean(),
        names: fc.option(fc.constantFrom('a', 'b')),
      }),
      { maxLength: 120 },
    );
    fc.assert(
      fc.property(turns, fc.integer({ min: 1, max: 8 }), (all, plaintext) => {
        const { book, registry, answer, expire } = start({ ...callerBookLimits, plaintext, ports: 3 });
        const open: CallersConnection[] = [];
        const opened = new Map<string, number>();
        for (const { ip, port, stays, names } of all) {
          const one = connection(`10.0.0.${ip}`, port);
          if (names === null) registry.delete(`10.0.0.${ip}`);
          else registry.set(`10.0.0.${ip}`, batch({ name: names }));
          expire();
          book.connectionOpened(one);
          if (ip % 2 === 0) answer();
          const key = `10.0.0.${ip} ${port}`;
          opened.set(key, (opened.get(key) ?? 0) + 1);
          if (stays) open.push(one);
          else book.connectionClosed(one);
          const { callers, forgotten } = book.plaintext();
          expect(callers.length).toBeLessThanOrEqual(plaintext);
          expect(callers.every((caller) => caller.open >= 0 && caller.connections >= caller.open + caller.spoke)).toBe(
            true,
          );
          const isFull = forgotten.reduce((sum, { callers: gone }) => sum + gone, 0) > 0;
          const counted = Map.groupBy(callers, (caller) => `${caller.ip} ${caller.port}`);
          for (const [caller, count] of opened) {
            const remembered = (counted.get(caller) ?? []).reduce((sum, { connections }) => sum + connections, 0);
            if (isFull) expect(remembered).toBeLessThanOrEqual(count);
            else expect(remembered).toBe(count);
          }
        }
        for (const one of open) book.connectionClosed(one);
        expect(book.plaintext().callers.every((caller) => caller.open === 0)).toBe(true);
        expect([...book.plaintextConnections().values()].reduce((sum, count) => sum + count, 0)).toBe(all.length);
      }),
      { numRuns: 200 },
    );
  });
});
