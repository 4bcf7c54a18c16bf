import { describe, expect, it } from 'vitest';
import type { Authority } from '../../../src/control-plane/authority.ts';
import { createAuthority, createRoot } from '../../../src/control-plane/authority.ts';
import type { RootSet } from '../../../src/control-plane/root-set.ts';
import { createRotation } from '../../../src/control-plane/rotation.ts';
import { createSidecarBook } from '../../../src/control-plane/sidecar-book.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const nowMs = Date.parse('2030-05-01T12:00:00Z');
const steady: RootSet = { root: createRoot('cluster.local', nowMs) };
const added: RootSet = { ...steady, next: createRoot('cluster.local', nowMs) };

/** A rotation on a folder where nothing can be written, whose files hold one set after the other. */
function setUp(...held: readonly RootSet[]) {
  const clock = createFakeClock(nowMs);
  const settings = { trustDomain: 'cluster.local', lifetimeMs: 3_600_000, minimumLifetimeMs: 10_000 };
  const authority: Authority = createAuthority(steady, clock, settings);
  const left = [...held];
  const read = async () => left.shift() ?? expect.unreachable();
  const rotation = createRotation({
    clock,
    log: captureLog().log,
    authority,
    book: createSidecarBook(clock, { trustedRoots: () => [], unknownForMs: 0 }),
    revocations: { crlUnder: () => undefined },
    place: { kind: 'files', folder: '/proc/no-such-folder', read },
    adopt: async (roots) => authority.replaceRoots(roots),
  });
  return { authority, rotation };
}

describe('a step whose files cannot be written', () => {
  it('says so, and uses what they hold', async () => {
    const { authority, rotation } = setUp(steady, added);
    await expect(rotation.take('add', false)).rejects.toThrow('/proc/no-such-folder/next-root-key.pem');
    expect(authority.roots).toBe(added);
  });

  it('is followed by the next one', async () => {
    const { authority, rotation } = setUp(steady, steady);
    await expect(rotation.take('add', false)).rejects.toThrow();
    expect((await rotation.take('switch', false)).kind).toBe('impossible');
    expect(authority.roots).toBe(steady);
  });
});
