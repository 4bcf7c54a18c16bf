import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { readBoundedFile } from '../bounded-file.ts';
import type { Clock } from '../clock.ts';
import type { FederatedBundle } from '../config/federated-bundle.ts';
import { maxReplyBytes } from '../control-api.ts';
import { ConfigurationError, codeOf } from '../errors.ts';
import type { WatchFiles } from '../file-watch.ts';
import type { BundleTexts, Federation } from '../identity/federation.ts';
import { federate } from '../identity/federation.ts';
import type { BundleLimits, TrustAnchor } from '../identity/trust-bundle.ts';
import { bundleLimits, parseTrustBundle, TrustBundleError } from '../identity/trust-bundle.ts';
import { createListeners } from '../listeners.ts';
import type { Log } from '../log.ts';
import type { Authority } from './authority.ts';
import { octal } from './authority-files.ts';
import { fileLookTimesMs, lookAtFiles } from './file-looks.ts';

/** What sidecars are to trust: the roots of our own trust domain and of the federated ones. */
export interface TrustBundleBook {
  /** PEM by trust domain; the same object until something changes. */
  current(): Readonly<Record<string, string>>;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  close(): Promise<void>;
}

export interface TrustBundleParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly authority: Pick<Authority, 'trustDomain' | 'rootPem' | 'subscribe'>;
  readonly watch?: WatchFiles;
}

/** All of them have to fit into one line of a stream, where a line feed is two characters, and into a reply beside a chain. */
export const pushedBundleLimits: BundleLimits = { ...bundleLimits, characters: (maxReplyBytes * 3) / 4 };

/**
 * Reads the bundles of other trust domains, and again when they change. One that is bad is logged once and keeps the last
 * good one of its trust domain; one whose file is gone for as long as a poll is trusted no more, since a file that is being
 * replaced is there again by then. Throws `ConfigurationError` with every problem when one is bad from the beginning.
 */
export async function openTrustBundles(
  { clock, log, authority, watch }: TrustBundleParts,
  files: readonly FederatedBundle[],
): Promise<TrustBundleBook> {
  const listeners = createListeners();
  const goneSinceMs = new Map<string, number>();
  let texts = new Map<string, string | Error>();
  for (const { trustDomain, path } of files) texts.set(trustDomain, await readText(path));
  let federation = federateWith(authority, new Map(), texts);
  const problems = files.flatMap(({ trustDomain, path }) => {
    const problem = problemOf(path, federation.refused.get(trustDomain));
    return problem === undefined ? [] : [`--trust-bundle=${trustDomain}=${problem}`];
  });
  if (problems.length > 0) throw new ConfigurationError(problems);
  let pem = pemOf(federation);
  report(log, files, federation);

  const update = () => {
    const before = federation;
    federation = federateWith(authority, before.federated, texts);
    report(log, files, federation, before);
    const latest = pemOf(federation);
    if (isDeepStrictEqual(latest, pem)) return;
    pem = latest;
    listeners.tell();
  };
  /** The text of before while a file has only just gone. */
  const lately = (trustDomain: string) => {
    const sinceMs = goneSinceMs.get(trustDomain) ?? clock.monotonic();
    goneSinceMs.set(trustDomain, sinceMs);
    return clock.monotonic() - sinceMs < fileLookTimesMs.poll ? texts.get(trustDomain) : undefined;
  };
  const look = async () => {
    const latest: typeof texts = new Map();
    for (const { trustDomain, path } of files) {
      const isGone = await isMissing(path);
      if (!isGone) goneSinceMs.delete(trustDomain);
      const text = isGone ? lately(trustDomain) : await readText(path);
      if (text !== undefined) latest.set(trustDomain, text);
    }
    texts = latest;
    update();
  };

  const stopListening = authority.subscribe(update);
  const looks = lookAtFiles(
    { clock, watch },
    files.map(({ path }) => path),
    look,
  );
  return {
    current: () => pem,
    subscribe: listeners.subscribe,
    close() {
      stopListening();
      return looks.close();
    },
  };
}

async function isMissing(path: string): Promise<boolean> {
  return stat(path).then(
    () => false,
    (error: unknown) => codeOf(error) === 'ENOENT',
  );
}

/** Who can write it decides whom all sidecars trust. */
function readText(path: string): Promise<string | Error> {
  const refusal = ({ mode }: { readonly mode: number }) =>
    (mode & 0o002) === 0 ? undefined : `can be written by everybody (mode ${octal(mode)})`;
  return readBoundedFile(path, bundleLimits.characters, refusal).then(String, (error: Error) => error);
}

function federateWith(
  { trustDomain, rootPem }: TrustBundleParts['authority'],
  inUse: Federation['federated'],
  texts: BundleTexts,
): Federation {
  const own = new Map([[trustDomain, parseTrustBundle(trustDomain, rootPem)]]);
  return federate(own, inUse, texts, pushedBundleLimits);
}

function pemOf({ bundles }: Federation): Record<string, string> {
  return Object.fromEntries(
    [...bundles.domains].map(([domain, roots]) => [domain, roots.map(({ pem }) => pem).join('')]),
  );
}

/** Errors of the file system begin with the path. */
function problemOf(path: string, refusal: Error | undefined): string | undefined {
  return refusal instanceof TrustBundleError ? `${path}: ${refusal.message}` : refusal?.message;
}

/** What has changed since `before`; absent at the start. */
function report(log: Log, files: readonly FederatedBundle[], now: Federation, before?: Federation): void {
  for (const { trustDomain, path } of files) {
    const why = problemOf(path, now.refused.get(trustDomain));
    if (why !== undefined && why !== problemOf(path, before?.refused.get(trustDomain)))
      log.error({ trustDomain, why }, 'A trust bundle cannot be used, the last good one stays');
    const [roots, oldRoots] = [now, before].map((one) => fingerprintsOf(one?.federated.get(trustDomain)));
    if (before !== undefined && isDeepStrictEqual(roots, oldRoots)) continue;
    if (roots !== undefined) log.info({ trustDomain, path, roots }, 'Trust bundle read');
    else log.warn({ trustDomain, path }, 'A trust domain is not trusted, there is no root in its bundle');
  }
}

function fingerprintsOf(roots: readonly TrustAnchor[] | undefined): readonly string[] | undefined {
  return roots?.map(({ fingerprint }) => fingerprint);
}
