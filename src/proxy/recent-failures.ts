import type { ShownFailure } from '../admin-api.ts';
import { timestamp } from '../clock.ts';
import type { LiveConnection } from './account.ts';
import type { Ended } from './connection-line.ts';
import { lineOf, wordsOf } from './connection-line.ts';
import type { FailureRun, RunSubject } from './failure-runs.ts';
import { createFailureRuns } from './failure-runs.ts';

/** The connections that failed last, so that a person can ask about one whose line is in the log. */
export interface RecentFailures {
  add(failure: Ended): void;
  /** The latest first. */
  all(): readonly ShownFailure[];
  find(id: string): ShownFailure | undefined;
  /** Something is carried on a way: what failed there before is over. */
  carried(connection: Pick<LiveConnection, 'direction' | 'facts'>): void;
  /** Those that failed there since something was carried last; undefined when none has. */
  inARow(subject: RunSubject): FailureRun | undefined;
}

/**
 * So many are remembered of each outcome and reason: a flood of one kind, which any stranger can make, hides nothing of
 * the others.
 */
export const maxFailuresOfReason = 50;

export function createRecentFailures(limit = maxFailuresOfReason): RecentFailures {
  /** By outcome and reason, the oldest first. */
  const kinds = new Map<string, Ended[]>();
  const runs = createFailureRuns();
  const latestFirst = () => [...kinds.values()].flat().sort((one, other) => other.nowMs - one.nowMs);
  return {
    add(failure) {
      runs.failed(failure);
      const { direction, outcome } = failure;
      const kind = `${direction} ${outcome.kind} ${outcome.reason}`;
      const list = kinds.get(kind) ?? [];
      kinds.set(kind, list);
      list.push(failure);
      if (list.length > limit) list.shift();
    },
    all: () => latestFirst().map(shownEnded),
    find(id) {
      const found = latestFirst().find((failure) => failure.id === id);
      return found && shownEnded(found);
    },
    carried: runs.carried,
    inARow: runs.of,
  };
}

/** Made when somebody asks, and not for each of a flood. */
export function shownEnded(failure: Ended): ShownFailure {
  return { at: timestamp(failure.nowMs), ...lineOf(failure), ...wordsOf(failure.outcome) };
}
