import { formatAddress } from '../../../addresses.ts';
import { timestamp } from '../../../clock.ts';
import { messageOf } from '../../../errors.ts';
import type { Identity } from '../../../identity/identity.ts';
import { decideAnswer, proofFor } from '../../../identity/tunnel-proof.ts';
import type { VerifiedPeer } from '../../../identity/verify-peer.ts';
import type { ProofResult } from '../../../outcomes.ts';
import type { ProxyParts } from '../../parts.ts';
import { currentIdentity } from '../../parts.ts';
import type { TunnelPool } from './pool.ts';
import { afterRotationMs, untilAskedAgainMs, untilNextProofMs, untilPeerHasNewerMs } from './proof-timetable.ts';
import type { Tunnel } from './tunnel.ts';

/** Proves tunnels anew that have outlived a rotation, or whose peer's certificate nears its end, for as long as they carry something. */
export interface ProofRenewals {
  /** Our own certificate may be another one now. */
  rotated(): void;
  close(): void;
}

/** How often the due ones are looked for, by the wall clock. */
const lookIntervalMs = 500;

/** What is known of one tunnel. */
interface Plan {
  /** The certificate that we showed when it was proved last. */
  readonly shown: Identity;
  dueAtMs: number;
  failures: number;
  isRunning: boolean;
  isTold: boolean;
}

export function startProofRenewals(
  parts: Pick<ProxyParts, 'clock' | 'log' | 'observer' | 'identity'>,
  pool: Pick<TunnelPool, 'tunnels' | 'newerThan'>,
): ProofRenewals {
  const { clock, log, observer } = parts;
  const stopping = new AbortController();
  const plans = new WeakMap<Tunnel, Plan>();

  const planOf = (tunnel: Tunnel): Plan => plans.get(tunnel) ?? replan(tunnel, tunnel.mutualTls.local);
  /** What was proved ends with whichever certificate ends first. */
  const momentOf = ({ proof }: Tunnel, shown: Identity, nowMs = clock.now()) => ({
    remainingMs: Math.min(proof.peer.notAfterMs, shown.notAfterMs) - nowMs,
    random: clock.random(),
  });
  const isCurrent = ({ leaf }: Identity) => leaf.fingerprint256 === parts.identity.current().leaf.fingerprint256;
  /** Our certificate may have been replaced while the tunnel was made, or proved. */
  const dueAtMsOf = (tunnel: Tunnel, shown: Identity): number => {
    if (!isCurrent(shown)) return clock.now() + afterRotationMs(momentOf(tunnel, shown));
    const { provedAtMs } = tunnel.proof;
    return provedAtMs + untilPeerHasNewerMs(momentOf(tunnel, shown, provedAtMs));
  };
  const replan = (tunnel: Tunnel, shown: Identity): Plan => {
    const dueAtMs = dueAtMsOf(tunnel, shown);
    const plan = { shown, dueAtMs, failures: 0, isRunning: false, isTold: false };
    plans.set(tunnel, plan);
    return plan;
  };

  const gaveNothing = (tunnel: Tunnel, plan: Plan, result: ProofResult, detail: string) => {
    observer.proofRenewed('outbound', result);
    plan.failures += 1;
    const moment = momentOf(tunnel, plan.shown);
    const isToBeAwaited = result === 'not_newer' && moment.remainingMs > 0;
    plan.dueAtMs = clock.now() + (isToBeAwaited ? untilAskedAgainMs(moment) : untilNextProofMs(moment, plan.failures));
    // A peer renews when it likes; it is worth a word when it had the time.
    if (plan.isTold || (result === 'not_newer' && plan.failures < 3)) return;
    plan.isTold = true;
    const { peer, endsAtMs, carried } = tunnel.proof;
    const facts = {
      peerId: peer.spiffeId.uri,
      endpoint: formatAddress(tunnel.key.address),
      connections: carried,
      result,
      detail,
      ends: Number.isFinite(endsAtMs) ? timestamp(endsAtMs) : 'never',
    };
    log.warn(facts, 'A tunnel could not be proved anew; its connections end unless that changes');
  };

  const prove = async (tunnel: Tunnel, plan: Plan): Promise<void> => {
    const before = tunnel.proof.end;
    const { signal } = stopping;
    const local = currentIdentity(parts);
    const fresh = await pool.newerThan({ ...tunnel.key, local }, before.order, signal);
    const isAsBefore = isSameProof(fresh.proof.peer, tunnel.proof.peer);
    const reply = await fresh.prove({ tunnel: before.keys.name, proof: proofFor(before, fresh.proof.end) }, signal);
    if (reply.kind === 'not_supported') return gaveNothing(tunnel, plan, 'not_supported', 'the peer knows no proofs');
    if (reply.kind === 'not_proved') return gaveNothing(tunnel, plan, 'refused', 'the peer did not accept the proof');
    const verdict = decideAnswer(before, fresh.proof.end, reply.answer);
    if (verdict.kind === 'refused') return gaveNothing(tunnel, plan, 'refused', `of the answer: ${verdict.why}`);
    tunnel.proof.renewBy(fresh.proof);
    const isSameLocal = plan.shown.leaf.fingerprint256 === local.leaf.fingerprint256;
    if (isAsBefore && isSameLocal)
      return gaveNothing(tunnel, plan, 'not_newer', 'the peer shows the same certificate as before');
    observer.proofRenewed('outbound', 'renewed');
    replan(tunnel, local);
  };

  const attempt = (tunnel: Tunnel, plan: Plan) => {
    // An idle one proves itself when it is used, by being made anew.
    if (tunnel.streams() === 0) return;
    plan.isRunning = true;
    prove(tunnel, plan)
      .catch((error: unknown) => {
        if (!stopping.signal.aborted) gaveNothing(tunnel, plan, 'unreachable', messageOf(error));
      })
      .finally(() => {
        plan.isRunning = false;
      });
  };

  const look = () => {
    timer = clock.after(lookIntervalMs, look);
    for (const tunnel of pool.tunnels()) {
      const plan = planOf(tunnel);
      if (!plan.isRunning && clock.now() >= plan.dueAtMs) attempt(tunnel, plan);
    }
  };
  let timer = clock.after(lookIntervalMs, look);

  return {
    rotated() {
      for (const tunnel of pool.tunnels()) {
        const plan = planOf(tunnel);
        if (isCurrent(plan.shown)) continue;
        plan.dueAtMs = Math.min(plan.dueAtMs, dueAtMsOf(tunnel, plan.shown));
      }
    },
    close() {
      timer.cancel();
      stopping.abort(new Error('The data plane is closed'));
    },
  };
}

/** A root that was issued anew gives the same certificate a later end. */
function isSameProof(one: VerifiedPeer, other: VerifiedPeer): boolean {
  return one.serial === other.serial && one.notAfterMs === other.notAfterMs;
}
