import { networkInterfaces } from 'node:os';
import { canonicalIp, isGlobal } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import type { NamedWorkload } from '../../control-api.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import { workloadOf } from '../../identity/spiffe-id.ts';
import type { FoundWorkload, WorkloadBook } from './workload-book.ts';

export interface OwnWorkloadParts {
  readonly book: Pick<WorkloadBook, 'find'>;
  /** Undefined before the first. */
  identity(): SpiffeId | undefined;
  /** Canonical. */
  addresses(): readonly string[];
}

/**
 * The workload of this pod: what the book says of one of its addresses, where that is of our own namespace and service
 * account. Once it is known it stays, because what makes a pod never changes.
 */
export function createOwnWorkload({ book, identity, addresses }: OwnWorkloadParts): () => FoundWorkload {
  let known: NamedWorkload | undefined;

  return () => {
    if (known !== undefined) return { kind: 'known', workload: known };
    const id = identity();
    if (id === undefined) return { kind: 'asked', before: undefined };
    const own = workloadOf(id);
    let isAsked = false;
    for (const ip of own === undefined ? [] : addresses()) {
      const found = book.find(ip);
      isAsked ||= found.kind === 'asked';
      if (found.kind !== 'known') continue;
      const { workload } = found;
      if (workload.namespace !== own?.namespace || workload.serviceAccount !== own.serviceAccount) continue;
      known = workload;
      return found;
    }
    return isAsked ? { kind: 'asked', before: undefined } : { kind: 'unknown' };
  };
}

/** Asking the kernel costs too much for each connection, and addresses of a pod change rarely. */
const addressesMaxAgeMs = 10_000;
/** Of a host without capture there may be any number. */
const maxAddresses = 8;

/** The global addresses of this pod or host, a few of them where there are many. */
export function createOwnAddresses(clock: Clock, read = networkInterfaces): () => readonly string[] {
  let known: readonly string[] = [];
  let readAtMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (clock.monotonic() - readAtMs < addressesMaxAgeMs) return known;
    readAtMs = clock.monotonic();
    known = Object.values(read())
      .flatMap((list) => list ?? [])
      .map(({ address }) => canonicalIp(address))
      .filter((ip) => ip !== undefined)
      .filter(isGlobal)
      .slice(0, maxAddresses);
    return known;
  };
}

/** Of the pod that this process runs in. */
export function ownWorkloadOf({ clock, ...parts }: Omit<OwnWorkloadParts, 'addresses'> & { readonly clock: Clock }) {
  return createOwnWorkload({ ...parts, addresses: createOwnAddresses(clock) });
}
