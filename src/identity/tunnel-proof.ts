import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * A tunnel outlives the certificates that were shown on it. So the client shows newer ones on a new tunnel, and proves there
 * that it holds the old one as well: by keying material that TLS exports (RFC 8446 §7.5), equal at both ends of a
 * connection and known to nobody else. The material itself is never sent. What goes over the new tunnel is a MAC over its own
 * material under that of the old one, so it is worth nothing on any other tunnel; and the server answers with one of its own,
 * so that the client knows too that both tunnels end in the same place.
 */

/** Keying material of one tunnel. */
export interface TunnelKeys {
  /** What both ends call it; no secret between them. */
  readonly name: string;
  /** 32 bytes that nobody else knows. */
  readonly secret: Buffer;
}

/** What to export for `tunnelKeysOf`. */
export const keyingMaterial = { bytes: 64, label: 'EXPORTER-Remora-Tunnel-Proof' } as const;

export function tunnelKeysOf(material: Buffer): TunnelKeys {
  if (material.length !== keyingMaterial.bytes)
    throw new TypeError(`Expected ${keyingMaterial.bytes} bytes of material`);
  return { name: material.subarray(0, 32).toString('base64url'), secret: material.subarray(32) };
}

/** One end of a tunnel, as far as proofs go. */
export interface TunnelEnd {
  readonly keys: TunnelKeys;
  /** SPIFFE ID that the far side has proved. */
  readonly peerId: string;
  /** SPIFFE ID that this side has shown. */
  readonly localId: string;
  /** Grows with each handshake of this process: of the one in which that was proved last, on this tunnel or on a newer one. */
  readonly order: number;
}

/** Whether a new tunnel proves an old one. */
export type ProofVerdict =
  | { readonly kind: 'proved' /** For the other end, when it has asked. */; readonly answer: string }
  | { readonly kind: 'refused'; readonly why: string };

/** What a client sends on the tunnel `fresh` to prove that it holds `old`. */
export function proofFor(old: TunnelEnd, fresh: TunnelEnd): string {
  return macOf('client', old, fresh).toString('base64url');
}

/**
 * The server's decision: both tunnels are between the same two identities, the newer one was authenticated later than whatever
 * the older one rests on, and whoever holds it holds the older one.
 */
export function decideProof(old: TunnelEnd | undefined, fresh: TunnelEnd, proof: string): ProofVerdict {
  if (old === undefined) return refused('there is no such tunnel');
  const unfit = whyUnfit(old, fresh);
  if (unfit !== undefined) return refused(unfit);
  if (!isMac(proof, macOf('client', old, fresh))) return refused('it does not show that it holds the other tunnel');
  return { kind: 'proved', answer: macOf('server', old, fresh).toString('base64url') };
}

/** The client's decision about the answer. */
export function decideAnswer(old: TunnelEnd, fresh: TunnelEnd, answer: string): ProofVerdict {
  const unfit = whyUnfit(old, fresh);
  if (unfit !== undefined) return refused(unfit);
  if (!isMac(answer, macOf('server', old, fresh))) return refused('it does not show that it holds the other tunnel');
  return { kind: 'proved', answer };
}

function whyUnfit(old: TunnelEnd, fresh: TunnelEnd): string | undefined {
  if (old.keys.name === fresh.keys.name) return 'a tunnel cannot prove itself';
  if (old.peerId !== fresh.peerId) return `the other tunnel is of ${old.peerId}`;
  if (old.localId !== fresh.localId) return `the other tunnel is to ${old.localId}`;
  if (fresh.order <= old.order) return 'the other tunnel rests on a newer proof already';
  return undefined;
}

function refused(why: string): ProofVerdict {
  return { kind: 'refused', why };
}

/** The role is in it, so that no end can send back what it was sent. */
function macOf(role: 'client' | 'server', old: TunnelEnd, fresh: TunnelEnd): Buffer {
  return createHmac('sha256', old.keys.secret)
    .update(`remora tunnel proof of the ${role}\0`)
    .update(fresh.keys.secret)
    .digest();
}

function isMac(text: string, expected: Buffer): boolean {
  const given = Buffer.from(text, 'base64url');
  return given.length === expected.length && timingSafeEqual(given, expected);
}
