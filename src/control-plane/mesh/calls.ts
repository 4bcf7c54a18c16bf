import type { Clock } from '../../clock.ts';
import { timestamp } from '../../clock.ts';
import { workloadSpiffeId } from '../../identity/spiffe-id.ts';
import { createExpectedIdentity } from '../account-watch.ts';
import { hasSidecar } from '../pod-endpoint.ts';
import { createPodOfToken } from '../pod-of-token.ts';
import { sendJson } from '../replies.ts';
import type { RevocationBook } from '../revocation/revocations.ts';
import type { Route } from '../router.ts';
import type { LivingSidecar, SidecarBook } from '../sidecar-book.ts';
import { maxNamedSidecars } from '../sidecar-book.ts';
import type { RegistryObjects } from '../store/objects.ts';
import type { MeshSidecar, MeshStatus, OtherPod } from './status.ts';
import { maxMeshReplyBytes, meshPaths } from './status.ts';

export interface MeshParts {
  readonly clock: Clock;
  readonly authority: { readonly trustDomain: string };
  readonly book: Pick<SidecarBook, 'living'>;
  readonly revocations: Pick<RevocationBook, 'revokedAt'>;
  readonly store: { current(): Pick<RegistryObjects, 'pods'> };
}

/** A sidecar reports every five minutes when nothing happens; milliseconds. */
const staleMs = 360_000;

/** The calls of the admin API about sidecars. */
export function meshCalls(parts: MeshParts): ReadonlyMap<string, Route> {
  const statusNow = createMeshStatus(parts);
  return new Map<string, Route>([
    [
      meshPaths.sidecars,
      {
        method: 'GET',
        handle: async ({ response }) => sendJson(response, statusNow(), { maxBytes: maxMeshReplyBytes }),
      },
    ],
  ]);
}

/**
 * Who is alive, as they told it themselves: a sidecar reports about itself alone, and its token says who it is. Beside it what
 * is known here: how old that is, what is revoked, and what the registry says.
 */
function createMeshStatus({
  clock,
  authority: { trustDomain },
  book,
  revocations,
  store,
}: MeshParts): () => MeshStatus {
  const expectedOf = createExpectedIdentity(trustDomain, createPodOfToken(store));
  return () => {
    const { sidecars, unnamedUntilMs } = book.living();
    const nowMs = clock.now();
    const hasStreams = sidecars.some(({ streams }) => streams > 0);
    const shown = sidecars.map((one) => {
      const { uri } = workloadSpiffeId(trustDomain, one.namespace, one.serviceAccount);
      return {
        ...reported(one),
        spiffeId: uri,
        isStale: isStale(one, nowMs, hasStreams),
        revokedAt: revocations.revokedAt(uri) ?? null,
        registrySpiffeId: expectedOf(one) ?? null,
      };
    });
    return {
      trustDomain,
      now: timestamp(nowMs),
      sidecars: shown.sort(byPod),
      otherPods: otherPods(store.current(), sidecars),
      unnamedRoots: unnamedUntilMs.size,
    };
  };
}

function reported({ pod, report, reportedAtMs, streams }: LivingSidecar) {
  return {
    pod,
    reportedAt: reportedAtMs === undefined ? null : timestamp(reportedAtMs),
    version: report?.version ?? null,
    state: report?.state ?? null,
    streams,
  };
}

/** Its last report is too old to go by, or it has no stream while others have. */
export function isStale({ reportedAtMs, streams }: LivingSidecar, nowMs: number, hasStreams: boolean): boolean {
  if (reportedAtMs === undefined) return false;
  return nowMs - reportedAtMs > staleMs || (streams === 0 && hasStreams);
}

function otherPods({ pods }: Pick<RegistryObjects, 'pods'>, sidecars: readonly LivingSidecar[]): OtherPod[] {
  const alive = new Set(sidecars.map(({ pod }) => pod));
  return pods
    .filter(({ status }) => status.phase !== 'Succeeded' && status.phase !== 'Failed')
    .map((one) => ({ pod: `${one.metadata.namespace}/${one.metadata.name}`, hasSidecar: hasSidecar(one) }))
    .filter(({ pod }) => !alive.has(pod))
    .sort(byPod)
    .slice(0, maxNamedSidecars);
}

function byPod({ pod: one }: Pick<MeshSidecar, 'pod'>, { pod: other }: Pick<MeshSidecar, 'pod'>): number {
  return one < other ? -1 : 1;
}
