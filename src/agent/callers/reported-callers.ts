import { timestamp } from '../../clock.ts';
import type { FurtherCallers, ReportedCaller, ReportedCallers } from '../../control-api.ts';
import { maxFurtherCallers, maxReportedCallers, maxReportedPrincipal } from '../../control-api.ts';
import type { Mode } from '../../policy/mode.ts';
import type { CallerBook, SeenCaller, Shelved } from './caller-book.ts';
import { kindOf, meshedIdOf } from './caller-kind.ts';

export interface ReportedParts {
  readonly callers: Pick<CallerBook, 'plaintext' | 'mutualTls' | 'refusals' | 'sinceMs'>;
  readonly nodes: { has(ip: string): boolean };
  readonly minimumMode: Mode;
}

/** As many bytes are left for everything beside the callers themselves. */
const besidesBytes = 1024;

/**
 * Who has called, in at most so many bytes of JSON: of each kind the latest, and how many more there are. Undefined when that
 * is too little to say anything.
 */
export function reportedCallersOf(
  { callers, nodes, minimumMode }: ReportedParts,
  maxBytes: number,
): ReportedCallers | undefined {
  if (maxBytes < besidesBytes) return undefined;
  const plaintext = callers.plaintext();
  const mutualTls = callers.mutualTls();
  const refusals = callers.refusals();
  const isRefused = new Set(refusals.callers);
  const lists = [plaintext, mutualTls, refusals].map((one) => [...one.callers].sort(latestFirst));
  const told: ReportedCaller[] = [];
  const isTold = new Set<SeenCaller>();
  let roomBytes = maxBytes - besidesBytes;
  for (const caller of inTurns(lists)) {
    if (told.length === maxReportedCallers) break;
    if ((caller.principal?.length ?? 0) > maxReportedPrincipal) continue;
    const shown = reported(caller, nodes, isRefused.has(caller));
    roomBytes -= Buffer.byteLength(JSON.stringify(shown)) + 1;
    if (roomBytes < 0) break;
    told.push(shown);
    isTold.add(caller);
  }
  const untold = ({ callers: all, forgotten }: Shelved, isPlaintext: boolean) => [
    ...forgotten.map((one) => ({ ...one, isPlaintext })),
    ...all.filter((one) => !isTold.has(one)).map(({ port, lastMs }) => ({ port, callers: 1, lastMs, isPlaintext })),
  ];
  return {
    since: timestamp(callers.sinceMs),
    minimumMode,
    callers: told,
    further: furtherOf([...untold(plaintext, true), ...untold(mutualTls, false)]),
  };
}

const latestFirst = (one: SeenCaller, other: SeenCaller) => other.open - one.open || other.lastMs - one.lastMs;

/** The first of each list, then the second of each: none of them can crowd out the others. */
function* inTurns(lists: readonly (readonly SeenCaller[])[]): Generator<SeenCaller> {
  const longest = Math.max(...lists.map(({ length }) => length));
  for (let index = 0; index < longest; index += 1) {
    for (const list of lists) {
      const caller = list[index];
      if (caller !== undefined) yield caller;
    }
  }
}

function reported(caller: SeenCaller, nodes: ReportedParts['nodes'], isRefused: boolean): ReportedCaller {
  const { ip, port, principal, workload, connections, open, spoke, firstMs, lastMs } = caller;
  const kind = kindOf(caller, nodes.has(ip));
  const meshedId = kind === 'workload' ? meshedIdOf(caller) : undefined;
  return {
    port,
    address: ip,
    ...(principal !== undefined && { principal }),
    kind,
    ...(workload !== undefined && { workload: workload.name, namespace: workload.namespace }),
    connections,
    open,
    firstAt: timestamp(firstMs),
    lastAt: timestamp(lastMs),
    ...(meshedId !== undefined && { meshedId }),
    ...(kind === 'kubelet' && open === 0 && spoke === 0 && { onlyConnects: true }),
    ...(isRefused && { isRefused }),
  };
}

interface Untold {
  readonly port: number | undefined;
  readonly isPlaintext: boolean;
  readonly callers: number;
  readonly lastMs: number;
}

/** Ports beyond the bound are told together. */
function furtherOf(untold: readonly Untold[]): FurtherCallers[] {
  const byPort = Map.groupBy(untold, ({ port, isPlaintext }) => `${isPlaintext} ${port ?? ''}`);
  const all = [...byPort.values()].flatMap((some) => summed(some, some[0]?.port));
  if (all.length <= maxFurtherCallers) return all.map(shown);
  const [kept, rest] = [all.slice(0, maxFurtherCallers - 2), all.slice(maxFurtherCallers - 2)];
  const together = [true, false].flatMap((isPlaintext) =>
    summed(
      rest.filter((one) => one.isPlaintext === isPlaintext),
      undefined,
    ),
  );
  return [...kept, ...together].map(shown);
}

function summed(some: readonly Untold[], port: number | undefined): Untold[] {
  const [first] = some;
  if (first === undefined) return [];
  return [
    {
      port,
      isPlaintext: first.isPlaintext,
      callers: some.reduce((sum, { callers }) => sum + callers, 0),
      lastMs: some.reduce((last, { lastMs }) => Math.max(last, lastMs), 0),
    },
  ];
}

function shown({ port, isPlaintext, callers, lastMs }: Untold): FurtherCallers {
  return { ...(port !== undefined && { port }), isPlaintext, callers, lastAt: timestamp(lastMs) };
}
