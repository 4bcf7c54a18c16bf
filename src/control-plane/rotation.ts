import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Authority } from './authority.ts';
import { createBridge, createRoot } from './authority.ts';
import type { RootSet } from './root-set.ts';
import { fingerprintOf, isSameRootSet, phaseOf, trustedRoots } from './root-set.ts';
import type { Write } from './root-steps.ts';
import { abortWrites, addWrites, removeWrites, switchWrites } from './root-steps.ts';
import { byHand } from './rotation-by-hand.ts';
import type { Obstacle, RotationFacts, RotationStep } from './rotation-rules.ts';
import { impossibility, obstaclesTo } from './rotation-rules.ts';
import type { RotationStatus, StepReply } from './rotation-status.ts';
import { maxListedObstacles } from './rotation-status.ts';
import type { SidecarBook } from './sidecar-book.ts';

/** Where the roots are, and so what a step has to write. */
export type RootPlace =
  | { readonly kind: 'memory' }
  /** `read` puts the files in order and tells what they hold. */
  | { readonly kind: 'files'; readonly folder: string; read(): Promise<RootSet> }
  /** In files that somebody else keeps: steps are done by hand. */
  | { readonly kind: 'given'; readonly folder: string };

export interface RotationParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly authority: Authority;
  readonly book: SidecarBook;
  readonly place: RootPlace;
  readonly revocations: Required<Pick<RotationFacts, 'crlUnder'>>;
  /** Uses other roots from now on, and tells whoever has to know. */
  adopt(roots: RootSet): Promise<void>;
}

/** The rotation of the root, step by step. */
export interface Rotation {
  status(): RotationStatus;
  /** Refuses what would break somebody, unless it is forced. One step at a time. Throws when a file cannot be written. */
  take(step: RotationStep, force: boolean): Promise<StepReply>;
}

const stepAfter = { steady: 'add', added: 'switch', switched: 'remove' } as const;

export function createRotation(parts: RotationParts): Rotation {
  const { authority, book, clock, log, place, revocations } = parts;
  const factsNow = (): RotationFacts => ({
    ...{ roots: authority.roots, living: book.living(), nowMs: clock.now() },
    crlUnder: revocations.crlUnder,
  });
  const status = () => statusOf(authority.trustDomain, place.kind, factsNow());
  const reply = (kind: StepReply['kind'], obstacles: readonly Obstacle[] = [], todo: readonly string[] = []) => ({
    kind,
    ...listed(obstacles),
    todo: [...todo],
    status: status(),
  });

  const take = async (step: RotationStep, force: boolean): Promise<StepReply> => {
    const facts = factsNow();
    const why = impossibility(step, facts);
    if (why !== undefined) return { ...reply('impossible'), why };
    const obstacles = obstaclesTo(step, facts);
    if (obstacles.length > 0 && !force) return reply('refused', obstacles);
    if (place.kind === 'given') return reply('by-hand', obstacles, byHand(step, place.folder, facts));
    if (step === 'switch' && facts.roots.next?.key === undefined)
      return { ...reply('impossible'), why: 'the key of the next root is not there' };
    // What was judged is what is used; the step works on what the files hold.
    if (place.kind === 'files' && !isSameRootSet(await place.read(), facts.roots))
      return {
        ...reply('impossible'),
        why: `${place.folder} holds other roots than those in use; a restart uses them`,
      };
    await carryOut(parts, changeOf(step, facts, authority.trustDomain));
    const roots = trustedRoots(authority.roots).map(fingerprintOf);
    log.warn(
      { step, forced: force, broken: obstacles.length, issuing: fingerprintOf(authority.root), roots },
      'Root rotated',
    );
    return reply('done', obstacles);
  };

  let last: Promise<unknown> = Promise.resolve();
  return {
    status,
    take(step, force) {
      const taken = last.then(() => take(step, force));
      last = taken.catch(() => undefined);
      return taken;
    },
  };
}

interface Change {
  /** What is then, in memory. */
  readonly roots: RootSet;
  /** The same on files. */
  writes(folder: string): readonly Write[];
}

function changeOf(step: RotationStep, { roots, nowMs }: RotationFacts, trustDomain: string): Change {
  const { root, next } = roots;
  switch (step) {
    case 'add': {
      const made = createRoot(trustDomain, nowMs);
      return { roots: { root, next: made }, writes: (folder) => addWrites(folder, made) };
    }
    case 'switch': {
      if (next?.key === undefined) throw new TypeError('a switch needs the key of the next root');
      const previous = root.certificate;
      const bridge = createBridge(next.certificate, root, nowMs);
      return {
        roots: { root: { certificate: next.certificate, key: next.key }, previous, bridge },
        writes: (folder) => switchWrites(folder, previous, bridge),
      };
    }
    case 'remove':
      return { roots: { root }, writes: removeWrites };
    case 'abort':
      return { roots: { root }, writes: abortWrites };
    default:
      return step satisfies never;
  }
}

/** What the files hold is what is used, also when one of the writes fails. */
async function carryOut({ place, adopt }: RotationParts, { roots, writes }: Change): Promise<void> {
  if (place.kind !== 'files') return adopt(roots);
  try {
    for (const write of writes(place.folder)) await write();
  } catch (error) {
    // Where they cannot be read either, the roots in use stay, and what could not be written is what to say.
    const held = await place.read().catch(() => undefined);
    if (held !== undefined) await adopt(held);
    throw error;
  }
  await adopt(await place.read());
}

function statusOf(trustDomain: string, kept: RootPlace['kind'], facts: RotationFacts): RotationStatus {
  const { roots, living } = facts;
  const step = stepAfter[phaseOf(roots)];
  const obstacles = impossibility(step, facts) === undefined ? obstaclesTo(step, facts) : [];
  return {
    trustDomain,
    kept,
    roots: trustedRoots(roots).map((certificate) => {
      const fingerprint = fingerprintOf(certificate);
      const reported = living.sidecars.map(
        ({ report }) => report?.peersByRoot?.find(({ root }) => root === fingerprint)?.peers ?? 0,
      );
      return {
        role: roleOf(certificate, roots),
        fingerprint,
        notBefore: timestamp(certificate.validFromDate.getTime()),
        notAfter: timestamp(certificate.validToDate.getTime()),
        sidecars: living.sidecars.filter(({ certificates }) => certificates.has(fingerprint)).length,
        peers: reported.reduce((most, peers) => Math.max(most, peers), 0),
      };
    }),
    next: { step, ...listed(obstacles) },
  };
}

function roleOf(certificate: object, { next, previous }: RootSet): 'issuing' | 'next' | 'previous' {
  if (certificate === previous) return 'previous';
  return certificate === next?.certificate ? 'next' : 'issuing';
}

function listed(obstacles: readonly Obstacle[]) {
  return {
    obstacles: obstacles.slice(0, maxListedObstacles),
    more: Math.max(0, obstacles.length - maxListedObstacles),
  };
}
