import type { Clock } from '../../clock.ts';
import { parseDate } from '../../clock.ts';
import { RenewalError } from '../../errors.ts';
import { createCsr, createKey } from '../../identity/csr.ts';
import type { Identity } from '../../identity/identity.ts';
import { makeIdentity } from '../../identity/identity.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import { workloadSpiffeId } from '../../identity/spiffe-id.ts';
import type { TrustBundles } from '../../identity/trust-bundle.ts';
import type { ControlClient } from '../control-client.ts';
import type { ControlStream } from '../control-stream.ts';
import { startRenewals } from '../renewal.ts';
import { shortestLifetimeMs, shortestRenewalMs } from '../renewal-timetable.ts';
import type { PemBundles } from '../stream-state.ts';
import { readToken, serviceAccountOf } from '../token-file.ts';
import { isSameBundles, parseBundles, withBundles } from './bundles.ts';
import { createIdentityPublisher, currentOf, firstOf } from './publisher.ts';
import type { RevocationSource } from './revoked.ts';
import { guardAgainstRevocation } from './revoked.ts';
import type { IdentitySource, RenewalObserver, RenewalState } from './source.ts';

export interface ControlPlaneIdentityParts {
  readonly clock: Clock;
  readonly client: Pick<ControlClient, 'certificate'>;
  readonly stream: Pick<ControlStream, 'subscribe' | 'isUp' | 'trustBundles'>;
  readonly revocations: RevocationSource;
  readonly observer: RenewalObserver;
}

export interface ControlPlaneIdentitySettings {
  readonly trustDomain: string;
  /** Undefined accepts whatever the first certificate proves, and that alone afterwards. */
  readonly expected: SpiffeId | undefined;
  readonly tokenFile: string;
  readonly lifetimeMs: number;
  readonly maximumLifetimeMs: number;
  /** The part of the remaining lifetime after which a certificate is renewed. */
  readonly renewalFraction: number;
}

/**
 * Certificates of the control plane, with a new key for each. Waits for the first one, retrying until the signal is
 * aborted, and rejects with its reason then. Afterwards an identity in use is kept whatever fails, and it recovers by
 * itself. Trust bundles that the control plane pushes make a new generation with the same certificate, and a revocation of
 * it one that is over at once.
 */
