import { createSecureContext } from 'node:tls';
import { messageOf, RenewalError } from '../../errors.ts';
import type { Identity } from '../../identity/identity.ts';

/** Holds the identity in use. Generations only ever grow, whoever publishes. */
export interface IdentityPublisher {
  /** Undefined before the first. */
  current(): Identity | undefined;
  /** The generation that the next identity must have. */
  nextGeneration(): number;
  /** Throws `RenewalError` when no handshake could be made with it; the one in use stays then. */
  publish(identity: Identity): void;
  subscribe(listener: (identity: Identity) => void): () => void;
}

export function createIdentityPublisher(): IdentityPublisher {
  const listeners = new Set<(identity: Identity) => void>();
  let current: Identity | undefined;
  return {
    current: () => current,
    nextGeneration: () => (current?.generation ?? 0) + 1,
    publish(identity) {
      const expected = (current?.generation ?? 0) + 1;
      if (identity.generation !== expected) {
        throw new TypeError(`Identity generation ${identity.generation} was published, expected ${expected}`);
      }
      proveUsable(identity);
      current = identity;
      for (const listener of [...listeners]) listener(identity);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** Our own rules passed it; what OpenSSL makes of it would otherwise show in the first handshake, and in all after it. */
function proveUsable({ key, chainPem, bundles }: Identity): void {
  const ca = [...bundles.domains.values()].flat().map(({ pem }) => pem);
  try {
    createSecureContext({ key: key.export({ type: 'pkcs8', format: 'pem' }), cert: chainPem, ca });
  } catch (error) {
    throw new RenewalError('chain_invalid', `OpenSSL makes no TLS context of the certificate: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** For sources that have waited for the first identity. */
export function currentOf(publisher: IdentityPublisher): Identity {
  const identity = publisher.current();
  if (identity === undefined) throw new TypeError('There is no identity before the source has started');
  return identity;
}

/** Waits for `first`; a signal that is aborted meanwhile closes the source. */
export async function firstOf(
  first: Promise<unknown>,
  signal: AbortSignal,
  close: (reason: unknown) => Promise<void>,
): Promise<void> {
  const onAbort = () => void close(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await first;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
