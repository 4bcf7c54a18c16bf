import type { KeyObject } from 'node:crypto';
import { createHash, createPrivateKey } from 'node:crypto';
import { readBoundedFile } from '../../bounded-file.ts';
import type { Clock } from '../../clock.ts';
import type { FederatedBundle } from '../../config/federated-bundle.ts';
import { messageOf, RenewalError } from '../../errors.ts';
import type { WatchFiles } from '../../file-watch.ts';
import { followFiles } from '../../file-watch.ts';
import type { BundleTexts, Federation } from '../../identity/federation.ts';
import type { Identity } from '../../identity/identity.ts';
import { makeIdentity } from '../../identity/identity.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import type { TrustBundles } from '../../identity/trust-bundle.ts';
import { TrustBundleError } from '../../identity/trust-bundle.ts';
import type { ReadFile } from '../patient-reader.ts';
import { createPatientReader } from '../patient-reader.ts';
import { federateBundles, isSameBundles } from './bundles.ts';
import { createIdentityPublisher, currentOf, firstOf } from './publisher.ts';
import type { RevocationSource } from './revoked.ts';
import { guardAgainstRevocation } from './revoked.ts';
import type { IdentitySource, RenewalObserver, RenewalState } from './source.ts';

export interface FileIdentityParts {
  readonly clock: Clock;
  readonly revocations: RevocationSource;
  readonly observer: RenewalObserver;
  readonly watch?: WatchFiles;
  /** Reads the bundles of other trust domains. Default: a reader that gives up what hangs. */
  readonly readOfOthers?: ReadFile;
}

export interface FileIdentitySettings {
  readonly trustDomain: string;
  readonly expected: SpiffeId | undefined;
  /** PEM, leaf first. */
  readonly certificateFile: string;
  /** PEM. */
  readonly keyFile: string;
  /** Roots of the trust domain, PEM or a SPIFFE bundle document. */
  readonly bundleFile: string;
  /** Those of other trust domains, in either form. */
  readonly federatedBundles: readonly FederatedBundle[];
  readonly pollIntervalMs: number;
}

const maxFileBytes = 1024 * 1024;

/** What the files held at one moment. */
interface Content {
  readonly digest: string;
  readonly chainPem: string;
  readonly keyPem: Buffer;
  readonly bundle: string;
  readonly federated: BundleTexts;
}

/**
 * An identity in three files that something else replaces, and the bundles of other trust domains. Waits for the first
 * usable ones until the signal is aborted. Half-written files, or a certificate and a key of different generations, keep the
 * identity in use; they are looked at again when a file changes and at each poll. Later on a bundle of another trust domain
 * that cannot be used keeps that of its own in use, and nothing else: it must not stand in the way of a renewal.
 */
export async function startFileIdentity(
  parts: FileIdentityParts,
  settings: FileIdentitySettings,
  signal: AbortSignal,
): Promise<IdentitySource> {
  const { clock, revocations, observer, watch, readOfOthers = createPatientReader(clock, maxFileBytes) } = parts;
  signal.throwIfAborted();
  const { certificateFile, keyFile, bundleFile, federatedBundles, pollIntervalMs } = settings;
  const publisher = createIdentityPublisher();
  const first = Promise.withResolvers<void>();
  // It may be rejected before anybody waits for it.
  first.promise.catch(() => undefined);
  let usedDigest: string | undefined;
  /** What was published last by the files; what is in use may have been ended early. */
  let verified: Identity | undefined;
  let federated: Federation['federated'] = new Map();
  /** By trust domain what was told last. */
  let refusals: ReadonlyMap<string, string> = new Map();
  let lastFailure: (RenewalState['lastFailure'] & { readonly digest: string }) | undefined;

  const fail = (error: RenewalError, digest: string) => {
    const isKnown = lastFailure?.digest === digest && lastFailure.reason === error.reason;
    lastFailure = { reason: error.reason, message: error.message, atMs: clock.now(), digest };
    // Files that stay wrong are told of once, not at each poll.
    if (!isKnown) observer.renewalFailed(error.reason, error, pollIntervalMs);
  };

  const look = async () => {
    let digest = '';
    try {
      const content = await readContent(settings, readOfOthers);
      digest = content.digest;
      if (digest === usedDigest) {
        lastFailure = undefined;
        return;
      }
      const federation = bundlesOf(content, settings, federated);
      const refused = refusedBy(federation, settings);
      const inUse = publisher.current();
      const [atStart] = refused.values();
      if (inUse === undefined && atStart !== undefined) throw atStart;
      const identity = identityOf(content, settings, federation.bundles, publisher.nextGeneration(), clock.now());
      guard.refuse(identity);
      usedDigest = digest;
      lastFailure = undefined;
      federated = federation.federated;
      for (const [domain, error] of refused) if (refusals.get(domain) !== error.message) observer.bundlesRefused(error);
      refusals = new Map([...refused].map(([domain, { message }]) => [domain, message]));
      if (inUse !== undefined && isSame(inUse, identity)) return;
      publisher.publish(identity);
      verified = identity;
      guard.watch(identity);
      observer.renewed(identity, undefined);
      first.resolve();
    } catch (error) {
      if (!(error instanceof RenewalError)) throw error;
      fail(error, digest);
    }
  };

  const guard = guardAgainstRevocation({ clock, revocations, observer }, (change) => {
    if (change !== 'none' && verified !== undefined)
      publisher.publish(guard.apply({ ...verified, generation: publisher.nextGeneration() }));
  });
  const following = followFiles(
    { clock, watch },
    { paths: [certificateFile, keyFile, bundleFile, ...federatedBundles.map(({ path }) => path)], pollIntervalMs },
    look,
  );
  const close = async (reason: unknown = new Error('The identity source is closed')) => {
    first.reject(reason);
    guard.close();
    await following.close();
  };
  await firstOf(first.promise, signal, close);

  return {
    current: () => currentOf(publisher),
    subscribe: publisher.subscribe,
    renewal: () => ({ nextAttemptMs: undefined, lastFailure: lastFailure ?? guard.failure(), clockSkewMs: undefined }),
    close,
  };
}

