import type { ShownFailure } from '../admin-api.ts';

/** The connections that failed last, so that a person can ask about one whose line is in the log. */
export interface RecentFailures {
  add(failure: ShownFailure): void;
  /** The latest first. */
  all(): readonly ShownFailure[];
  find(id: string): ShownFailure | undefined;
}

/**
 * So many are remembered of each outcome and reason: a flood of one kind, which any stranger can make, hides nothing of
 * the others.
 */
export const maxFailuresOfReason = 50;

export function createRecentFailures(limit = maxFailuresOfReason): RecentFailures {
  /** By outcome and reason, the oldest first. */
  const kinds = new Map<string, ShownFailure[]>();
  const all = () =>
    [...kinds.values()].flat().sort((one, other) => (one.at < other.at ? 1 : one.at > other.at ? -1 : 0));
  return {
    add(failure) {
      const kind = `${failure.direction} ${failure.outcome} ${failure.reason}`;
      const list = kinds.get(kind) ?? [];
      kinds.set(kind, list);
      list.push(failure);
      if (list.length > limit) list.shift();
    },
    all,
    find: (id) => all().find((failure) => failure.id === id),
  };
}
