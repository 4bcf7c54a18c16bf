import { formatAddress } from '../../../addresses.ts';
import type { Clock } from '../../../clock.ts';
import { messageOf } from '../../../errors.ts';
import type { Identity } from '../../../identity/identity.ts';
import { decideAnswer, proofFor } from '../../../identity/tunnel-proof.ts';
import type { VerifiedPeer } from '../../../identity/verify-peer.ts';
import type { ProofResult } from '../../../outcomes.ts';
import type { ProxyParts } from '../../parts.ts';
import { currentIdentity } from '../../parts.ts';
import { shownProof } from '../../proof.ts';
import type { Proofs } from '../../proofs.ts';
import type { TunnelPool } from './pool.ts';
import type { ProofMoment } from './proof-timetable.ts';
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

interface Renewing extends Pick<ProxyParts, 'clock' | 'log' | 'observer' | 'identity'> {
  readonly pool: Pick<TunnelPool, 'tunnels' | 'newerThan'>;
  readonly proofs: Pick<Proofs, 'lapseOf'>;
  /** Aborted at the end. */
  readonly signal: AbortSignal;
}

export function startProofRenewals(
  parts: Pick<ProxyParts, 'clock' | 'log' | 'observer' | 'identity'> & Pick<Renewing, 'proofs'>,
  pool: Pick<TunnelPool, 'tunnels' | 'newerThan'>,
): ProofRenewals {
  const { clock } = parts;
  const stopping = new AbortController();
  const renewing: Renewing = { ...parts, pool, signal: stopping.signal };
  const plans = new WeakMap<Tunnel, Plan>();

  const replan = (tunnel: Tunnel, shown: Identity): Plan => {
    const plan = {
      shown,
      dueAtMs: dueAtMsOf(tunnel, shown, parts),
      failures: 0,
      isRunning: false,
      isTold: false,
    };
    plans.set(tunnel, plan);
    return plan;
  };
  const planOf = (tunnel: Tunnel): Plan => plans.get(tunnel) ?? replan(tunnel, tunnel.mutualTls.local);

  const attempt = async (tunnel: Tunnel, plan: Plan) => {
    plan.isRunning = true;
    const { result, detail, shown } = await prove(tunnel, plan, renewing);
    plan.isRunning = false;
    if (stopping.signal.aborted) return;
    parts.observer.proofRenewed('outbound', result);
    // It may have ended while it was proved.
    if (tunnel.streams() === 0) return;
    if (result === 'renewed') replan(tunnel, shown);
    else postpone(tunnel, plan, { result, detail }, parts);
  };

  const look = () => {
    timer = clock.after(lookIntervalMs, look);
    for (const tunnel of pool.tunnels()) {
      const plan = planOf(tunnel);
      // An idle one proves itself when it is used, by being made anew.
      if (!plan.isRunning && clock.now() >= plan.dueAtMs && tunnel.streams() > 0) void attempt(tunnel, plan);
    }
  };
  let timer = clock.after(lookIntervalMs, look);

  return {
    rotated() {
      for (const tunnel of pool.tunnels()) {
        const plan = planOf(tunnel);
        if (!isCurrent(plan.shown, parts)) plan.dueAtMs = Math.min(plan.dueAtMs, dueAtMsOf(tunnel, plan.shown, parts));
      }
    },
    close() {
      timer.cancel();
      stopping.abort(new Error('The data plane is closed'));
    },
  };
}

type Times = Pick<ProxyParts, 'clock' | 'identity'>;

function isCurrent({ leaf }: Identity, { identity }: Pick<Times, 'identity'>): boolean {
  return leaf.fingerprint256 === identity.current().leaf.fingerprint256;
}

/** Our certificate may have been replaced while the tunnel was made, or proved. */
function dueAtMsOf(tunnel: Tunnel, shown: Identity, parts: Times): number {
  const { clock } = parts;
  if (!isCurrent(shown, parts)) return clock.now() + afterRotationMs(momentOf(tunnel, shown, clock, clock.now()));
  const { provedAtMs } = tunnel.proof;
  return provedAtMs + untilPeerHasNewerMs(momentOf(tunnel, shown, clock, provedAtMs));
}

