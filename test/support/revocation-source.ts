import type { RevocationSource } from '../../src/agent/identity-sources/revoked.ts';
import type { RevocationLists } from '../../src/identity/revocations.ts';
import { createRevocations } from '../../src/identity/revocations.ts';

export interface FakeRevocationSource extends RevocationSource {
  /** Replaces all that is revoked, and tells of it. */
  set(lists: Partial<RevocationLists>): void;
  readonly listeners: number;
}

/** Revocations that a test makes; nothing at first. */
export function createRevocationSource(): FakeRevocationSource {
  const listeners = new Set<() => void>();
  let current = createRevocations({ certificates: [], identities: [] });
  return {
    current: () => current,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    set(lists) {
      current = createRevocations({ certificates: [], identities: [], ...lists });
      for (const listener of [...listeners]) listener();
    },
    get listeners() {
      return listeners.size;
    },
  };
}
