import type { Clock } from '../../clock.ts';
import type { ReportedCallers } from '../../control-api.ts';
import { workloadOf } from '../../pod-workload.ts';
import { isStale } from '../mesh/calls.ts';
import { hasSidecar } from '../pod-endpoint.ts';
import { createPodOfToken } from '../pod-of-token.ts';
import type { LivingSidecar, SidecarBook } from '../sidecar-book.ts';
import type { Pod, RegistryObjects } from '../store/objects.ts';

/** What a sidecar has told of its callers. */
export interface KnownCallers {
  readonly namespace: string;
  readonly workload: string;
  /** Undefined where the registry does not hold the pod of its token. */
  readonly pod: Pod | undefined;
  readonly told: ReportedCallers;
}

/** A sidecar of whose callers too little is known. */
export interface UnknownCallers {
  /** `namespace/name`. */
  readonly name: string;
  readonly namespace: string;
  readonly pod: Pod | undefined;
  readonly why: string;
}

export interface AllCallers {
  /** By name. */
  readonly known: readonly KnownCallers[];
  /** By name. */
  readonly notKnown: readonly UnknownCallers[];
  /** At least so many sidecars of some namespace have no name here, because there are too many. */
  readonly unnamed: number;
}

export interface KnownCallersParts {
  readonly clock: Pick<Clock, 'now'>;
  readonly book: Pick<SidecarBook, 'living'>;
  readonly store: { current(): RegistryObjects };
}

/** Streams and certificates go on in between. */
export const nextTurn = () => new Promise<void>((resolve) => void setImmediate(resolve));

/** As many sidecars with a hundred callers each are read, or judged, in one turn of the event loop. */
export const sidecarsInOneTurn = 10;

/** Who has called the pods of a namespace, or of the whole mesh, as their sidecars told it. */
export async function allCallers(
  { clock, book, store }: KnownCallersParts,
  namespace: string | undefined,
): Promise<AllCallers> {
  const { pods } = store.current();
  const podOf = createPodOfToken(store);
  const { sidecars, unnamedUntilMs } = book.living();
  const hasStreams = sidecars.some(({ streams }) => streams > 0);
  const known: KnownCallers[] = [];
  const notKnown: UnknownCallers[] = [];
  const living = new Set<Pod>();
  for (const one of sidecars) {
    if (namespace !== undefined && one.namespace !== namespace) continue;
    const pod = podOf({ ...one, pod: one.podName });
    if (one.streams === 0 && isGone(one, pod, clock.now())) continue;
    if (pod !== undefined) living.add(pod);
    const workload = pod === undefined ? one.podName : workloadOf(pod).name;
    if (one.callers !== undefined) known.push({ namespace: one.namespace, workload, pod, told: readBack(one.callers) });
    const why = whyNotKnown(one, isStale(one, clock.now(), hasStreams));
    if (why !== undefined) notKnown.push({ name: one.pod, namespace: one.namespace, pod, why });
    if (known.length % sidecarsInOneTurn === 0) await nextTurn();
  }
  for (const pod of pods) {
    if (namespace !== undefined && pod.metadata.namespace !== namespace) continue;
    if (living.has(pod) || hasEnded(pod) || !hasSidecar(pod)) continue;
    const { namespace: itsNamespace, name } = pod.metadata;
    const why = 'its sidecar has no certificate and no stream here';
    notKnown.push({ name: `${itsNamespace}/${name}`, namespace: itsNamespace, pod, why });
  }
  return {
    known: known.sort((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1)),
    notKnown: notKnown.sort((one, other) => (one.name < other.name ? -1 : 1)),
    unnamed: unnamedUntilMs.size,
  };
}

/** It was read with care when it came, and is ours since. */
const readBack = (text: string): ReportedCallers => JSON.parse(text);

const nameOf = ({ namespace, workload }: KnownCallers) => `${namespace}/${workload}`;

/** Its certificate has not ended, but the pod has. */
function isGone(sidecar: LivingSidecar, pod: Pod | undefined, nowMs: number): boolean {
  if (pod !== undefined) return hasEnded(pod);
  return sidecar.reportedAtMs === undefined || isStale(sidecar, nowMs, false);
}

function hasEnded({ status: { phase } }: Pod): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

function whyNotKnown({ callers, reportedAtMs }: LivingSidecar, isOld: boolean): string | undefined {
  if (reportedAtMs === undefined) return 'its sidecar has not reported yet';
  if (callers === undefined)
    return 'its sidecar does not tell its callers: its program is older, or its report had no room';
  return isOld ? 'its last report is too old, or its sidecar has no stream to this control plane' : undefined;
}
