import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { CaptureRules } from '../../capture-scope.ts';
import type { Direction } from '../../outcomes.ts';
import type { Family } from '../interception.ts';
import type { SocketLine } from './socket-table.ts';

/** A connection that the redirect rules turned to this process, which has accepted it. */
export interface CapturedConnection {
  /** The application's end of it. */
  readonly peer: Address;
  /** Where the application wanted to; undefined when the kernel does not know. */
  destination(): Address | undefined;
}

/** An open connection of somebody in this pod that should be captured and is not known to be. */
export interface Suspect {
  readonly direction: Direction;
  readonly family: Family;
  readonly socket: SocketLine;
  /** The comment of the rule that should have captured it. */
  readonly rule: string;
}

/** What a look needs to see; each is asked when a look is made. */
export interface LookSources {
  /** Shows every TCP socket of the pod to `visit`; resolves with whether these were all. */
  sockets(visit: (socket: SocketLine) => void): Promise<boolean>;
  /** The inodes of this process. */
  ownInodes(): Promise<ReadonlySet<number>>;
  /** Outbound connections that were captured. */
  captured(): Iterable<CapturedConnection>;
  /** With the addresses that the pod has now. */
  rules(): CaptureRules;
  /** Lets everything else go on. */
  pause(): Promise<void>;
}

export interface Look {
  readonly suspects: readonly Suspect[];
  /** False when there are more sockets than are looked at. */
  readonly isWhole: boolean;
}

/** Looks at all sockets of the pod once. What changes meanwhile may look suspicious, so one look alone proves nothing. */
export type Looker = () => Promise<Look>;

export function createLooker(sources: LookSources): Looker {
  // Of any look so far: a server that stops listening goes on serving those that are connected.
  const servedPorts = new Set<number>();

  return async () => {
    const own = await sources.ownInodes();
    const captured = await capturedBySource(sources);
    const notSeen = new Map(captured);
    const rules = sources.rules();
    const unknown: SocketLine[] = [];
    const isWhole = await sources.sockets((socket) => {
      if (socket.state === 'listening') return void servedPorts.add(socket.local.port);
      const isKnown = isCaptured(socket, captured);
      if (isKnown) notSeen.delete(formatAddress(socket.local));
      // A socket without a process is not the application's yet, or not any more.
      if (socket.state !== 'established' || socket.inode === 0) return;
      if (isKnown || own.has(socket.inode)) return;
      // Also what the sidecar delivers to the application: it comes from a loopback address, or from the pod's own.
      if (rules.outbound(socket.remote).rule === withinPod) return;
      unknown.push(socket);
    });
    const suspects = unknown.flatMap((socket) => suspectOf(socket, rules, servedPorts));
    return { suspects: suspects.length === 0 ? [] : await stillSuspect(suspects, notSeen, sources), isWhole };
  };
}

const withinPod = 'Within the pod';
const excludedPorts = 'Excluded ports';

/** So many connections are gone through in one go, in less than a millisecond. */
const slice = 500;

async function capturedBySource({ captured, pause }: LookSources): Promise<Map<string, CapturedConnection>> {
  const bySource = new Map<string, CapturedConnection>();
  for (const connection of captured()) {
    bySource.set(formatAddress(connection.peer), connection);
    if (bySource.size % slice === 0) await pause();
  }
  return bySource;
}

/** By both of its ends: an application may use one source port for several destinations, of which not all are captured. */
function isCaptured({ local, remote }: SocketLine, captured: ReadonlyMap<string, CapturedConnection>): boolean {
  const connection = captured.get(formatAddress(local));
  if (connection === undefined) return false;
  const destination = connection.destination();
  return destination === undefined || formatAddress(destination) === formatAddress(remote);
}

function suspectOf(socket: SocketLine, rules: CaptureRules, servedPorts: ReadonlySet<number>): Suspect[] {
  const inbound = rules.inbound(socket.local.port);
  // An excluded port may have been served for a moment only, between two looks.
  const isInbound = servedPorts.has(socket.local.port) || inbound.rule === excludedPorts;
  const { isCaptured, rule } = isInbound ? inbound : rules.outbound(socket.remote);
  if (!isCaptured) return [];
  const family = socket.remote.ip.includes(':') ? 'ipv6' : 'ipv4';
  return [{ direction: isInbound ? 'inbound' : 'outbound', family, socket, rule }];
}

/** Leaves out what came into being while the table was being read. */
async function stillSuspect(
  suspects: readonly Suspect[],
  notSeen: ReadonlyMap<string, CapturedConnection>,
  sources: LookSources,
): Promise<Suspect[]> {
  const own = await sources.ownInodes();
  const captured = await capturedBySource(sources);
  const moved = destinationsOf(notSeen);
  return suspects.filter(({ direction, socket }) => {
    if (own.has(socket.inode) || isCaptured(socket, captured)) return false;
    return direction === 'inbound' || !takeOne(moved, formatAddress(socket.remote));
  });
}

/**
 * Two connections from one source port are turned to the same listener, so the kernel gives the second one another source
 * port: it is known by its destination alone.
 */
function destinationsOf(notSeen: ReadonlyMap<string, CapturedConnection>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const connection of notSeen.values()) {
    const destination = connection.destination();
    if (destination === undefined) continue;
    const name = formatAddress(destination);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

function takeOne(counts: Map<string, number>, name: string): boolean {
  const left = counts.get(name) ?? 0;
  counts.set(name, left - 1);
  return left > 0;
}
