import type { ServerResponse } from 'node:http';
import type { Clock, Timer } from '../clock.ts';
import { heartbeatIntervalMs } from '../control-api.ts';
import type { Publication, Topic } from './publication.ts';
import { Refusal } from './refusals.ts';
import type { SidecarBook, StreamEntry } from './sidecar-book.ts';
import type { Workload } from './token-review.ts';

/** Streams of one pod at a time: a sidecar makes the next before it breaks the last, more is a mistake or an attack. */
export const maxStreamsPerPod = 8;

/** A reader that takes nothing for this many heartbeats has long declared the stream lost. */
const stalledHeartbeats = 4;
const heartbeat = '{"topic":"heartbeat"}\n';

/** The open streams of all sidecars. */
export interface Streams {
  readonly open: number;
  /**
   * Answers with newline-delimited JSON: the full state of each topic once, then what changes, until the token expires,
   * the reader leaves or `close` is called. Throws `Refusal` when the pod has too many.
   */
  start(response: ServerResponse, workload: Workload, addresses: readonly string[]): void;
  /** Ends every stream cleanly. */
  close(): void;
}

export function createStreams({
  clock,
  publication,
  book,
}: {
  readonly clock: Clock;
  readonly publication: Publication;
  readonly book: Pick<SidecarBook, 'streamOpened'>;
}): Streams {
  const ends = new Set<() => void>();
  const perPod = new Map<string, number>();
  const count = (pod: string, change: 1 | -1) => {
    const streams = (perPod.get(pod) ?? 0) + change;
    if (streams === 0) perPod.delete(pod);
    else perPod.set(pod, streams);
  };
  return {
    get open() {
      return ends.size;
    },
    start(response, workload, addresses) {
      const pod = `${workload.namespace}/${workload.pod}`;
      if ((perPod.get(pod) ?? 0) >= maxStreamsPerPod) {
        const headers = { 'retry-after': '10' };
        throw new Refusal('too_many_streams', `The pod ${pod} has ${maxStreamsPerPod} streams`, { headers });
      }
      const entry = book.streamOpened(workload);
      const stop = pumpStream({ response, clock, publication, workload, entry, topics: topicsOf(addresses) });
      const end = () => void response.end();
      const expiry = clock.after(workload.expiresAtMs - clock.now(), end);
      ends.add(end);
      count(pod, 1);
      response.once('close', () => {
        stop();
        expiry.cancel();
        ends.delete(end);
        entry.closed();
        count(pod, -1);
      });
    },
    close() {
      for (const end of ends) end();
    },
  };
}

function topicsOf(addresses: readonly string[]): readonly Topic[] {
  const destinations = [...new Set(addresses)].map((address) => ({ topic: 'destination', address }) as const);
  return [{ topic: 'trust-bundles' }, { topic: 'revocations' }, { topic: 'policy' }, ...destinations];
}

interface Stream {
  readonly response: ServerResponse;
  readonly clock: Clock;
  readonly publication: Publication;
  readonly workload: Workload;
  readonly entry: StreamEntry;
  readonly topics: readonly Topic[];
}

/**
 * Writes until the reader is full, and goes on when it has drained. What waits are topics, not lines: a slow reader gets
 * the latest state of each and costs no more memory than a quick one, also where a state has many lines. Returns what stops it.
 */
function pumpStream({ response, clock, publication, workload, entry, topics }: Stream): () => void {
  const changed = new Set(topics);
  const sent = new Map<Topic, string>();
  const underway = new Map<Topic, Iterator<string>>();
  let isFull = false;
  let missedHeartbeats = 0;
  let timer: Timer | undefined;

  const write = (text: string) => {
    isFull = !response.write(text);
  };
  const pump = () => {
    for (const topic of changed) {
      if (isFull || response.writableEnded) return;
      changed.delete(topic);
      const { digest, lineCount, lines } = publication.told(topic, workload);
      // A newer state takes the place of one that is half sent.
      if (sent.get(topic) !== digest) underway.set(topic, lines()[Symbol.iterator]());
      sent.set(topic, digest);
      const next = underway.get(topic)?.next();
      if (next === undefined || next.done === true) {
        underway.delete(topic);
        continue;
      }
      // Its next part waits until every other topic had its turn.
      if (lineCount > 1) changed.add(topic);
      else underway.delete(topic);
      write(next.value);
      if (topic.topic === 'trust-bundles') entry.told();
    }
  };
  const beat = () => {
    timer = clock.after(heartbeatIntervalMs, beat);
    missedHeartbeats = isFull ? missedHeartbeats + 1 : 0;
    if (missedHeartbeats >= stalledHeartbeats) response.destroy();
    else if (!isFull && !response.writableEnded) write(heartbeat);
  };

  response.on('drain', () => {
    isFull = false;
    pump();
  });
  const unsubscribe = publication.subscribe(() => {
    for (const topic of topics) changed.add(topic);
    pump();
  });
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  pump();
  timer = clock.after(heartbeatIntervalMs, beat);
  return () => {
    unsubscribe();
    timer?.cancel();
  };
}
