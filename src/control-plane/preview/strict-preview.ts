import { isIPv4 } from 'node:net';
import { parseDate, timestamp } from '../../clock.ts';
import type { PolicyState, ReportedCaller } from '../../control-api.ts';
import type { Mode } from '../../policy/mode.ts';
import { modeInForce, modes } from '../../policy/mode.ts';
import type { InvalidPolicy } from '../../policy/policy-states.ts';
import { invalidModeOf } from '../../policy/policy-states.ts';
import type { UnderStrict } from '../../policy/strict-preview.ts';
import { underStrict } from '../../policy/strict-preview.ts';
import type { Pod } from '../store/objects.ts';
import type { PreviewedCaller, PreviewedWorkload } from './api.ts';
import { maxPreviewedCallers } from './api.ts';
import type { KnownCallers } from './known-callers.ts';

/** What switching the ports of one workload to STRICT now would break, as its pods have it; never none. */
export function workloadPreview(pods: readonly PodPreview[]): PreviewedWorkload {
  const sidecars = pods.map(({ sidecar }) => sidecar);
  const { namespace = '', workload = '' } = sidecars[0] ?? {};
  const invalidMode = pods.find((pod) => pod.invalidMode !== undefined)?.invalidMode;
  const ports = new Set(pods.flatMap((pod) => pod.ports));
  return {
    namespace,
    workload,
    pods: sidecars.length,
    since: latest(sidecars.map(({ told }) => told.since)),
    // No port has this number, so none has a mode of its own for it.
    mode: weakest(pods.map((pod) => pod.modeOf(0))),
    ...(invalidMode && { invalidMode }),
    ports: [...ports]
      .sort((one, other) => one - other)
      .map((port) => {
        const callers = joined(pods.flatMap((pod) => pod.callers.get(port) ?? []));
        const left = callers.slice(maxPreviewedCallers).filter(({ breaks }) => breaks);
        return {
          port,
          mode: weakest(pods.map((pod) => pod.modeOf(port))),
          callers: callers.slice(0, maxPreviewedCallers),
          further: furtherAt(sidecars, port, left),
        };
      }),
    further: furtherAt(sidecars, undefined),
  };
}

/** The same of one pod. */
export interface PodPreview {
  readonly sidecar: KnownCallers;
  readonly ports: readonly number[];
  modeOf(port: number): Mode;
  readonly invalidMode: InvalidPolicy | undefined;
  /** By port. */
  readonly callers: ReadonlyMap<number, readonly PreviewedCaller[]>;
}

export function podPreview(sidecar: KnownCallers, policy: PolicyState): PodPreview {
  const { pod, told } = sidecar;
  const { minimumMode, callers, further } = told;
  const plaintext = callers.filter((one) => one.principal === undefined && one.isRefused !== true);
  const byPort = Map.groupBy(plaintext, ({ port }) => port);
  const untold = further.flatMap(({ port, isPlaintext }) => (isPlaintext && port !== undefined ? [port] : []));
  const modeOf = (port: number) => modeInForce(policy, port, minimumMode).mode;
  const effectOn = (caller: ReportedCaller): UnderStrict =>
    modeOf(caller.port) === 'STRICT'
      ? { breaks: false, why: 'The port is STRICT already' }
      : underStrict(plaintextCaller(caller, pod), policy, { minimumMode, allowedPeers: undefined });
  return {
    sidecar,
    ports: [...byPort.keys(), ...untold, ...(policy.ports ?? []).map(({ port }) => port)],
    modeOf,
    invalidMode: invalidModeOf(policy),
    callers: new Map(
      [...byPort].map(([port, some]) => [port, some.map((caller) => previewed(caller, effectOn(caller)))]),
    ),
  };
}

function plaintextCaller({ address, port, kind, open, onlyConnects, meshedId }: ReportedCaller, pod: Pod | undefined) {
  const destinationIp = destinationOf(address, pod);
  return { ip: address, port, destinationIp, isNode: kind === 'kubelet', meshedId, open, spoke: onlyConnects ? 0 : 1 };
}

/** The address of the pod that a caller must have dialled: the one of its own family. */
export function destinationOf(address: string, pod: Pod | undefined): string {
  const own = [pod?.status.podIP, ...(pod?.status.podIPs ?? []).map(({ ip }) => ip)].filter((ip) => ip !== undefined);
  return own.find((ip) => isIPv4(ip) === isIPv4(address)) ?? own[0] ?? address;
}

function previewed(caller: ReportedCaller, effect: UnderStrict): PreviewedCaller {
  const { address, workload, namespace, kind, connections, open, firstAt, lastAt } = caller;
  return {
    address,
    ...(workload !== undefined && { workload, namespace }),
    kind,
    ...{ connections, open, firstAt, lastAt, breaks: effect.breaks },
    ...(!effect.breaks && { why: effect.why }),
  };
}

/** One for each caller of several pods: those who lose at one of them, lose. */
function joined(callers: readonly PreviewedCaller[]): PreviewedCaller[] {
  const byCaller = new Map<string, PreviewedCaller>();
  for (const caller of callers) {
    const key = `${caller.address} ${caller.namespace ?? ''}/${caller.workload ?? ''} ${caller.breaks}`;
    const known = byCaller.get(key);
    byCaller.set(
      key,
      known === undefined
        ? caller
        : {
            ...known,
            connections: known.connections + caller.connections,
            open: known.open + caller.open,
            firstAt: known.firstAt < caller.firstAt ? known.firstAt : caller.firstAt,
            lastAt: latest([known.lastAt, caller.lastAt]),
          },
    );
  }
  return [...byCaller.values()].sort(
    (one, other) => Number(other.breaks) - Number(one.breaks) || (one.lastAt > other.lastAt ? -1 : 1),
  );
}

function furtherAt(
  sidecars: readonly KnownCallers[],
  port: number | undefined,
  left: readonly PreviewedCaller[] = [],
): PreviewedWorkload['further'] {
  const untold = sidecars.flatMap(({ told }) => told.further).filter((one) => one.isPlaintext && one.port === port);
  const all = [...untold, ...left.map(({ lastAt }) => ({ callers: 1, lastAt }))];
  if (all.length === 0) return null;
  return {
    callers: all.reduce((sum, { callers }) => sum + callers, 0),
    lastAt: latest(all.map(({ lastAt }) => lastAt)),
  };
}

function weakest(all: readonly Mode[]): Mode {
  return modes.find((mode) => all.includes(mode)) ?? 'STRICT';
}

/** RFC 3339, of sidecars that may write it in another way. */
function latest(instants: readonly string[]): string {
  const last = Math.max(...instants.map(parseDate));
  return Number.isFinite(last) ? timestamp(last) : (instants[0] ?? '');
}
