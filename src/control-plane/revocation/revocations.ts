import type { Clock } from '../../clock.ts';
import type { RevocationState } from '../../control-api.ts';
import { messageOf } from '../../errors.ts';
import type { TrustBundles } from '../../identity/trust-bundle.ts';
import { parseTrustBundles } from '../../identity/trust-bundle.ts';
import { createListeners } from '../../listeners.ts';
import type { Log } from '../../log.ts';
import { lookAtFiles } from '../file-looks.ts';
import { listed } from '../listed.ts';
import type { TrustBundleBook } from '../trust-bundles.ts';
import type { CrlSource, CrlState } from './crl-files.ts';
import { createCrlSource } from './crl-files.ts';
import type { RevocationList } from './list.ts';
import { emptyList, stateOf } from './list.ts';
import { readRevocationFile } from './list-file.ts';
import type { RevokedSerials } from './message.ts';
import { unionOf } from './message.ts';

/** What a missing CRL, or one whose time is over, means: nothing new is known, or nobody new may be trusted. */
export const staleCrlChoices = ['accept', 'refuse'] as const;
export type StaleCrl = (typeof staleCrlChoices)[number];

export interface RevocationSettings {
  /** The operator's list; undefined when there is none. */
  readonly revocationsFile?: string | undefined;
  readonly crlFiles: readonly string[];
  readonly staleCrl: StaleCrl;
}

/** For the metrics. */
export interface RevocationFacts {
  /** In force, those of CRLs included. */
  readonly certificates: number;
  readonly identities: number;
  /** Sidecars are told that nobody new may be trusted. */
  readonly isUnknown: boolean;
  readonly crls: readonly {
    readonly file: string;
    readonly nextUpdateMs: number | undefined;
    readonly isStale: boolean;
  }[];
}

/** Everything that is revoked: the operator's list and the CRLs of other authorities, always as last known. */
export interface RevocationBook {
  /** What sidecars are told; another object when it has changed. */
  current(): RevocationState;
  isIdentityRevoked(spiffeId: string): boolean;
  /** When the operator's list says that it was, RFC 3339; undefined for an identity that is not on it. */
  revokedAt(spiffeId: string): string | undefined;
  facts(): RevocationFacts;
  /** The file of a CRL that is good now and would not be without this root, where sidecars trust nobody new then. */
  crlUnder(rootFingerprint: string): string | undefined;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  close(): Promise<void>;
}

export interface RevocationParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly lookAt?: typeof lookAtFiles;
  /** The roots that this control plane publishes: they decide whose CRLs count. */
  readonly bundles: Pick<TrustBundleBook, 'current' | 'subscribe'>;
}

/**
 * Reads the files, and again when they change. Throws `ConfigurationError` for a file that is there and cannot be used; later
 * such a file is logged once, and what was known stays in force.
 */
