import { backoffMs } from '../../../backoff.ts';

/** Tunnels are proved anew within this of a rotation; spread, because the peers are asked as well. Milliseconds. */
const rotationSpreadMs = 10_000;
const shortestDelayMs = 1_000;
const backoff = { baseMs: shortestDelayMs, capMs: 60_000 };

export interface ProofMoment {
  /** From now until what was proved ends, by our certificate or the peer's; not above zero once it has ended. */
  readonly remainingMs: number;
  /** In [0, 1). */
  readonly random: number;
}

/** How long after our own certificate was replaced; never more than a quarter of what is left. */
export function afterRotationMs({ remainingMs, random }: ProofMoment): number {
  return random * Math.min(rotationSpreadMs, Math.max(remainingMs, 0) / 4);
}

/**
 * How long after a proof the peer is asked for a newer certificate of its own. Peers renew at half of their lifetime, and tell
 * nobody: three quarters of what was left at the proof are later than that, whenever the proof was.
 */
export function untilPeerHasNewerMs({ remainingMs, random }: ProofMoment): number {
  return Math.max(shortestDelayMs, remainingMs * (0.7 + 0.1 * random));
}

/**
 * How long after a peer that had nothing newer is asked again. Each time costs a handshake, and puts the connections of this peer on
 * one tunnel more: some twenty times in all, not every minute.
 */
export function untilAskedAgainMs({ remainingMs, random }: ProofMoment): number {
  return Math.max(shortestDelayMs / 2, remainingMs * (0.2 + 0.05 * random));
}

/** How long after an attempt that gave nothing: growing waits, shorter than a quarter of what is left. */
export function untilNextProofMs({ remainingMs, random }: ProofMoment, failures: number): number {
  const waitMs = backoffMs(backoff, failures, random);
  return remainingMs > 0 ? Math.max(shortestDelayMs / 2, Math.min(waitMs, remainingMs / 4)) : waitMs;
}
