/** Which states are newer than what is known. Versions compare only within an epoch; a new epoch replaces everything. */
export interface StreamVersions {
  /** Whether a state is at least as new as the last one under this key, which it then replaces. */
  accept(key: string, epoch: string, version: number): boolean;
  /** Forgets every key for which `isKept` is false. */
  keep(isKept: (key: string) => boolean): void;
}

export function createStreamVersions(): StreamVersions {
  const versions = new Map<string, number>();
  let currentEpoch: string | undefined;
  return {
    accept(key, epoch, version) {
      if (epoch !== currentEpoch) versions.clear();
      currentEpoch = epoch;
      if (version < (versions.get(key) ?? Number.NEGATIVE_INFINITY)) return false;
      versions.set(key, version);
      return true;
    },
    keep(isKept) {
      for (const key of versions.keys()) if (!isKept(key)) versions.delete(key);
    },
  };
}
