import { cpuSeconds } from '../proc.ts';
import type { Job, JobResult } from './job.ts';

/** The counts of a job, of which only those inside the measured window are kept. */
export interface Window {
  /** True until its end: whoever is done with a request sends another. */
  readonly isOpen: boolean;
  /** When it begins and ends, in milliseconds of `performance.now()`. */
  readonly beginsMs: number;
  readonly endsMs: number;
  onSent(): void;
  onBody(bytes: number): void;
  onAnswer(): void;
  /** Resolves at its end with what was counted, once everything sent has been answered. */
  result(whenIdle: Promise<unknown>): Promise<Omit<JobResult, 'latenciesMs' | 'maxLatenessMs'>>;
}

export function openWindow({ warmUpMs, measureMs, pids }: Job): Window {
  const beginsMs = performance.now() + warmUpMs;
  const endsMs = beginsMs + measureMs;
  let [sent, requests, bytes] = [0, 0, 0];
  let phase: 'warm-up' | 'measured' | 'over' = 'warm-up';
  const sample = () => ({ atMs: performance.now(), cpu: cpuSeconds(pids), requests, bytes });
  const samples = Promise.withResolvers<[ReturnType<typeof sample>, ReturnType<typeof sample>]>();
  setTimeout(() => {
    const first = sample();
    phase = 'measured';
    setTimeout(() => {
      phase = 'over';
      samples.resolve([first, sample()]);
    }, endsMs - performance.now());
  }, warmUpMs);
  return {
    get isOpen() {
      return phase !== 'over';
    },
    beginsMs,
    endsMs,
    onSent: () => {
      sent++;
    },
    onBody: (length) => {
      bytes += length;
    },
    onAnswer: () => {
      requests++;
    },
    async result(whenIdle) {
      const [first, last] = await samples.promise;
      await whenIdle;
      return {
        seconds: (last.atMs - first.atMs) / 1000,
        cpuSeconds: last.cpu - first.cpu,
        requests: last.requests - first.requests,
        bytes: last.bytes - first.bytes,
        sent,
      };
    },
  };
}
