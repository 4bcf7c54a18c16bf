import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { CaptureRules } from '../../capture-scope.ts';
import { excludedPortsRule, withinPodRule } from '../../capture-scope.ts';
import type { Direction } from '../../outcomes.ts';
import type { Family } from '../interception.ts';
import type { ServedPorts } from './served-ports.ts';
import { createServedPorts } from './served-ports.ts';
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
  /** Where the rules turn outbound connections to. */
  readonly capturePort: number;
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
  const portsOfLook = createServedPorts();
  // Inodes. What was captured and is half-closed may be without the sidecar by now: an application may never close it. Not
  // what was known by its destination alone: which of several it was is a guess, and would be one for ever.
  let inOrder: ReadonlySet<number> = new Set();
  // The kernel's table is no picture of one moment: a socket may be missing once.
  let inOrderBefore: ReadonlySet<number> = new Set();

  return async () => {
    const own = await sources.ownInodes();
    const captured = await capturedBySource(sources);
    const notSeen = new Map(captured);
    const rules = sources.rules();
    const ports = portsOfLook();
    const unknown: SocketLine[] = [];
    const inOrderNow = new Set<number>();
    const closedHere = new Set<string>();
    const isWhole = await sources.sockets((socket) => {
      ports.visit(socket);
      const isKnown = isCaptured(socket, captured);
      if (isKnown) notSeen.delete(formatAddress(socket.local));
      // A socket without a process is not the application's yet, or not any more; nor is it the sidecar's.
      if (socket.inode === 0 && socket.local.port === sources.capturePort) closedHere.add(formatAddress(socket.remote));
      if (socket.inode === 0 || own.has(socket.inode) || !isOpen(socket)) return;
      if (isKnown) return void inOrderNow.add(socket.inode);
      // Also what the sidecar delivers to the application: it comes from a loopback address, or from the pod's own.
      if (rules.outbound(socket.remote).rule === withinPodRule) return;
      unknown.push(socket);
    });
    const wasInOrder = ({ inode }: SocketLine) => inOrder.has(inode) || inOrderBefore.has(inode);
    const isLeftOpen = (socket: SocketLine) =>
      socket.state === 'half-closed' && (wasInOrder(socket) || closedHere.has(formatAddress(socket.local)));
    const candidates = unknown.flatMap((socket) => {
      if (!isLeftOpen(socket)) return suspectOf(socket, rules, ports);
      inOrderNow.add(socket.inode);
      return [];
    });
    const suspects = candidates.length === 0 ? [] : await stillSuspect(candidates, notSeen, sources);
    inOrderBefore = inOrder;
    inOrder = inOrderNow;
    return { suspects, isWhole };
  };
}

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

/** Open in at least one direction. */
function isOpen({ state }: SocketLine): boolean {
  return state === 'established' || state === 'half-closed';
}

function suspectOf(socket: SocketLine, rules: CaptureRules, ports: ServedPorts): Suspect[] {
  const { port } = socket.local;
  const inbound = rules.inbound(port);
  // An excluded port may have been served for a moment only, between two looks; so may one again that was served before.
  const mayBeServed = inbound.rule === excludedPortsRule || (!inbound.isCaptured && ports.wasServed(port));
  const isInbound = ports.isServed(port) || mayBeServed;
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
  return suspects.filter(({ socket }) => {
    if (own.has(socket.inode) || isCaptured(socket, captured)) return false;
    // Whatever its direction looks like: an application may serve the port that it connects from.
    return !takeOne(moved, formatAddress(socket.remote));
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
