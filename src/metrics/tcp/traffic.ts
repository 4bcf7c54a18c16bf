import type { FoundWorkload, WorkloadBook } from '../../agent/registry/workload-book.ts';
import type { Clock } from '../../clock.ts';
import type { NamedWorkload } from '../../control-api.ts';
import type { LiveConnection } from '../../proxy/account.ts';
import type { OwnNames } from './labels.ts';
import { peerIpOf, tcpLabels } from './labels.ts';
import type { TcpSeries } from './series.ts';
import { createSeriesBook } from './series.ts';

/** Connections by who talks to whom, as Istio counts them. */
export interface TcpTraffic {
  connectionOpened(connection: LiveConnection): void;
  connectionClosed(connection: LiveConnection): void;
  /** The workloads at these addresses have been answered. */
  answered(ips: readonly string[]): void;
  /** As they are now: a copy. */
  series(): readonly Readonly<TcpSeries>[];
}

export interface TcpTrafficParts {
  readonly clock: Clock;
  readonly workloads: Pick<WorkloadBook, 'find'>;
  ownWorkload(): FoundWorkload;
  readonly names: OwnNames;
}

export const tcpTrafficLimits = {
  /** How long a connection goes uncounted while it is asked who its peer is; milliseconds. */
  waitMs: 2000,
  /** So many connections; beyond them each is counted at once, by what is known. */
  waiting: 10_000,
};

interface Entry {
  readonly connection: LiveConnection;
  readonly peerIp: string | undefined;
  readonly dueMs: number;
  /** Undefined until it is counted. */
  series?: TcpSeries;
  isClosed: boolean;
}

const nobody: FoundWorkload = { kind: 'unknown' };

/**
 * A connection is counted under the workloads of its ends, which may have to be asked for: as soon as they are known, and
 * after a while in any case. It may have ended by then. Nothing waits for that but the count.
 */
export function createTcpTraffic(
  { clock, workloads, ownWorkload, names }: TcpTrafficParts,
  limits = tcpTrafficLimits,
  book = createSeriesBook(),
): TcpTraffic {
  const live = new Map<LiveConnection, Entry>();
  /** In the order of their time, because all wait for the same one. */
  const waiting = new Set<Entry>();
  const waitingByIp = new Map<string, Set<Entry>>();
  let isTimed = false;
  /** Some of them wait for our own name, which all have. */
  let isOwnAsked = false;

  /** Counts the connection, or says that it is not known yet who its ends are. */
  const count = (entry: Entry, isLast: boolean): boolean => {
    const own = ownWorkload();
    const peer = entry.peerIp === undefined ? nobody : workloads.find(entry.peerIp);
    isOwnAsked ||= own.kind === 'asked';
    if (!isLast && (own.kind === 'asked' || peer.kind === 'asked')) return false;
    const ends = { own: lastKnown(own), peer: lastKnown(peer) };
    entry.series = book.of(tcpLabels(entry.connection, ends, names));
    entry.series.opened += 1;
    if (entry.isClosed) settle(entry.series, entry.connection);
    return true;
  };

  const wait = (entry: Entry) => {
    waiting.add(entry);
    const { peerIp = '' } = entry;
    const others = waitingByIp.get(peerIp) ?? new Set();
    waitingByIp.set(peerIp, others.add(entry));
    if (!isTimed) clock.after(limits.waitMs, expire);
    isTimed = true;
  };

  const stopWaiting = (entry: Entry) => {
    waiting.delete(entry);
    const { peerIp = '' } = entry;
    const others = waitingByIp.get(peerIp);
    others?.delete(entry);
    if (others?.size === 0) waitingByIp.delete(peerIp);
  };

  const countAgain = (entries: Iterable<Entry>) => {
    for (const entry of [...entries]) if (count(entry, false)) stopWaiting(entry);
  };

  const expire = () => {
    for (const entry of waiting) {
      const leftMs = entry.dueMs - clock.monotonic();
      if (leftMs > 0) return void clock.after(leftMs, expire);
      stopWaiting(entry);
      count(entry, true);
    }
    isTimed = false;
  };

  return {
    connectionOpened(connection) {
      const dueMs = clock.monotonic() + limits.waitMs;
      const entry: Entry = { connection, peerIp: peerIpOf(connection), dueMs, isClosed: false };
      live.set(connection, entry);
      if (!count(entry, waiting.size >= limits.waiting)) wait(entry);
    },
    connectionClosed(connection) {
      const entry = live.get(connection);
      if (entry === undefined) return;
      live.delete(connection);
      entry.isClosed = true;
      if (entry.series !== undefined) settle(entry.series, connection);
    },
    answered(ips) {
      if (isOwnAsked) {
        isOwnAsked = false;
        countAgain(waiting);
      }
      for (const ip of ips) countAgain(waitingByIp.get(ip) ?? []);
    },
    series() {
      const now = new Map([...book.all()].map((series) => [series, { ...series }]));
      for (const { series, connection } of live.values()) {
        const sum = series && now.get(series);
        if (sum !== undefined) addBytes(sum, connection);
      }
      return [...now.values()];
    },
  };
}

function lastKnown(found: FoundWorkload): NamedWorkload | undefined {
  if (found.kind === 'known') return found.workload;
  return found.kind === 'asked' ? found.before : undefined;
}

function settle(series: TcpSeries, connection: LiveConnection): void {
  series.closed += 1;
  addBytes(series, connection);
}

/** Our `sent` is from the client to the server, and Istio's is what the server sends. */
function addBytes(series: TcpSeries, { bytes }: LiveConnection): void {
  series.sentBytes += bytes.bytesReceived;
  series.receivedBytes += bytes.bytesSent;
}
