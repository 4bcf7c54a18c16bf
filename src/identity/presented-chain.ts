import { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { createSecureContext, TLSSocket } from 'node:tls';
import { maxChainLength } from './decide-peer.ts';

/** What a peer showed, as DER. The intermediates are linked by name only, so they are candidates and no more. */
export type PresentedChain =
  | { readonly kind: 'none' }
  | { readonly kind: 'too_long' }
  | { readonly kind: 'chain'; readonly leaf: Uint8Array; readonly intermediates: readonly Uint8Array[] };

repairPeerCertificates();

/**
 * The certificates that a peer presented, as far as each is followed by one that could be its issuer. Node.js adds the root
 * from our own trust store when it finds one by name. The walk is bounded, whatever the links say.
 */
export function presentedChain(socket: TLSSocket): PresentedChain {
  const der: Uint8Array[] = [];
  // Without a certificate Node.js answers an empty object, which its types do not know.
  let next: Partial<PeerCertificate> & { issuerCertificate?: PeerCertificate } = socket.getPeerCertificate(true);
  while (next?.raw !== undefined) {
    der.push(next.raw);
    if (der.length > maxChainLength + 1) return { kind: 'too_long' };
    // A self-signed certificate is its own issuer.
    if (next.issuerCertificate === undefined || next.issuerCertificate === next) break;
    next = next.issuerCertificate;
  }
  const [leaf, ...intermediates] = der;
  return leaf === undefined ? { kind: 'none' } : { kind: 'chain', leaf, intermediates };
}

/** The first certificate that a peer presented, as DER; undefined when there was none. */
export function presentedLeaf(socket: TLSSocket): Uint8Array | undefined {
  const leaf: Partial<PeerCertificate> | null = socket.getPeerCertificate();
  return leaf?.raw;
}

interface TlsHandle {
  getPeerX509Certificate?: () => unknown;
  isSessionReused(): boolean;
}

/**
 * `getPeerX509Certificate` of Node.js takes the presented chain out of the TLS session, so that nobody sees it again, and
 * never frees it. Since 24.21 and 26.8 a server calls it by itself in every handshake, only to learn whether there is a
 * certificate: the intermediates of clients are lost, and every handshake leaks some 5 KiB (25 KiB with three intermediates).
 * So that question gets its answer without the call, a resumed session counts as without a certificate, and the public
 * method reads the leaf in the way that leaves the chain alone. Versions that are not affected behave the same with it.
 */
function repairPeerCertificates(): void {
  const probe = new TLSSocket(undefined as never, { secureContext: createSecureContext({ ca: [] }) });
  const handle = (probe as unknown as { _handle?: TlsHandle })._handle;
  probe.destroy();
  const shared: TlsHandle | null = handle === undefined ? null : Object.getPrototypeOf(handle);
  if (shared?.getPeerX509Certificate === undefined) return;
  shared.getPeerX509Certificate = function (this: TlsHandle) {
    return !this.isSessionReused();
  };
  TLSSocket.prototype.getPeerX509Certificate = function (this: TLSSocket) {
    const { raw } = this.getPeerCertificate() as Partial<PeerCertificate>;
    return raw && new X509Certificate(raw);
  };
}
