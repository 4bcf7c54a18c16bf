import type { Backoff } from '../../backoff.ts';
import { backoffMs } from '../../backoff.ts';
import type { Clock } from '../../clock.ts';
import type { NamedWorkload } from '../../control-api.ts';
import { maxWorkloads } from '../../control-api.ts';
import { messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import type { ControlClient } from '../control-client.ts';

/** What is known of the pod at an address. */
export type FoundWorkload =
  | { readonly kind: 'known'; readonly workload: NamedWorkload }
  /** It is no pod's, or there are too many questions to ask this one too. */
  | { readonly kind: 'unknown' }
  /** It is being asked for; `before` is what was known until lately. */
  | { readonly kind: 'asked'; readonly before: NamedWorkload | undefined };

/** Which workload has an address, for metrics: nobody waits for it, and nothing is decided by it. */
export interface WorkloadBook {
  /** What is not known, or was not asked for lately, is asked for in the background. `ip` is canonical. */
  find(ip: string): FoundWorkload;
  /** Calls `listener` with the addresses that were answered just now. Returns the function that ends the subscription. */
  subscribe(listener: (ips: readonly string[]) => void): () => void;
  close(): Promise<void>;
}

/** Without a control plane. */
export const noWorkloads: WorkloadBook = {
  find: () => ({ kind: 'unknown' }),
  subscribe: () => () => undefined,
  close: async () => undefined,
};

export const workloadBookLimits = {
  /** Answers that are kept, also those that say that there is no pod: beyond them the one that was not used for longest is forgotten. */
  answers: 2000,
  /** Addresses that wait to be asked for. */
  questions: 1000,
};

/** Milliseconds. */
export const workloadBookTimes = {
  /** An address may become that of another pod. */
  known: 60_000,
  /** A new pod is known to its peers before it is to the control plane. */
  unknown: 5000,
  /** Between two calls: whoever scans us from many addresses must not make us a flood. */
  pause: 100,
  backoff: { baseMs: 1000, capMs: 60_000 } satisfies Backoff,
};

interface Answer {
  readonly workload: NamedWorkload | undefined;
  readonly untilMs: number;
}

interface Parts {
  readonly clock: Clock;
  readonly log: Log;
  readonly client: Pick<ControlClient, 'workloads'>;
}

/** One call at a time, each for all addresses that wait, and no address twice. */
export function createWorkloadBook({ clock, log, client }: Parts, limits = workloadBookLimits): WorkloadBook {
  /** In the order of use, because a Map keeps the order of insertion. */
  const answers = new Map<string, Answer>();
  const questions = new Set<string>();
  const listeners = new Set<(ips: readonly string[]) => void>();
  const stopping = new AbortController();
  let asking: Promise<void> | undefined;
  let failures = 0;

  const put = (ip: string, answer: Answer) => {
    answers.delete(ip);
    const [oldest] = answers.keys();
    if (answers.size >= limits.answers && oldest !== undefined) answers.delete(oldest);
    answers.set(ip, answer);
  };

  const learn = (ips: readonly string[], workloads: readonly NamedWorkload[]) => {
    const byAddress = new Map(workloads.map((workload) => [workload.address, workload]));
    for (const ip of ips) {
      const workload = byAddress.get(ip);
      const { known, unknown } = workloadBookTimes;
      put(ip, { workload, untilMs: clock.monotonic() + (workload === undefined ? unknown : known) });
      questions.delete(ip);
    }
    for (const listener of [...listeners]) listener(ips);
  };

  const askOnce = async (): Promise<number> => {
    const ips = [...questions].slice(0, maxWorkloads);
    try {
      learn(ips, await client.workloads(ips, stopping.signal));
      failures = 0;
      return workloadBookTimes.pause;
    } catch (error) {
      stopping.signal.throwIfAborted();
      failures += 1;
      log[failures === 1 ? 'info' : 'debug']({ detail: messageOf(error) }, 'Workloads of peers not answered');
      return backoffMs(workloadBookTimes.backoff, failures, clock.random());
    }
  };

  const run = async () => {
    try {
      // What is asked for in one go goes into one call.
      await Promise.resolve();
      while (questions.size > 0) await clock.sleep(await askOnce(), stopping.signal);
    } catch (error) {
      if (!stopping.signal.aborted) throw error;
    } finally {
      asking = undefined;
    }
  };

  const ask = (ip: string): boolean => {
    if (questions.has(ip)) return true;
    if (questions.size >= limits.questions || stopping.signal.aborted) return false;
    questions.add(ip);
    asking ??= run();
    return true;
  };

  return {
    find(ip) {
      const answer = answers.get(ip);
      if (answer !== undefined && clock.monotonic() < answer.untilMs) put(ip, answer);
      else if (ask(ip)) return { kind: 'asked', before: answer?.workload };
      return answer?.workload === undefined ? { kind: 'unknown' } : { kind: 'known', workload: answer.workload };
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async close() {
      stopping.abort(new Error('The book of workloads is closed'));
      await asking;
    },
  };
}