export async function openRevocations(parts: RevocationParts, settings: RevocationSettings): Promise<RevocationBook> {
  const { clock, log, lookAt = lookAtFiles } = parts;
  const { revocationsFile, crlFiles, staleCrl } = settings;
  const listeners = createListeners();
  const sayOnce = onceFor();
  const bundles = parsedOnce(parts.bundles.current);
  const sources = crlFiles.map(createCrlSource);
  let list = emptyList;
  let inForce: InForce = { list, revoked: [], unknown: undefined, state: stateOf(list) };
  let states: readonly CrlState[] = [];

  const readList = async () => {
    if (revocationsFile === undefined) return;
    const latest = await readRevocationFile(revocationsFile);
    if (latest === undefined && list !== emptyList)
      throw new Error(`${revocationsFile} is gone, expected one without entries where nothing is revoked any more`);
    if (latest !== undefined && !isEqual(latest, list)) {
      const changes = { ...listed('revoked', notIn(list, latest)), ...listed('lifted', notIn(latest, list)) };
      list = latest;
      const counts = { certificates: list.certificates.size, identities: list.identities.size };
      log.info({ path: revocationsFile, ...counts, ...changes }, 'Revocations read');
    }
    sayOnce(revocationsFile, undefined);
  };
  const judge = () => {
    states = sources.map((source) => source.judge(bundles(), clock.now()));
    for (const [index, { problem }] of states.entries())
      if (sayOnce(`crl ${index}`, problem))
        log.error(
          { path: crlFiles[index], why: problem, staleCrl },
          'A CRL is not up to date, what is known of it stays',
        );
    const latest = inForceOf(list, sources, unknownOf(states, staleCrl), inForce);
    if (latest === inForce) return;
    if (latest.state.unknown !== inForce.state.unknown && latest.state.unknown !== undefined)
      log.error({ why: latest.state.unknown }, 'Sidecars trust nobody new');
    inForce = latest;
    listeners.tell();
  };
  const look = async () => {
    await readList().catch((error: unknown) => {
      const why = messageOf(error);
      if (sayOnce(revocationsFile ?? '', why))
        log.error({ path: revocationsFile, why }, 'The revocations cannot be read, those in force stay');
    });
    for (const source of sources) await source.read().catch(() => undefined);
    judge();
  };

  await readList();
  if (revocationsFile !== undefined && list === emptyList)
    log.info({ path: revocationsFile }, 'Nothing is revoked: the file is empty or not there');
  for (const source of sources) await source.read();
  judge();
  const files = [...(revocationsFile === undefined ? [] : [revocationsFile]), ...crlFiles];
  const looks = files.length === 0 ? undefined : lookAt(parts, files, look);
  const stopListening = parts.bundles.subscribe(judge);
  return {
    current: () => inForce.state,
    isIdentityRevoked: (spiffeId) => list.identities.has(spiffeId),
    revokedAt: (spiffeId) => list.identities.get(spiffeId)?.when,
    facts: () => ({
      certificates: inForce.state.certificates.reduce((sum, { serials }) => sum + serials.length, 0),
      identities: inForce.state.identities.length,
      isUnknown: inForce.state.unknown !== undefined,
      crls: states.map(({ nextUpdateMs, problem }, index) => ({
        file: crlFiles[index] ?? '',
        nextUpdateMs,
        isStale: problem !== undefined,
      })),
    }),
    crlUnder(rootFingerprint) {
      if (staleCrl === 'accept') return undefined;
      const [before, after] = [bundles(), withoutRoot(bundles(), rootFingerprint)];
      const nowMs = clock.now();
      return sources.find((one) => one.isGoodBy(before, nowMs) && !one.isGoodBy(after, nowMs))?.path;
    },
    subscribe: listeners.subscribe,
    async close() {
      stopListening();
      await looks?.close();
    },
  };
}

/** What sidecars are told, with what it was made of. */
interface InForce {
  readonly list: RevocationList;
  readonly revoked: readonly (readonly RevokedSerials[])[];
  readonly unknown: string | undefined;
  readonly state: RevocationState;
}

/** `before` when nothing has changed: to put it together again costs time when there is much. */
function inForceOf(
  list: RevocationList,
  sources: readonly CrlSource[],
  unknown: string | undefined,
  before: InForce,
): InForce {
  const revoked = sources.map((source) => source.revoked);
  const isSame =
    revoked.length === before.revoked.length && revoked.every((one, index) => one === before.revoked[index]);
  if (isSame && list === before.list && unknown === before.unknown) return before;
  return { list, revoked, unknown, state: unionOf(stateOf(list), revoked.flat(), unknown) };
}

function unknownOf(states: readonly CrlState[], staleCrl: StaleCrl): string | undefined {
  if (staleCrl === 'accept') return undefined;
  const outdated = states.find(({ isOutdated }) => isOutdated);
  return outdated && `a CRL of the control plane is missing or out of date (${outdated.problem})`;
}

function withoutRoot({ domains }: TrustBundles, fingerprint: string): TrustBundles {
  const rest = [...domains].map(
    ([domain, roots]) => [domain, roots.filter((one) => one.fingerprint !== fingerprint)] as const,
  );
  return { domains: new Map(rest) };
}

/** What `other` revokes and `one` does not: SPIFFE IDs, and certificates by their serials. */
function notIn(one: RevocationList, other: RevocationList): string[] {
  const serials = [...other.certificates.keys()].filter((serial) => !one.certificates.has(serial));
  const identities = [...other.identities.keys()].filter((spiffeId) => !one.identities.has(spiffeId));
  return [...identities, ...serials.map((serial) => `serial ${serial}`)];
}

function isEqual(one: RevocationList, other: RevocationList): boolean {
  const textOf = ({ certificates, identities }: RevocationList) => JSON.stringify([[...certificates], [...identities]]);
  return textOf(one) === textOf(other);
}

/** Whether a problem of a thing is another one than the last time; undefined is none. */
function onceFor(): (thing: string, problem: string | undefined) => boolean {
  const last = new Map<string, string | undefined>();
  return (thing, problem) => {
    const isNew = problem !== undefined && last.get(thing) !== problem;
    last.set(thing, problem);
    return isNew;
  };
}

function parsedOnce(current: TrustBundleBook['current']): () => TrustBundles {
  let pem: ReturnType<typeof current> | undefined;
  let parsed: TrustBundles | undefined;
  return () => {
    const latest = current();
    if (parsed === undefined || latest !== pem) parsed = parseTrustBundles(latest);
    pem = latest;
    return parsed;
  };
}
