import { lapseOf } from '../identity/verify-peer.ts';
import type { ProxyParts } from './parts.ts';
import type { JudgedProof, Proof, ProvedTunnel } from './proof.ts';
import { createProof } from './proof.ts';

/** The proofs of all tunnels, held against the clock, the trust bundles and the revocations. */
export interface Proofs {
  open(tunnel: ProvedTunnel): Proof;
  /** An inbound tunnel by the name that both of its ends know. */
  inbound(name: string): Proof | undefined;
  /** Bundles or revocations have changed: what they do not permit is cut at once. */
  recheck(): void;
  close(): void;
}

/** How often the ends of certificates are compared with the wall clock, which may be set, and goes on in a suspended machine. */
const checkIntervalMs = 1_000;

/** What cannot be proved anew is cut `graceMs` after the end of the peer's certificate. */
export function createProofs(
  parts: Pick<ProxyParts, 'clock' | 'log' | 'identity' | 'revocations' | 'peers'>,
  graceMs: number,
): Proofs {
  const { clock, identity, revocations } = parts;
  const open = new Set<JudgedProof>();
  let opened = 0;
  const inboundByName = new Map<string, Proof>();

  const judge = (proofs: Iterable<JudgedProof>) => {
    const nowMs = clock.now();
    for (const proof of proofs) {
      const circumstances = { bundles: identity.current().bundles, revocations: revocations.current(), nowMs };
      proof.judge(lapseOf(proof.peer, circumstances), nowMs);
    }
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
      if (tunnel.direction === 'inbound') inboundByName.set(name, proof);
      return proof;
    },
    inbound: (name) => inboundByName.get(name),
    recheck: () => judge(open),
    close: () => timer.cancel(),
  };
}
