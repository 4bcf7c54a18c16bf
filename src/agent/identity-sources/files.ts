import type { KeyObject } from 'node:crypto';
import { createHash, createPrivateKey } from 'node:crypto';
import { readBoundedFile } from '../../bounded-file.ts';
import type { Clock } from '../../clock.ts';
import { messageOf, RenewalError } from '../../errors.ts';
import type { WatchFiles } from '../../file-watch.ts';
import { watchFiles } from '../../file-watch.ts';
import type { Identity } from '../../identity/identity.ts';
import { makeIdentity } from '../../identity/identity.ts';
import type { SpiffeId } from '../../identity/spiffe-id.ts';
import { parseBundles } from './bundles.ts';
import { createIdentityPublisher, currentOf, firstOf } from './publisher.ts';
import type { IdentitySource, RenewalObserver, RenewalState } from './source.ts';

export interface FileIdentityParts {
  readonly clock: Clock;
  readonly observer: RenewalObserver;
  readonly watch?: WatchFiles;
}

export interface FileIdentitySettings {
  readonly trustDomain: string;
  readonly expected: SpiffeId | undefined;
  /** PEM, leaf first. */
  readonly certificateFile: string;
  /** PEM. */
  readonly keyFile: string;
  /** PEM roots of the trust domain. */
  readonly bundleFile: string;
  readonly pollIntervalMs: number;
}

const maxFileBytes = 1024 * 1024;
/** Whoever replaces three files makes several events; milliseconds. */
const settleMs = 200;

/** What the three files held at one moment. */
interface Content {
  readonly digest: string;
  readonly chainPem: string;
  readonly keyPem: Buffer;
  readonly bundlePem: string;
}

/**
 * An identity in three files that something else replaces. Waits for the first usable one until the signal is aborted.
 * Half-written files, or a certificate and a key of different generations, keep the identity in use; they are looked at
 * again when a file changes and at each poll.
 */
export async function startFileIdentity(
  { clock, observer, watch = watchFiles }: FileIdentityParts,
  settings: FileIdentitySettings,
  signal: AbortSignal,
): Promise<IdentitySource> {
  signal.throwIfAborted();
  const { certificateFile, keyFile, bundleFile, pollIntervalMs } = settings;
  const stopping = new AbortController();
  const publisher = createIdentityPublisher();
  const first = Promise.withResolvers<void>();
  // It may be rejected before anybody waits for it.
  first.promise.catch(() => undefined);
  let usedDigest: string | undefined;
  let lastFailure: (RenewalState['lastFailure'] & { readonly digest: string }) | undefined;
  /** Also set while the files are being read: what was read may be old then. */
  let hasChanged = false;
  let wake: () => void = () => undefined;

  const fail = (error: RenewalError, digest: string) => {
    const isKnown = lastFailure?.digest === digest && lastFailure.reason === error.reason;
    lastFailure = { reason: error.reason, message: error.message, atMs: clock.now(), digest };
    // Files that stay wrong are told of once, not at each poll.
    if (!isKnown) observer.renewalFailed(error.reason, error, pollIntervalMs);
  };

  const look = async () => {
    let digest = '';
    try {
      const content = await readContent(settings);
      digest = content.digest;
      if (digest === usedDigest) {
        lastFailure = undefined;
        return;
      }
      const identity = identityOf(content, settings, publisher.nextGeneration(), clock.now());
      usedDigest = digest;
      lastFailure = undefined;
      publisher.publish(identity);
      observer.renewed(identity, undefined);
      first.resolve();
    } catch (error) {
      if (!(error instanceof RenewalError)) throw error;
      fail(error, digest);
    }
  };

  const untilNextLook = async () => {
    if (!hasChanged) {
      const changed = new AbortController();
      wake = () => changed.abort();
      const awake = AbortSignal.any([changed.signal, stopping.signal]);
      await clock.sleep(pollIntervalMs, awake).catch(() => stopping.signal.throwIfAborted());
    }
    if (hasChanged) await clock.sleep(settleMs, stopping.signal);
    hasChanged = false;
  };

  const run = async () => {
    for (;;) {
      await look();
      await untilNextLook();
    }
  };

  const stopWatching = watch([certificateFile, keyFile, bundleFile], () => {
    hasChanged = true;
    wake();
  });
  const running = run().catch((error: unknown) => {
    first.reject(error);
    if (!stopping.signal.aborted) throw error;
  });
  const close = async (reason: unknown = new Error('The identity source is closed')) => {
    stopping.abort(reason);
    stopWatching();
    await running;
  };
  await firstOf(first.promise, signal, close);

  return {
    current: () => currentOf(publisher),
    subscribe: publisher.subscribe,
    renewal: () => ({ nextAttemptMs: undefined, lastFailure, clockSkewMs: undefined }),
    close,
  };
}

async function readContent({ certificateFile, keyFile, bundleFile }: FileIdentitySettings): Promise<Content> {
  const files = [certificateFile, keyFile, bundleFile].map((path) => readBoundedFile(path, maxFileBytes));
  const [chain, key, bundle] = (await Promise.all(files).catch((error: unknown) => {
    throw new RenewalError('bad_pem', messageOf(error));
  })) as [Buffer, Buffer, Buffer];
  const hash = createHash('sha256');
  for (const part of [chain, key, bundle]) hash.update(createHash('sha256').update(part).digest());
  return {
    digest: hash.digest('hex'),
    chainPem: chain.toString('latin1'),
    keyPem: key,
    bundlePem: bundle.toString('latin1'),
  };
}

function identityOf(content: Content, settings: FileIdentitySettings, generation: number, nowMs: number): Identity {
  const { trustDomain, expected, certificateFile, keyFile, bundleFile } = settings;
  const { chainPem, keyPem, bundlePem } = content;
  const key = parseKey(keyPem, keyFile);
  const bundles = naming(bundleFile, () => parseBundles({ [trustDomain]: bundlePem }, trustDomain));
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
