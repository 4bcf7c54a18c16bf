import { afterEach, describe, expect, it } from 'vitest';
import type { Audit } from '../../../../src/agent/audit/audit.ts';
import { auditLimits, startAudit } from '../../../../src/agent/audit/audit.ts';
import type { Look, Suspect } from '../../../../src/agent/audit/look.ts';
import { createInterceptionBook } from '../../../../src/agent/interception-book.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';

const suspect = (inode: number, rest: Partial<Suspect> = {}, uid = 1000): Suspect => ({
  direction: 'outbound',
  family: 'ipv4',
  rule: 'Everything else',
  socket: {
    state: 'established',
    local: { ip: '10.0.0.7', port: 40_000 + inode },
    remote: { ip: '10.0.0.9', port: 80 },
    uid,
    inode,
  },
  ...rest,
});

let audit: Audit | undefined;
afterEach(() => audit?.stop());

/** An audit after its first look, which found `older`. */
async function auditAfter(older: readonly Suspect[] = []) {
  const clock = createFakeClock();
  const { log, lines } = captureLog('info');
  const book = createInterceptionBook();
  let found: Look | Error = { suspects: older, isWhole: true };
  let looks = 0;
  const look = async () => {
    looks += 1;
    if (found instanceof Error) throw found;
    return found;
  };
  audit = startAudit({ clock, log, look, book });
  await clock.advance(0);
  return {
    clock,
    lines,
    find(suspects: readonly Suspect[], isWhole = true) {
      found = { suspects, isWhole };
    },
    fail(error: Error) {
      found = error;
    },
    looks: () => looks,
    bypassed: () => book.facts().bypassed,
    proofs: () => book.facts().proofs,
    nextLook: () => clock.advance(1.2 * auditLimits.intervalMs),
    messages: () => lines.map(({ msg }) => msg),
  };
}

describe('a connection that a look finds', () => {
  it('counts when a second look finds it, and is told of once', async () => {
    const { clock, find, nextLook, bypassed, lines, proofs } = await auditAfter();
    find([suspect(1)]);
    await clock.advance(1.1 * auditLimits.intervalMs);
    expect(bypassed()).toEqual({ inbound: 0, outbound: 0 });
    await clock.advance(1.2 * auditLimits.confirmMs);
    expect(bypassed()).toEqual({ inbound: 0, outbound: 1 });
    expect(proofs()).toEqual([{ family: 'ipv4', direction: 'outbound', isOk: false }]);
    await nextLook();
    expect(lines).toEqual([
      expect.objectContaining({
        level: 'error',
        direction: 'outbound',
        localAddress: '10.0.0.7:40001',
        remoteAddress: '10.0.0.9:80',
        uid: 1000,
        rule: 'Everything else',
        remedy: expect.stringContaining('delete the pod'),
      }),
    ]);
    find([]);
    await nextLook();
    expect(bypassed()).toEqual({ inbound: 0, outbound: 0 });
  });

  it('does not count before a second has passed', async () => {
    const { clock, find, looks, bypassed } = await auditAfter();
    find([suspect(1)]);
    await clock.advance(1.1 * auditLimits.intervalMs);
    const before = looks();
    await clock.advance(999);
    expect(looks()).toBe(before);
    expect(bypassed().outbound).toBe(0);
  });

  it('does not count when the second look finds others, and those wait for a whole interval', async () => {
    const { clock, find, nextLook, looks, bypassed, lines } = await auditAfter();
    find([suspect(1)]);
    await clock.advance(1.1 * auditLimits.intervalMs);
    find([suspect(2)]);
    await clock.advance(1.2 * auditLimits.confirmMs);
    const before = looks();
    await clock.advance(0.9 * auditLimits.intervalMs);
    expect(looks()).toBe(before);
    expect(bypassed().outbound).toBe(0);
    find([]);
    await nextLook();
    expect(lines).toEqual([]);
  });

  it('is never told of when the first look found it, also after others have missed it', async () => {
    const { find, nextLook, bypassed, lines } = await auditAfter([suspect(1)]);
    await nextLook();
    find([]);
    await nextLook();
    find([suspect(1)]);
    await nextLook();
    await nextLook();
    expect(bypassed().outbound).toBe(0);
    expect(lines).toEqual([]);
  });

  it('is not told of again when one look misses it', async () => {
    const { find, nextLook, bypassed, lines } = await auditAfter();
    for (const found of [[suspect(1)], [suspect(1)], [], [suspect(1)]]) {
      find(found);
      await nextLook();
    }
    expect(bypassed().outbound).toBe(1);
    expect(lines).toHaveLength(1);
  });

  it("names the user when it is the sidecar's own", async () => {
    const { find, nextLook, lines } = await auditAfter();
    find([suspect(1, {}, 1337)]);
    await nextLook();
    await nextLook();
    expect(lines[0]).toMatchObject({ uid: 1337, remedy: expect.stringContaining('give it another user') });
  });
});

it('counts by direction, and takes one family for lost at a time', async () => {
  const { find, nextLook, bypassed, proofs } = await auditAfter();
  find([suspect(1, { direction: 'inbound', family: 'ipv6' }), suspect(2, { direction: 'inbound', family: 'ipv6' })]);
  await nextLook();
  await nextLook();
  expect(bypassed()).toEqual({ inbound: 2, outbound: 0 });
  expect(proofs()).toEqual([{ family: 'ipv6', direction: 'inbound', isOk: false }]);
});

it('tells of so many at a look, and of the rest by their number', async () => {
  const { find, nextLook, messages, lines, bypassed } = await auditAfter();
  find(Array.from({ length: auditLimits.linesPerLook + 7 }, (_, i) => suspect(i)));
  await nextLook();
  await nextLook();
  expect(bypassed().outbound).toBe(auditLimits.linesPerLook + 7);
  expect(messages()).toHaveLength(auditLimits.linesPerLook + 1);
  expect(lines.at(-1)).toMatchObject({ suppressed: 7 });
});

it('says once that nobody looks, keeps what it knows, and looks again', async () => {
  const { find, fail, nextLook, messages, bypassed } = await auditAfter();
  find([suspect(1)]);
  await nextLook();
  await nextLook();
  fail(new Error('EACCES'));
  await nextLook();
  await nextLook();
  expect(bypassed().outbound).toBe(1);
  expect(messages().filter((message) => `${message}`.includes('cannot be read'))).toHaveLength(1);
  find([]);
  await nextLook();
  expect(bypassed().outbound).toBe(0);
});

it('says once that there are more sockets than it looks at', async () => {
  const { find, nextLook, messages } = await auditAfter();
  find([], false);
  await nextLook();
  await nextLook();
  expect(messages()).toHaveLength(1);
});

it('looks no more after it was stopped', async () => {
  const { looks, nextLook, clock } = await auditAfter();
  audit?.stop();
  const before = looks();
  await nextLook();
  expect(looks()).toBe(before);
  expect(clock.pending).toBe(0);
});
