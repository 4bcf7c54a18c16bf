import { connect } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { codeOf, messageOf } from '../errors.ts';
import { captureProbe } from '../ports.ts';

export type Family = 'ipv4' | 'ipv6';

/** What one dial of the capture probe showed. */
export type ProbeResult =
  | { readonly kind: 'captured' }
  | { readonly kind: 'not-captured'; readonly why: string }
  /** The rules are there, but the kernel sees this process as another user or group than they let out: what it dials would come back to it. */
  | { readonly kind: 'not-recognised' };

export interface InterceptionProbe {
  stop(): void;
}

/** Between two proofs, and how long each may take. */
export const interceptionProbeLimits = { intervalMs: 10_000, answerTimeoutMs: 2_000 } as const;

const { intervalMs, answerTimeoutMs } = interceptionProbeLimits;

/**
 * Proves over and over that the redirect rules are in place, without any privilege: dials an address that nobody has and
 * expects the answer of this process's own outbound listener. `onResult` is called after each dial, for each family.
 */
export function startInterceptionProbe(
  clock: Clock,
  families: readonly Family[],
  answer: string,
  onResult: (family: Family, result: ProbeResult) => void,
): InterceptionProbe {
  let timer: Timer | undefined;
  let isStopped = false;
  const round = async () => {
    for (const family of families) {
      const result = await probe(clock, family, answer);
      if (!isStopped) onResult(family, result);
    }
    if (!isStopped) timer = clock.after(intervalMs, () => void round());
  };
  void round();
  return {
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}

/** Dials both probes once; never rejects. */
export async function probe(clock: Clock, family: Family, answer: string): Promise<ProbeResult> {
  const capture = await dial(clock, family, captureProbe.port, answer);
  if (capture.kind !== 'captured') return capture;
  const identity = await dial(clock, family, captureProbe.identityPort, answer);
  return identity.kind === 'not-captured' && identity.isRefused ? { kind: 'not-recognised' } : capture;
}

type Dialled =
  | { readonly kind: 'captured' }
  | { readonly kind: 'not-captured'; readonly why: string; readonly isRefused: boolean };

function dial(clock: Clock, family: Family, port: number, answer: string): Promise<Dialled> {
  const host = family === 'ipv4' ? captureProbe.v4 : captureProbe.v6;
  const { promise, resolve } = Promise.withResolvers<Dialled>();
  const not = (why: string, isRefused = false) => resolve({ kind: 'not-captured', why, isRefused });
  const socket = connect({ host, port });
  const late = clock.after(answerTimeoutMs, () => not('nobody answered in time'));
  let received = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    received += text.slice(0, answer.length + 1 - received.length);
  });
  socket.once('end', () => (received === answer ? resolve({ kind: 'captured' }) : not('another process answered')));
  socket.on('error', (error) => not(messageOf(error), codeOf(error) === 'ECONNREFUSED'));
  return promise.finally(() => {
    late.cancel();
    socket.destroy();
  });
}