/** What was proved ends with whichever certificate ends first. */
function momentOf({ proof }: Tunnel, shown: Identity, { random }: Clock, nowMs: number): ProofMoment {
  return { remainingMs: Math.min(proof.peer.notAfterMs, shown.notAfterMs) - nowMs, random: random() };
}

interface Attempt {
  readonly result: ProofResult;
  readonly detail: string;
}

function postpone(
  tunnel: Tunnel,
  plan: Plan,
  { result, detail }: Attempt,
  { clock, log }: Pick<ProxyParts, 'clock' | 'log'>,
): void {
  plan.failures += 1;
  const moment = momentOf(tunnel, plan.shown, clock, clock.now());
  const isToBeAwaited = result === 'not_newer' && moment.remainingMs > 0;
  plan.dueAtMs = clock.now() + (isToBeAwaited ? untilAskedAgainMs(moment) : untilNextProofMs(moment, plan.failures));
  // A peer renews when it likes; it is worth a word when it had the time.
  if (plan.isTold || (result === 'not_newer' && plan.failures < 3)) return;
  plan.isTold = true;
  log.warn(
    { ...shownProof(tunnel.proof), endpoint: formatAddress(tunnel.key.address), result, detail },
    'A tunnel could not be proved anew; its connections end unless that changes',
  );
}

/** Never rejects. `shown` is the certificate that we showed for it. */
async function prove(tunnel: Tunnel, plan: Plan, renewing: Renewing): Promise<Attempt & { readonly shown: Identity }> {
  let shown = plan.shown;
  try {
    shown = currentIdentity(renewing);
    const first = await ask(tunnel, shown, tunnel.proof.end.order, renewing);
    // Each end numbers its tunnels by itself: of two handshakes at a time, the one that ended last here may have been first
    // there. Once, since a peer that was started anew knows none of them.
    const isOutOfOrder = first.result === 'refused' && plan.failures === 0;
    const last = isOutOfOrder ? await ask(tunnel, shown, first.order, renewing) : first;
    const isSameLocal = plan.shown.leaf.fingerprint256 === shown.leaf.fingerprint256;
    return last.result === 'not_newer' && !isSameLocal ? { ...last, result: 'renewed', shown } : { ...last, shown };
  } catch (error) {
    return { result: 'unreachable', detail: messageOf(error), shown };
  }
}

/** Asks on a tunnel that is newer than `order`, and takes its proof over when the peer accepts. `not_newer` is accepted too, and gains nothing by the peer. */
async function ask(
  tunnel: Tunnel,
  local: Identity,
  order: number,
  { pool, proofs, signal }: Renewing,
): Promise<Attempt & { readonly order: number }> {
  const before = tunnel.proof.end;
  const fresh = await pool.newerThan({ ...tunnel.key, local }, order, signal);
  const newer = fresh.proof.end;
  const isAsBefore = isSameProof(fresh.proof.peer, tunnel.proof.peer);
  const reply = await fresh.prove({ tunnel: before.keys.name, proof: proofFor(before, newer) }, signal);
  const came = (result: ProofResult, detail: string) => ({ result, detail, order: newer.order });
  if (reply.kind === 'not_supported') return came('not_supported', 'the peer knows no proofs');
  if (reply.kind === 'not_proved') return came('refused', 'the peer did not accept the proof');
  const verdict = decideAnswer(before, newer, reply.answer);
  if (verdict.kind === 'refused') return came('refused', `of the answer: ${verdict.why}`);
  // Bundles and revocations may have changed while it was made, or answered: nothing may rest on it then.
  const lapse = proofs.lapseOf(fresh.proof.peer);
  if (lapse !== undefined) return came('refused', `of the newer tunnel: ${lapse.why}`);
  tunnel.proof.renewBy(fresh.proof);
  return isAsBefore ? came('not_newer', 'the peer shows the same certificate as before') : came('renewed', '');
}

/** A root that was issued anew gives the same certificate a later end. */
function isSameProof(one: VerifiedPeer, other: VerifiedPeer): boolean {
  return one.serial === other.serial && one.notAfterMs === other.notAfterMs;
}
