import type { PolicyState } from '../../control-api.ts';
import type { Mode } from '../../policy/mode.ts';
import { printable } from '../../printable.ts';
import type { PeerAuthentication, PeerMode } from './peer-authentication.ts';
import type { Labels } from './scope-index.ts';
import { indexScopes, isWide } from './scope-index.ts';

/** The PeerAuthentications that count for a workload, the widest first. */
export interface Deciding {
  readonly mesh: PeerAuthentication | undefined;
  readonly namespace: PeerAuthentication | undefined;
  readonly workload: PeerAuthentication | undefined;
}

export type WorkloadModes = Pick<PolicyState, 'mode' | 'modeSetBy' | 'modeProblem' | 'ports'>;

/** Where no PeerAuthentication sets a mode, as in Istio. */
const meshDefault: Mode = 'PERMISSIVE';

/**
 * Which PeerAuthentications count, as Istio chooses them: of the mesh (in the root namespace), of the namespace and of the
 * workload, of several the oldest. One with a selector in the root namespace counts for nobody. Labels are undefined for a
 * workload whose labels nobody knows: then any selector of its namespace may be for it, which is no reason to let plaintext in.
 */
export function createDeciding(
  all: readonly PeerAuthentication[],
  rootNamespace: string,
): (namespace: string, labels: Labels | undefined) => Deciding {
  const scopes = indexScopes(all);
  const [mesh] = scopes(rootNamespace).wide;
  return (name, labels) => {
    if (name === rootNamespace) return { mesh, namespace: undefined, workload: undefined };
    const { wide, hasSelectors, selecting } = scopes(name);
    const [namespace] = wide;
    if (labels === undefined) return { mesh, namespace, workload: hasSelectors ? unknownPod : undefined };
    return { mesh, namespace, workload: selecting(labels)[0] };
  };
}

/** Stands for those that may select a pod that the registry does not hold. */
const unknownPod: PeerAuthentication = {
  name: 'unknown-pod',
  namespace: 'remora',
  creationTimestamp: undefined,
  selector: undefined,
  mode: 'STRICT',
  ports: new Map(),
  problem: undefined,
};

/** The modes of a workload: each UNSET is what the wider scope says. */
export function modesOf({ mesh, namespace, workload }: Deciding): WorkloadModes {
  const deciding = [workload, namespace, mesh].find((one) => one !== undefined && modeOf(one) !== 'UNSET');
  const ports = [...(workload?.problem === undefined ? (workload?.ports ?? []) : [])]
    .flatMap(([port, mode]) =>
      mode === 'UNSET' || workload === undefined ? [] : { port, mode, setBy: nameOf(workload) },
    )
    .sort((one, other) => one.port - other.port);
  return {
    ...(deciding === undefined
      ? { mode: meshDefault }
      : {
          mode: modeOf(deciding) as Mode,
          modeSetBy: nameOf(deciding),
          ...(deciding.problem !== undefined && { modeProblem: printable(deciding.problem) }),
        }),
    ...(ports.length > 0 && { ports }),
  };
}

/** Whether it counts for nobody. */
export function isIgnored(one: PeerAuthentication, rootNamespace: string): boolean {
  return one.namespace === rootNamespace && !isWide(one);
}

/** What cannot be followed as it is written must not let plaintext in. */
function modeOf({ mode, problem }: PeerAuthentication): PeerMode {
  return problem === undefined ? mode : 'STRICT';
}

function nameOf({ namespace, name }: PeerAuthentication): string {
  return `${namespace}/${name}`;
}
