import type { Clock } from '../clock.ts';
import { workloadSpiffeId } from '../identity/spiffe-id.ts';
import type { Log } from '../log.ts';
import { createLineLimit } from './line-limit.ts';
import { hasSidecar } from './pod-endpoint.ts';
import type { PodOfToken } from './pod-of-token.ts';
import { createPodOfToken } from './pod-of-token.ts';
import type { LivingSidecar, SidecarBook } from './sidecar-book.ts';
import { maxNamedSidecars } from './sidecar-book.ts';
import type { Store } from './store/store.ts';

/** Who a sidecar is by its token. */
export type Holder = Pick<LivingSidecar, 'namespace' | 'podName' | 'podUid' | 'serviceAccount'>;

export interface AccountParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly authority: { readonly trustDomain: string };
  readonly book: Pick<SidecarBook, 'living'>;
  readonly store: Pick<Store, 'current' | 'subscribe'>;
}

/** Pods whose service account in the registry is not that of their token: callers expect the one and meet the other. */
export interface AccountWatch {
  /** Looks at one sidecar, when a certificate is issued to it. */
  look(holder: Holder): void;
  close(): void;
}

const linesPerSecond = 20;

/** Warns once of each pod and each change, and says when they agree again; looks at all sidecars whenever the registry changes. */
export function watchAccounts({ clock, log, authority, book, store }: AccountParts): AccountWatch {
  const expectedOf = createExpectedIdentity(authority.trustDomain, createPodOfToken(store));
  const limit = createLineLimit<'account'>(clock, linesPerSecond);
  const told = new Map<string, string>();

  const look = (holder: Holder) => {
    const { namespace, podName, podUid, serviceAccount } = holder;
    const key = `${namespace}/${podName} ${podUid}`;
    const registry = expectedOf(holder);
    if (told.get(key) === registry) return;
    const line = limit('account');
    // What has no line now is told at the next look.
    if (line === undefined || (!told.has(key) && told.size >= maxNamedSidecars)) return;
    const issued = workloadSpiffeId(authority.trustDomain, namespace, serviceAccount).uri;
    const fields = { pod: `${namespace}/${podName}`, issued, ...line };
    if (registry === undefined) {
      told.delete(key);
      log.info(fields, 'The registry gives the pod the service account of its token again, or knows it no more');
    } else {
      told.set(key, registry);
      log.warn(
        { ...fields, registry, meaning, remedy },
        'The registry gives a pod another service account than its token',
      );
    }
  };
  const lookAtAll = () => {
    const { sidecars } = book.living();
    const alive = new Set(sidecars.map(({ pod, podUid }) => `${pod} ${podUid}`));
    for (const key of told.keys()) if (!alive.has(key)) told.delete(key);
    for (const sidecar of sidecars) look(sidecar);
  };
  return { look, close: store.subscribe(lookAtAll) };
}

const meaning =
  'Its sidecar has a certificate of the identity `issued`; its callers expect the identity `registry`, and refuse it as peer_identity';
const remedy =
  'Restart the pod if it is to have the service account of the registry; otherwise correct the Pod in the registry';

/** The identity that callers expect of a sidecar's pod where that is another one than the sidecar has; otherwise undefined. */
export function createExpectedIdentity(trustDomain: string, podOf: PodOfToken) {
  return ({ namespace, podName, podUid, serviceAccount }: Holder): string | undefined => {
    const pod = podOf({ namespace, pod: podName, podUid });
    if (pod === undefined || !hasSidecar(pod) || pod.spec.serviceAccountName === serviceAccount) return undefined;
    return workloadSpiffeId(trustDomain, namespace, pod.spec.serviceAccountName).uri;
  };
}
