import { connect } from 'node:net';
import type { Address } from '../addresses.ts';
import { canonicalIp, formatAddress, isGlobal } from '../addresses.ts';
import type { Clock } from '../clock.ts';
import type { CanaryDial, CanaryReply } from '../control-api.ts';
import { codeOf } from '../errors.ts';
import { captureProbe } from '../ports.ts';
import { createPodOfToken } from './pod-of-token.ts';
import { Refusal } from './refusals.ts';
import type { Pod, RegistryObjects } from './store/objects.ts';
import type { Workload } from './token-review.ts';

/** Dials the canary port of pods that ask for it: what a pod sends to itself never meets its inbound rules. */
export interface CanaryDialler {
  /** Dials the pod that asks, and no other. Throws `Refusal` when it asks too often, or too many ask at once. */
  dial(workload: Workload): Promise<CanaryReply>;
}

export interface CanaryParts {
  readonly clock: Clock;
  readonly store: { current(): Pick<RegistryObjects, 'pods'> };
  /** Default: by TCP. */
  readonly dial?: typeof dialCanary;
}

/** Milliseconds and pieces: between two calls of a pod, a dial, what is read of an answer, addresses of a pod, pods at once. */
export const canaryDialLimits = {
  perPodMs: 5000,
  dialMs: 2000,
  bytes: 64,
  addresses: 4,
  calls: 64,
  pods: 10_000,
} as const;

export function createCanaryDialler({ clock, store, dial = dialCanary }: CanaryParts): CanaryDialler {
  const takeTurn = createTurns(clock);
  const podOf = createPodOfToken(store);
  let running = 0;
  return {
    async dial(workload) {
      if (running >= canaryDialLimits.calls) throw tooMany('Expected fewer pods at once');
      takeTurn(workload.podUid);
      running += 1;
      try {
        const dials = addressesOf(podOf(workload)).map((ip) => dial(clock, { ip, port: captureProbe.port }));
        return { dials: await Promise.all(dials) };
      } finally {
        running -= 1;
      }
    },
  };
}

/** The address is that of the registry, never one that somebody sends: nobody makes the control plane dial another host. */
function addressesOf(pod: Pod | undefined): readonly string[] {
  if (pod === undefined || pod.spec.hostNetwork) return [];
  const { podIP, podIPs } = pod.status;
  const all = [podIP, ...podIPs.map(({ ip }) => ip)].map((ip) => (ip === undefined ? undefined : canonicalIp(ip)));
  const usable = all.filter((ip) => ip !== undefined).filter(isGlobal);
  return [...new Set(usable)].slice(0, canaryDialLimits.addresses);
}

/** Remembers who had a turn of late, in the order of the turns. */
function createTurns(clock: Clock): (podUid: string) => void {
  const turns = new Map<string, number>();
  return (podUid) => {
    const nowMs = clock.monotonic();
    for (const [uid, atMs] of turns) {
      if (nowMs - atMs < canaryDialLimits.perPodMs) break;
      turns.delete(uid);
    }
    if (turns.has(podUid)) throw tooMany('Expected this pod to ask less often');
    if (turns.size >= canaryDialLimits.pods) throw tooMany('Expected fewer pods');
    turns.set(podUid, nowMs);
  };
}

function tooMany(detail: string): Refusal {
  return new Refusal('too_many_requests', detail, { headers: { 'retry-after': '5' } });
}

/** What an answer of a sidecar looks like; of another one it is told only that it was another one. */
const answerShape = /^[0-9a-f]{32}$/;

/** Connects, sends nothing, and reads what there is to read; never rejects. */
export function dialCanary(clock: Clock, { ip, port }: Address): Promise<CanaryDial> {
  const address = formatAddress({ ip, port });
  const { promise, resolve } = Promise.withResolvers<CanaryDial>();
  const socket = connect({ host: ip, port });
  const late = clock.after(canaryDialLimits.dialMs, () => resolve({ address, outcome: 'timeout' }));
  let received = '';
  const answered = () =>
    resolve({ address, outcome: 'answered', ...(answerShape.test(received) && { answer: received }) });
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    received += text.slice(0, canaryDialLimits.bytes - received.length);
    if (received.length >= canaryDialLimits.bytes) answered();
  });
  socket.once('end', () => (received === '' ? resolve({ address, outcome: 'closed' }) : answered()));
  socket.on('error', (error) => resolve({ address, outcome: outcomes[codeOf(error) ?? ''] ?? 'unreachable' }));
  return promise.finally(() => {
    late.cancel();
    socket.destroy();
  });
}

const outcomes: Readonly<Record<string, CanaryDial['outcome']>> = { ECONNREFUSED: 'refused', ECONNRESET: 'closed' };
