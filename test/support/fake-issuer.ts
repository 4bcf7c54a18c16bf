import type { ControlClient } from '../../src/agent/control-client.ts';
import type { StreamListener } from '../../src/agent/stream-state.ts';
import type { Clock } from '../../src/clock.ts';
import type { CertificateReply } from '../../src/control-api.ts';
import { readCertificateRequest } from '../../src/control-plane/certificate-request.ts';
import type { CertificateSpec } from './certificates.ts';
import type { TestAuthority } from './identities.ts';

/** The `certificate` call of a control client; issues for the key of the request whatever the test says. */
export interface FakeIssuer extends Pick<ControlClient, 'certificate'> {
  authority: TestAuthority;
  /** The bundles of the reply; by default the authority's own root. */
  bundles: Record<string, string> | undefined;
  id: string;
  /** What differs in the leaf; `lifetimeMs` from now. */
  leaf: CertificateSpec;
  lifetimeMs: number;
  /** Changes a reply that is otherwise right. */
  change: (reply: CertificateReply) => CertificateReply;
  /** Replaces the answer. */
  answer: ((signal: AbortSignal | undefined) => Promise<CertificateReply>) | undefined;
  /** Public keys of the requests, DER in base64. */
  readonly keys: readonly string[];
  readonly ttlSeconds: readonly (number | undefined)[];
}

export function createFakeIssuer(authority: TestAuthority, clock: Clock): FakeIssuer {
  const keys: string[] = [];
  const ttls: (number | undefined)[] = [];
  const issuer: FakeIssuer = {
    authority,
    bundles: undefined,
    id: 'ns/shop/sa/web',
    leaf: {},
    lifetimeMs: 3_600_000,
    change: (reply) => reply,
    answer: undefined,
    keys,
    ttlSeconds: ttls,
    async certificate(request, signal) {
      const csr = readCertificateRequest(request.csr);
      if (csr.kind === 'refused') throw new TypeError(csr.why);
      const publicKey = csr.publicKey.export({ type: 'spki', format: 'der' });
      keys.push(publicKey.toString('base64'));
      ttls.push(request.ttlSeconds);
      if (issuer.answer !== undefined) return issuer.answer(signal);
      const { chainPem } = issuer.authority.issue({
        id: issuer.id,
        publicKey,
        notBeforeMs: clock.now() - 60_000,
        notAfterMs: clock.now() + issuer.lifetimeMs,
        ...issuer.leaf,
      });
      const { trustDomain, bundlePem } = issuer.authority;
      return issuer.change({
        certificateChain: chainPem,
        trustBundles: issuer.bundles ?? { [trustDomain]: bundlePem },
        serverTime: new Date(clock.now()).toISOString(),
      });
    },
  };
  return issuer;
}

/** The part of the stream that an identity source listens to. */
export function createFakeBundleStream() {
  const listeners = new Set<StreamListener>();
  let bundles: Record<string, string> | undefined;
  return {
    up: false,
    isUp() {
      return this.up;
    },
    trustBundles: () => bundles,
    subscribe(listener: StreamListener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    push(next: Record<string, string>) {
      this.up = true;
      bundles = next;
      for (const listener of listeners) listener.trustBundlesReceived?.(next);
    },
  };
}
