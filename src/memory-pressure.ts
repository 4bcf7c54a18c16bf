import type { Clock, Timer } from './clock.ts';
import type { Log } from './log.ts';
import type { MemoryPool } from './memory-limit.ts';

/** Whether there is memory for something new. */
export interface MemoryPressure {
  /** Why nothing new may be taken, for the detail of a refusal; undefined while there is enough. */
  shortage(): string | undefined;
  close(): void;
}

/**
 * Nothing new is taken from `high` of a limit on, or from `headroomBytes` below it where that is less: connections that run
 * grow, and those that end leave garbage. It is taken again `hysteresis` of the limit below that, after `leastMs` at least.
 *
 * Garbage is thrown away before anything is refused: V8 knows nothing of the container, and most of what it holds after a
 * load is garbage. That stalls every connection, for 15 to 50 ms, and 200 ms with 3,000 of them; so `reclaimPauseMs` and 10
 * times its duration lie between two times, but only twice its duration in the last half of `headroomBytes`. Both double
 * with each time in a row that gave back less than `worthBytes`, `doublings` times at most: whoever can fill memory with what
 * is no garbage must not be able to stall the rest with looking for it.
 */
export const memoryMarks = {
  high: 0.85,
  headroomBytes: 20 * 1024 * 1024,
  hysteresis: 0.1,
  leastMs: 1000,
  reclaimPauseMs: 1000,
  worthBytes: 1024 * 1024,
  doublings: 2,
} as const;

/** Between two looks, the same below half of every limit, and the age from which on a look is too old for whoever asks. */
const intervalMs = 100;
const calmIntervalMs = 1000;
const freshMs = 25;

const { high, headroomBytes, hysteresis, leastMs, reclaimPauseMs, worthBytes, doublings } = memoryMarks;

/** Watches the memory of `pools`; `reclaim` gives back to the system what is free. */
export function watchMemory({
  pools,
  reclaim,
  clock,
  log,
}: {
  pools: readonly MemoryPool[];
  reclaim: () => void;
  clock: Clock;
  log: Log;
}): MemoryPressure {
  let shortOf: { readonly text: string; readonly sinceMs: number } | undefined;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let reclaimed = { atMs: Number.NEGATIVE_INFINITY, tookMs: 0, inVain: 0 };
  let timer: Timer;

  const above = (isShort: boolean) =>
    pools.find(({ limit, isAbove }) => {
      const bytes = limit();
      const highBytes = Math.min(high * bytes, bytes - headroomBytes);
      return isAbove(isShort ? highBytes - hysteresis * bytes : highBytes);
    });
  /** The other half of what was kept for connections that run is in use. */
  const isUrgent = () => pools.some(({ limit, isAbove }) => isAbove(limit() - headroomBytes / 2));

  const aboveAfterReclaim = (isShort: boolean) => {
    const full = above(isShort);
    if (full === undefined) return undefined;
    const startedMs = clock.monotonic();
    const waitMs = isUrgent() ? 2 * reclaimed.tookMs : Math.max(reclaimPauseMs, 10 * reclaimed.tookMs);
    if (startedMs - reclaimed.atMs < waitMs * 2 ** reclaimed.inVain) return full;
    const before = full.used();
    reclaim();
    const inVain = before - full.used() < worthBytes ? Math.min(reclaimed.inVain + 1, doublings) : 0;
    const atMs = clock.monotonic();
    reclaimed = { atMs, tookMs: atMs - startedMs, inVain };
    return above(isShort);
  };

  const look = () => {
    lookedAtMs = clock.monotonic();
    const full = aboveAfterReclaim(shortOf !== undefined);
    const text = full && shown(full);
    if (text === undefined && shortOf !== undefined && lookedAtMs - shortOf.sinceMs < leastMs) return;
    if (text !== undefined && shortOf === undefined)
      log.warn({ detail: text, remedy }, 'New connections are refused because memory is short');
    if (text === undefined && shortOf !== undefined) log.info('New connections are taken again');
    shortOf = text === undefined ? undefined : { text, sinceMs: shortOf?.sinceMs ?? lookedAtMs };
  };

  const tick = () => {
    look();
    const isCalm = shortOf === undefined && !pools.some(({ limit, isAbove }) => isAbove(limit() / 2));
    timer = clock.after(isCalm ? calmIntervalMs : intervalMs, tick);
  };
  tick();

  return {
    shortage() {
      if (clock.monotonic() - lookedAtMs >= freshMs) look();
      return shortOf?.text;
    },
    close: () => timer.cancel(),
  };
}

const remedy = 'Raise the memory limit of the sidecar, or add replicas';

function shown({ name, limit, used }: MemoryPool): string {
  const mib = (bytes: number) => Math.round(bytes / 1024 / 1024);
  return `The ${name} holds ${mib(used())} of ${mib(limit())} MiB`;
}