export async function startControlPlaneIdentity(
  { clock, client, stream, revocations, observer }: ControlPlaneIdentityParts,
  settings: ControlPlaneIdentitySettings,
  signal: AbortSignal,
): Promise<IdentitySource> {
  signal.throwIfAborted();
  const { trustDomain, lifetimeMs, renewalFraction } = settings;
  const publisher = createIdentityPublisher();
  let pushedBundles: TrustBundles | undefined;
  let clockSkewMs: number | undefined;
  /** The certificate as it was verified; what is published may have been ended early. */
  let verified: Identity | undefined;
  /** Why it is over when the trust bundles ended it. */
  let unvouched: RenewalState['lastFailure'];

  const attempt = async (attemptSignal: AbortSignal): Promise<Identity> => {
    const key = createKey();
    const csr = createCsr(key, await proposedId(settings));
    const reply = await client.certificate({ csr, ttlSeconds: Math.round(lifetimeMs / 1000) }, attemptSignal);
    const nowMs = clock.now();
    clockSkewMs = skewOf(reply.serverTime, nowMs);
    const bundles = bundlesFor(reply.trustBundles);
    const identity = makeIdentity({
      generation: publisher.nextGeneration(),
      key,
      chainPem: reply.certificateChain,
      bundles,
      expected: settings.expected ?? publisher.current()?.spiffeId,
      nowMs,
    });
    refuseUnfit(identity, settings, nowMs);
    guard.refuse(identity);
    publisher.publish(identity);
    // Those that were pushed before a reply replaced them are not to come back with the stream.
    if (bundles !== pushedBundles) pushedBundles = undefined;
    verified = identity;
    unvouched = undefined;
    guard.watch(identity);
    return identity;
  };

  /**
   * The stream is newer than a reply that may have been made before its last push; without it the reply is all there is. Bundles
   * that cannot be used leave those in use: one broken root, of whichever trust domain, must not end our own certificate.
   */
  const bundlesFor = (replied: PemBundles): TrustBundles => {
    if (stream.isUp() && pushedBundles !== undefined) return pushedBundles;
    const inUse = publisher.current();
    try {
      return parseBundles(replied, trustDomain);
    } catch (error) {
      if (!(error instanceof RenewalError) || inUse === undefined) throw error;
      observer.bundlesRefused(error);
      return inUse.bundles;
    }
  };

  const takeBundles = (pem: PemBundles) => {
    try {
      useBundles(parseBundles(pem, trustDomain));
    } catch (error) {
      if (!(error instanceof RenewalError)) throw error;
      observer.bundlesRefused(error);
    }
  };

  const useBundles = (bundles: TrustBundles) => {
    const inUse = publisher.current();
    if (inUse === undefined || verified === undefined || isSameBundles(inUse.bundles, bundles)) {
      pushedBundles = bundles;
      return;
    }
    const judged = withBundles(verified, bundles, publisher.nextGeneration(), clock.now());
    const rebundled = guard.apply(judged);
    publisher.publish(rebundled);
    pushedBundles = bundles;
    heedEnd(judged.notAfterMs <= clock.now() && clock.now() < verified.notAfterMs);
    const hasEnded = rebundled.notAfterMs < verified.notAfterMs;
    if (hasEnded || renewals.state().lastFailure?.reason === 'chain_invalid') renewals.hurry();
  };

  const heedEnd = (isUnvouched: boolean) => {
    const was = unvouched;
    unvouched = undefined;
    if (!isUnvouched) return;
    const reason = 'chain_invalid';
    const message = 'No root of the trust bundles vouches for our own certificate any more';
    unvouched = was ?? { reason, message, atMs: clock.now() };
    if (was === undefined) observer.renewalFailed(reason, new RenewalError(reason, message), shortestRenewalMs);
  };

  const guard = guardAgainstRevocation({ clock, revocations, observer }, (change) => {
    const inUse = publisher.current();
    if (change !== 'none' && inUse !== undefined && verified !== undefined) {
      const restored = withBundles(verified, inUse.bundles, publisher.nextGeneration(), clock.now());
      publisher.publish(guard.apply(restored));
    }
    const { reason } = renewals.state().lastFailure ?? {};
    if (change === 'revoked' || reason === 'revoked' || reason === 'chain_invalid') renewals.hurry();
  });
  const known = stream.trustBundles();
  if (known !== undefined) takeBundles(known);
  const unsubscribe = stream.subscribe({ trustBundlesReceived: takeBundles });
  const renewals = startRenewals({ clock, observer, attempt, current: publisher.current }, renewalFraction);
  const close = async (reason?: unknown) => {
    unsubscribe();
    guard.close();
    await renewals.close(reason);
  };
  await firstOf(renewals.first, signal, close);

  return {
    current: () => currentOf(publisher),
    subscribe: publisher.subscribe,
    renewal() {
      const { nextAttemptMs, lastFailure = guard.failure() ?? unvouched } = renewals.state();
      return { nextAttemptMs, lastFailure, clockSkewMs };
    },
    close,
  };
}

/** The ID that the request names. The control plane takes it from the token; this is for whoever reads the request. */
async function proposedId({ expected, trustDomain, tokenFile }: ControlPlaneIdentitySettings): Promise<SpiffeId> {
  if (expected !== undefined) return expected;
  const account = serviceAccountOf(await readToken(tokenFile));
  return workloadSpiffeId(trustDomain, account?.namespace ?? 'unknown', account?.name ?? 'unknown');
}

function skewOf(serverTime: string, nowMs: number): number | undefined {
  const skewMs = parseDate(serverTime) - nowMs;
  return Number.isNaN(skewMs) ? undefined : skewMs;
}

/** Throws `RenewalError` for a certificate that is valid and yet not for us. */
function refuseUnfit(identity: Identity, settings: ControlPlaneIdentitySettings, nowMs: number): void {
  const { spiffeId, notBeforeMs, notAfterMs } = identity;
  if (spiffeId.trustDomain !== settings.trustDomain) {
    throw new RenewalError(
      'wrong_identity',
      `The certificate is for ${spiffeId.uri}, expected the trust domain ${settings.trustDomain}`,
    );
  }
  if (notAfterMs - nowMs < shortestLifetimeMs) {
    throw new RenewalError(
      'ttl_too_short',
      `The certificate ends in ${notAfterMs - nowMs} ms, expected at least ${shortestLifetimeMs} ms`,
    );
  }
  if (notAfterMs - notBeforeMs > settings.maximumLifetimeMs) {
    throw new RenewalError(
      'ttl_too_long',
      `The certificate lives ${notAfterMs - notBeforeMs} ms, expected at most ${settings.maximumLifetimeMs} ms`,
    );
  }
}
