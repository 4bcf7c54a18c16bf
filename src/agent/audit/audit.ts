import type { Clock, Timer } from '../../clock.ts';
import { messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type { BypassCounts, InterceptionBook } from '../interception-book.ts';
import { noBypasses } from '../interception-book.ts';
import { bypassLine } from './bypass-words.ts';
import type { Look, Looker, Suspect } from './look.ts';

export interface AuditParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly look: Looker;
  readonly book: Pick<InterceptionBook, 'bypassed'>;
}

export interface Audit {
  stop(): void;
}

/** Milliseconds: between two looks, give or take a tenth, and before what one look found is looked at again; and lines in the log. */
export const auditLimits = { intervalMs: 10_000, confirmMs: 1000, linesPerLook: 20 } as const;

/**
 * Looks over and over for connections that go around the sidecar. What is there at the first look is taken for older than
 * the rules and is never told of. Later a connection counts when a second look finds it as well, at least a second after the
 * first, so that one which is just being accepted or closed does not; it counts until it is gone.
 */
export function startAudit({ clock, log, look, book }: AuditParts): Audit {
  let timer: Timer | undefined;
  let isStopped = false;
  let isSecond = false;
  const state = createAuditState();
  const isNews = createNews();

  const told = ({ suspects, isWhole }: Look): number => {
    const { bypasses, news, isSettled } = state.next(suspects);
    book.bypassed(countsOf(bypasses));
    for (const suspect of news.slice(0, auditLimits.linesPerLook)) log.error(...bypassLine(suspect));
    const suppressed = news.length - auditLimits.linesPerLook;
    if (suppressed > 0) log.error({ suppressed }, 'More connections go around the sidecar');
    if (isNews(isWhole ? undefined : 'size'))
      log.warn('The pod has more sockets than are looked at for connections that go around the sidecar');
    // What a second look finds first waits for the next one: where connections come and go, each look finds some.
    isSecond = !isSecond && !isSettled;
    return isSecond ? auditLimits.confirmMs : auditLimits.intervalMs;
  };
  const failed = (error: unknown): number => {
    if (isNews('unreadable'))
      log.warn(
        { detail: messageOf(error) },
        'Nobody looks for connections that go around the sidecar: the sockets of the pod cannot be read',
      );
    return auditLimits.intervalMs;
  };
  const round = async () => {
    const waitMs = await look().then((seen) => (isStopped ? 0 : told(seen)), failed);
    // Never sooner: a second look within a second proves nothing.
    if (!isStopped) timer = clock.after(waitMs * (1 + 0.2 * clock.random()), () => void round());
  };
  void round();
  return {
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}

/** What a look adds to those before it; remembers inodes alone, never more than there were sockets in one look. */
function createAuditState() {
  let older: ReadonlySet<number> | undefined;
  let suspected: ReadonlySet<number> = new Set();
  let bypassing: ReadonlySet<number> = new Set();
  let bypassingBefore: ReadonlySet<number> = new Set();
  // The kernel's table is no picture of one moment: who is missing once was told of all the same.
  const wasTold = ({ socket: { inode } }: Suspect) => bypassing.has(inode) || bypassingBefore.has(inode);
  return {
    next(suspects: readonly Suspect[]) {
      const known = older ?? inodesOf(suspects);
      older = known;
      const later = suspects.filter(({ socket }) => !known.has(socket.inode));
      const isBypass = (suspect: Suspect) => suspected.has(suspect.socket.inode) || wasTold(suspect);
      const bypasses = later.filter(isBypass);
      const news = bypasses.filter((suspect) => !wasTold(suspect));
      suspected = inodesOf(later.filter((suspect) => !isBypass(suspect)));
      bypassingBefore = bypassing;
      bypassing = inodesOf(bypasses);
      return { bypasses, news, isSettled: suspected.size === 0 };
    },
  };
}

/** Whether what is not in order is something else than the last time. */
function createNews(): (problem: string | undefined) => boolean {
  let last: string | undefined;
  return (problem) => {
    const isNew = problem !== undefined && problem !== last;
    last = problem;
    return isNew;
  };
}

function inodesOf(suspects: readonly Suspect[]): ReadonlySet<number> {
  return new Set(suspects.map(({ socket }) => socket.inode));
}

function countsOf(bypasses: readonly Suspect[]): BypassCounts {
  const counts = structuredClone(noBypasses) as Record<'inbound' | 'outbound', Record<'ipv4' | 'ipv6', number>>;
  for (const { direction, family } of bypasses) counts[direction][family] += 1;
  return counts;
}
