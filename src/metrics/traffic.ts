import type { Direction } from '../outcomes.ts';
import type { LiveConnection } from '../proxy/account.ts';
import type { ByteCount } from '../proxy/relay.ts';

export const directions = ['inbound', 'outbound'] as const satisfies readonly Direction[];

/** Sums over connections, by direction. */
export type Traffic = Readonly<Record<Direction, DirectedTraffic>>;

interface DirectedTraffic extends ByteCount {
  connections: number;
  /** Those in tunnels. */
  streams: number;
  /** When the first of them is cut unless its peer is proved anew; infinite when none will be. */
  proofEndsMs: number;
}

const none = (): DirectedTraffic => ({
  bytesSent: 0,
  bytesReceived: 0,
  connections: 0,
  streams: 0,
  proofEndsMs: Number.POSITIVE_INFINITY,
});

export const noTraffic = (): Traffic => ({ inbound: none(), outbound: none() });

/** `settled`, which is left as it is, and what the live connections add: one pass, because there may be ten thousand. */
export function trafficOf(settled: Traffic, live: Iterable<LiveConnection>): Traffic {
  const sums = { inbound: { ...settled.inbound }, outbound: { ...settled.outbound } };
  for (const { direction, bytes, facts, proof } of live) {
    const sum = sums[direction];
    addBytes(sum, bytes);
    sum.connections += 1;
    if (facts.transport === 'hbone') sum.streams += 1;
    if (proof !== undefined) sum.proofEndsMs = Math.min(sum.proofEndsMs, proof.endsAtMs);
  }
  return sums;
}

export function addBytes(sum: ByteCount, bytes: Readonly<ByteCount>): void {
  sum.bytesSent += bytes.bytesSent;
  sum.bytesReceived += bytes.bytesReceived;
}
