import type { Clock } from '../../clock.ts';
import { timestamp } from '../../clock.ts';
import { workloadSpiffeId } from '../../identity/spiffe-id.ts';
import { sendJson } from '../replies.ts';
import type { Route } from '../router.ts';
import type { LivingSidecar, SidecarBook } from '../sidecar-book.ts';
import type { MeshSidecar, MeshStatus } from './status.ts';
import { maxMeshReplyBytes, meshPaths } from './status.ts';

export interface MeshParts {
  readonly clock: Clock;
  readonly authority: { readonly trustDomain: string };
  readonly book: Pick<SidecarBook, 'living'>;
}

/** The calls of the admin API about sidecars. */
export function meshCalls(parts: MeshParts): ReadonlyMap<string, Route> {
  return new Map<string, Route>([
    [
      meshPaths.sidecars,
      {
        method: 'GET',
        handle: async ({ response }) => sendJson(response, meshStatusOf(parts), { maxBytes: maxMeshReplyBytes }),
      },
    ],
  ]);
}

/** Who is alive, as they told it themselves: a sidecar reports about itself alone, and its token says who it is. */
function meshStatusOf({ clock, authority: { trustDomain }, book }: MeshParts): MeshStatus {
  const { sidecars, unnamedUntilMs } = book.living();
  return {
    trustDomain,
    now: timestamp(clock.now()),
    sidecars: sidecars.map((one) => shown(one, trustDomain)).sort((one, other) => (one.pod < other.pod ? -1 : 1)),
    unnamedRoots: unnamedUntilMs.size,
  };
}

function shown(
  { pod, serviceAccount, report, reportedAtMs, streams }: LivingSidecar,
  trustDomain: string,
): MeshSidecar {
  const [namespace = ''] = pod.split('/');
  return {
    pod,
    spiffeId: workloadSpiffeId(trustDomain, namespace, serviceAccount).uri,
    reportedAt: reportedAtMs === undefined ? null : timestamp(reportedAtMs),
    version: report?.version ?? null,
    state: report?.state ?? null,
    streams,
  };
}
