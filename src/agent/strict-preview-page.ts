import type { ShownCaller, StrictPreviewPage } from '../admin-api.ts';
import { timestamp } from '../clock.ts';
import type { PolicyState } from '../control-api.ts';
import type { InboundFloor } from '../policy/authorize.ts';
import { modeInForce } from '../policy/mode.ts';
import { invalidModeOf } from '../policy/policy-states.ts';
import { underStrict } from '../policy/strict-preview.ts';
import type { CallerBook, SeenCaller } from './callers/caller-book.ts';
import { kindOf, meshedIdOf } from './callers/caller-kind.ts';

export interface StrictPreviewShown {
  /** Wall time, milliseconds since the epoch. */
  readonly nowMs: number;
  readonly callers: Pick<CallerBook, 'plaintext' | 'sinceMs'>;
  readonly nodes: { has(ip: string): boolean };
  readonly policy: PolicyState | undefined;
  readonly floor: InboundFloor;
  readonly pod: StrictPreviewPage['pod'];
}

/** What switching each port to STRICT now would break, as far as this sidecar has seen callers. */
export function strictPreviewPageOf({
  nowMs,
  callers: book,
  nodes,
  policy,
  floor,
  pod,
}: StrictPreviewShown): StrictPreviewPage {
  const { callers: seen, forgotten } = book.plaintext();
  // Whoever is connected was seen now.
  const callers = seen.map((one) => (one.open > 0 ? { ...one, lastMs: nowMs } : one));
  const byPort = Map.groupBy(callers, ({ port }) => port);
  const named = [...(policy?.ports ?? []), ...forgotten].flatMap(({ port }) => (port === undefined ? [] : [port]));
  const modeOf = (port: number) => (policy === undefined ? null : modeInForce(policy, port, floor.minimumMode).mode);
  const invalidMode = policy && invalidModeOf(policy);
  const shown = (caller: SeenCaller) => shownCaller(caller, nodes.has(caller.ip), policy, floor);
  return {
    now: timestamp(nowMs),
    since: timestamp(book.sinceMs),
    pod,
    // No port has this number, so none has a mode of its own for it.
    mode: modeOf(0),
    ...(invalidMode && { invalidMode }),
    ports: [...new Set([...byPort.keys(), ...named])]
      .sort((one, other) => one - other)
      .map((port) => ({
        port,
        mode: modeOf(port),
        callers: (byPort.get(port) ?? []).sort(latestFirst).map(shown),
        forgotten: forgottenAt(port, forgotten),
      })),
    forgotten: forgottenAt(undefined, forgotten),
  };
}

const latestFirst = (one: SeenCaller, other: SeenCaller) => other.lastMs - one.lastMs;

function forgottenAt(
  port: number | undefined,
  forgotten: ReturnType<CallerBook['plaintext']>['forgotten'],
): StrictPreviewPage['forgotten'] {
  const found = forgotten.find((one) => one.port === port);
  return found === undefined ? null : { callers: found.callers, lastAt: timestamp(found.lastMs) };
}

function shownCaller(
  caller: SeenCaller,
  isNode: boolean,
  policy: PolicyState | undefined,
  floor: InboundFloor,
): ShownCaller {
  const { ip, workload, connections, open, firstMs, lastMs } = caller;
  const effect = policy && underStrict({ ...caller, isNode, meshedId: meshedIdOf(caller) }, policy, floor);
  return {
    address: ip,
    ...(workload !== undefined && { workload: workload.name, namespace: workload.namespace, pod: workload.pod }),
    kind: kindOf(caller, isNode),
    connections,
    open,
    firstAt: timestamp(firstMs),
    lastAt: timestamp(lastMs),
    breaks: effect?.breaks ?? false,
    ...(effect?.breaks === false && { why: effect.why }),
  };
}
