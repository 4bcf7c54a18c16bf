import type { Clock } from '../clock.ts';
import type { WatchFiles } from '../file-watch.ts';
import { followFiles } from '../file-watch.ts';
import { readCertificate } from '../identity/certificate.ts';
import { crlLimits } from '../identity/crl.ts';
import type { CrlsInForce } from '../identity/crl-lists.ts';
import { whyListed } from '../identity/crl-lists.ts';
import type { Identity } from '../identity/identity.ts';
import type { Revocations } from '../identity/revocations.ts';
import { noRevocations } from '../identity/revocations.ts';
import { createListeners } from '../listeners.ts';
import type { Log } from '../log.ts';
import type { WatchedCrlFile } from './crl-file.ts';
import { watchedCrlFile } from './crl-file.ts';
import type { ReadFile } from './patient-reader.ts';
import { createPatientReader } from './patient-reader.ts';

export interface CrlFileParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly watch?: WatchFiles;
  /** Default: one that gives up what hangs. */
  readonly readFile?: ReadFile;
}

export interface CrlFileSettings {
  readonly crlFiles: readonly string[];
  /** What a list that is missing or out of date means: whoever is not named is trusted, or nobody new is. */
  readonly staleCrl: 'accept' | 'refuse';
  readonly pollIntervalMs: number;
}

/** Revocation lists in files that something else replaces. Who may have signed them is known with the first identity. */
export interface CrlFiles {
  /** Resolves when each file was looked at once. */
  readonly read: Promise<void>;
  /** Nobody is on a list before the first identity. */
  current(): Revocations;
  /** Tells when other lists are in force. */
  subscribe(listener: () => void): () => void;
  /** Judges the lists by the roots and the chain of this identity, now and from now on. */
  judgeBy(identity: Identity): void;
  close(): Promise<void>;
}

/** Where no file is given: nothing is read, and nobody wakes up for it. */
export const noCrlFiles: CrlFiles = {
  read: Promise.resolve(),
  current: () => noRevocations,
  subscribe: () => () => undefined,
  judgeBy: () => undefined,
  close: async () => undefined,
};

/** Reads the files now, when they change, and at each poll. What cannot be used is logged once and changes nothing else. */
export function startCrlFiles(parts: CrlFileParts, settings: CrlFileSettings): CrlFiles {
  const { clock, log, watch, readFile = createPatientReader(clock, crlLimits.bytes) } = parts;
  const { crlFiles, staleCrl, pollIntervalMs } = settings;
  const files = crlFiles.map((path) => watchedCrlFile(path, readFile));
  const listeners = createListeners();
  const sayOnce = problemLines(log, staleCrl);
  let inForce: CrlsInForce = new Map();
  let identity: Identity | undefined;

  const whyUnknown = (): string | undefined => {
    const [why] = staleCrl === 'accept' ? [] : files.flatMap((file) => file.whyStale(inForce, clock.now()) ?? []);
    return why && `it is not known who is revoked: ${why}`;
  };
  const snapshot = (): Revocations => ({
    whyRevoked: whyListed(inForce),
    counts: { certificates: [...inForce.values()].reduce((sum, { crl }) => sum + crl.serials.size, 0), identities: 0 },
    get unknown() {
      return whyUnknown();
    },
  });
  let current = snapshot();

  const judge = () => {
    if (identity === undefined) return;
    const ownChain = identity.chain.map(({ raw }) => readCertificate(raw));
    const trust = { bundles: identity.bundles, ownChain, nowMs: clock.now() };
    const before = inForce;
    for (const file of files) inForce = file.putInForce(inForce, trust);
    for (const file of files) sayOnce(file, file.problem() ?? file.whyStale(inForce, clock.now()));
    if (isSame(before, inForce)) return;
    current = snapshot();
    log.info({ lists: inForce.size, revoked: current.counts.certificates }, 'Revocation lists in force');
    listeners.tell();
  };
  const read = Promise.withResolvers<void>();
  const look = async () => {
    for (const file of files) await file.read();
    judge();
    read.resolve();
  };
  const following = followFiles({ clock, watch }, { paths: crlFiles, pollIntervalMs }, look);
  return {
    read: read.promise,
    current: () => current,
    subscribe: listeners.subscribe,
    judgeBy(latest) {
      identity = latest;
      judge();
    },
    close: following.close,
  };
}

function isSame(one: CrlsInForce, other: CrlsInForce): boolean {
  return one.size === other.size && [...one].every(([key, { crl }]) => other.get(key)?.crl === crl);
}

/** A file that stays wrong is told of once, not at each look. */
function problemLines(log: Log, staleCrl: string) {
  const known = new Map<WatchedCrlFile, string | undefined>();
  return (file: WatchedCrlFile, problem: string | undefined) => {
    if (problem !== undefined && problem !== known.get(file))
      log.warn({ detail: problem, staleCrl }, 'Revocation list cannot be used, or is out of date; those in force stay');
    known.set(file, problem);
  };
}
