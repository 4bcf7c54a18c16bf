import { connect } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { captureProbe } from '../ports.ts';

export type Family = 'ipv4' | 'ipv6';

/** What one dial of the capture probe showed. */
export type ProbeResult = { readonly kind: 'captured' } | { readonly kind: 'not-captured'; readonly why: string };

export interface InterceptionProbe {
  stop(): void;
}

const intervalMs = 10_000;
const answerTimeoutMs = 2_000;

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

/** Dials the probe once; never rejects. */
export function probe(clock: Clock, family: Family, answer: string): Promise<ProbeResult> {
  const host = family === 'ipv4' ? captureProbe.v4 : captureProbe.v6;
  const { promise, resolve } = Promise.withResolvers<ProbeResult>();
  const socket = connect({ host, port: captureProbe.port });
  const late = clock.after(answerTimeoutMs, () => resolve({ kind: 'not-captured', why: 'nobody answered in time' }));
  let received = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    received += text.slice(0, answer.length + 1 - received.length);
  });
  socket.once('end', () =>
    resolve(received === answer ? { kind: 'captured' } : { kind: 'not-captured', why: 'another process answered' }),
  );
  socket.on('error', (error) => resolve({ kind: 'not-captured', why: messageOf(error) }));
  return promise.finally(() => {
    late.cancel();
    socket.destroy();
  });
}