async function readContent(settings: FileIdentitySettings, readOfOthers: ReadFile): Promise<Content> {
  const { certificateFile, keyFile, bundleFile, federatedBundles } = settings;
  const files = [certificateFile, keyFile, bundleFile].map((path) => readBoundedFile(path, maxFileBytes));
  const [chain, key, bundle] = (await Promise.all(files).catch((error: unknown) => {
    throw new RenewalError('bad_pem', messageOf(error));
  })) as [Buffer, Buffer, Buffer];
  const federated = new Map<string, string | Error>();
  for (const { trustDomain, path } of federatedBundles) {
    const text = await readOfOthers(path).then(String, (error: Error) => error);
    federated.set(trustDomain, text);
  }
  const hash = createHash('sha256');
  for (const part of [chain, key, bundle, ...federated.values()]) {
    hash.update(
      createHash('sha256')
        .update(part instanceof Error ? part.message : part)
        .digest(),
    );
  }
  return {
    digest: hash.digest('hex'),
    chainPem: chain.toString('latin1'),
    keyPem: key,
    bundle: bundle.toString('latin1'),
    federated,
  };
}

function bundlesOf(
  { bundle, federated }: Content,
  { trustDomain, bundleFile }: FileIdentitySettings,
  inUse: Federation['federated'],
): Federation {
  return naming(bundleFile, () => federateBundles({ trustDomain, text: bundle }, inUse, federated));
}

/** By trust domain, each with the name of its file. */
function refusedBy({ refused }: Federation, { federatedBundles }: FileIdentitySettings): Map<string, RenewalError> {
  return new Map(
    federatedBundles.flatMap(({ trustDomain, path }) => {
      const error = refused.get(trustDomain);
      if (error === undefined) return [];
      return [[trustDomain, renewalErrorOf(error, path)] as const];
    }),
  );
}

/** The message of an error of the file system has the path already. */
function renewalErrorOf(error: Error, path: string): RenewalError {
  if (!(error instanceof TrustBundleError)) return new RenewalError('bad_pem', error.message, { cause: error });
  return new RenewalError(error.reason, `${path}: ${error.message}`, { cause: error });
}

/** Whether no handshake would be any different: files that change may say the same. */
function isSame(a: Identity, b: Identity): boolean {
  return a.chainPem === b.chainPem && isSameBundles(a.bundles, b.bundles);
}

function identityOf(
  { chainPem, keyPem }: Content,
  { expected, certificateFile, keyFile }: FileIdentitySettings,
  bundles: TrustBundles,
  generation: number,
  nowMs: number,
): Identity {
  const key = parseKey(keyPem, keyFile);
  const files = `${certificateFile} with ${keyFile}`;
  return naming(files, () => makeIdentity({ generation, key, chainPem, bundles, expected, nowMs }));
}

/** What is wrong with files is of use only with their names. */
function naming<T>(files: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RenewalError)) throw error;
    throw new RenewalError(error.reason, `${files}: ${error.message}`, { cause: error });
  }
}

/** What OpenSSL says of a key that it cannot read is not passed on. */
function parseKey(pem: Buffer, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new RenewalError('bad_pem', `${path} holds no private key that can be read without a password, expected PEM`);
  }
}
