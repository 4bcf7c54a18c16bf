import { decideProof } from '../identity/tunnel-proof.ts';
import type { Circumstances, Lapse, VerifiedPeer } from '../identity/verify-peer.ts';
import { lapseOf } from '../identity/verify-peer.ts';
import type { ProxyParts } from './parts.ts';
import type { JudgedProof, Proof, ProvedTunnel } from './proof.ts';
import { createProof } from './proof.ts';
import type { ProofRequest } from './transport/hbone/wire.ts';

/** The proofs of all tunnels, held against the clock, the trust bundles and the revocations. */
export interface Proofs {
  open(tunnel: ProvedTunnel): Proof;
  /** Why what a peer proved does not hold now; undefined when it does. */
  lapseOf(peer: VerifiedPeer): Lapse | undefined;
  /** A peer shows on the tunnel of `fresh` that it holds an older one, which then rests on `fresh`. The answer; undefined refuses it. */
  proveOlder(request: ProofRequest, fresh: Proof): string | undefined;
  /** Bundles or revocations have changed: what they do not permit is cut at once. */
  recheck(): void;
  close(): void;
}

/** How often the ends of certificates are compared with the wall clock, which may be set, and goes on in a suspended machine. */
const checkIntervalMs = 1_000;

/** What cannot be proved anew is cut `graceMs` after the end of the peer's certificate. */
export function createProofs(
  parts: Pick<ProxyParts, 'clock' | 'log' | 'observer' | 'identity' | 'revocations' | 'peers'>,
  graceMs: number,
): Proofs {
  const { clock, identity, revocations } = parts;
  const open = new Set<JudgedProof>();
  let opened = 0;
  const inboundByName = new Map<string, Proof>();

  const circumstances = (): Circumstances => ({
    bundles: identity.current().bundles,
    revocations: revocations.current(),
    nowMs: clock.now(),
  });
  const judge = (proofs: readonly JudgedProof[]) => {
    // Before the first tunnel there may be no identity.
    if (proofs.length === 0) return;
    const now = circumstances();
    for (const proof of proofs) proof.judge(lapseOf(proof.peer, now), now.nowMs);
  };
  // Whoever changes anything else calls `recheck`, so here the dates are enough, of ten thousand tunnels too.
  const tick = () => {
    timer = clock.after(checkIntervalMs, tick);
    const nowMs = clock.now();
    judge([...open].filter(({ peer }) => peer.notAfterMs <= nowMs));
  };
  let timer = clock.after(checkIntervalMs, tick);

  return {
    open(tunnel) {
      const { name } = tunnel.keys;
      opened += 1;
      const onClose = () => {
        open.delete(proof);
        inboundByName.delete(name);
      };
      const proof = createProof(tunnel, parts, { graceMs, order: opened, onClose });
      open.add(proof);
      if (tunnel.direction === 'inbound' && tunnel.isProvable !== false) inboundByName.set(name, proof);
      // Bundles and revocations may have changed during the handshake.
      judge([proof]);
      return proof;
    },
    lapseOf: (peer) => lapseOf(peer, circumstances()),
    proveOlder({ tunnel, proof }, fresh) {
      const old = inboundByName.get(tunnel);
      const why = lapseOf(fresh.peer, circumstances())?.why;
      const verdict = why === undefined ? decideProof(old?.end, fresh.end, proof) : ({ kind: 'refused', why } as const);
      parts.observer.proofRenewed('inbound', verdict.kind === 'proved' ? 'renewed' : 'refused');
      if (verdict.kind === 'proved') {
        old?.renewBy(fresh);
        return verdict.answer;
      }
      const peerId = fresh.peer.spiffeId.uri;
      parts.log.debug({ peerId, detail: verdict.why }, 'The proof of an older tunnel was refused');
      return undefined;
    },
    recheck: () => judge([...open]),
    close: () => timer.cancel(),
  };
}
