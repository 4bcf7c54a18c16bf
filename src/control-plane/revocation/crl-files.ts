import { readBoundedFile } from '../../bounded-file.ts';
import { timestamp } from '../../clock.ts';
import { ConfigurationError, codeOf, messageOf } from '../../errors.ts';
import type { CrlFile } from '../../identity/crl.ts';
import { crlLimits, readCrlFile } from '../../identity/crl.ts';
import type { CrlsInForce, CrlsTaken } from '../../identity/crl-lists.ts';
import { takeCrls } from '../../identity/crl-lists.ts';
import type { TrustBundles } from '../../identity/trust-bundle.ts';
import type { RevokedSerials } from './message.ts';

/** What the CRLs of one file are worth at one moment. */
export interface CrlState {
  /** The first end of those that are in force; undefined without any, or when none has an end. */
  readonly nextUpdateMs: number | undefined;
  /** One sentence why what is in force is not what its issuer says now; undefined when it is. */
  readonly problem: string | undefined;
  /** Nothing is in force, or something whose time is over. */
  readonly isOutdated: boolean;
}

/** The CRLs of one file: always the last that could be used. */
export interface CrlSource {
  readonly path: string;
  /** Reads the file again; rejects with `ConfigurationError` when it is there and cannot be used, and keeps what was read before. */
  read(): Promise<void>;
  /** Judges what was read last by these roots and at this time, and takes into force what is good. */
  judge(bundles: TrustBundles, nowMs: number): CrlState;
  /** Whether what was read last is good by these roots. Takes nothing into force. */
  isGoodBy(bundles: TrustBundles, nowMs: number): boolean;
  /** What is in force, by its issuers; another object when it has changed. */
  readonly revoked: readonly RevokedSerials[];
}

export function createCrlSource(path: string): CrlSource {
  let inForce: CrlsInForce = new Map();
  let revoked: readonly RevokedSerials[] = [];
  let bytes: Buffer | undefined;
  let content: CrlFile | undefined;
  let readProblem: string | undefined;
  let judged: (CrlsTaken & { readonly content: CrlFile; readonly bundles: TrustBundles }) | undefined;

  /** Signatures are verified again when the file or the roots have changed. */
  const take = (bundles: TrustBundles, nowMs: number) => {
    if (content === undefined || (judged?.content === content && judged.bundles === bundles)) return judged;
    judged = { content, bundles, ...takeCrls(inForce, content, { bundles, ownChain: [], nowMs }) };
    ({ inForce } = judged);
    revoked = [...inForce.values()].map(({ trustDomain, crl }) => ({
      trustDomain,
      issuer: crl.issuer,
      serials: [...crl.serials],
    }));
    return judged;
  };
  return {
    path,
    get revoked() {
      return revoked;
    },
    async read() {
      try {
        const latest = await readBoundedFile(path, crlLimits.bytes);
        if (bytes?.equals(latest) !== true) content = readCrlFile(latest);
        bytes = latest;
        readProblem = undefined;
      } catch (error) {
        readProblem = messageOf(error).replace(`${path} `, 'it ');
        if (codeOf(error) !== 'ENOENT') throw new ConfigurationError(`${path}: ${readProblem}`, { cause: error });
      }
    },
    isGoodBy: (bundles, nowMs) =>
      content !== undefined && takeCrls(new Map(), content, { bundles, ownChain: [], nowMs }).keys !== undefined,
    judge(bundles, nowMs) {
      const { keys, problems = [] } = take(bundles, nowMs) ?? {};
      const nextUpdateMs = firstEnd(inForce, keys ?? [...inForce.keys()]);
      const isOver = nextUpdateMs !== undefined && nextUpdateMs <= nowMs;
      const overdue = isOver ? `a newer CRL was due at ${timestamp(nextUpdateMs)}` : undefined;
      const problem = readProblem ?? problems[0] ?? overdue;
      return { nextUpdateMs, problem: problem && `${path}: ${problem}`, isOutdated: isOver || keys === undefined };
    },
  };
}

function firstEnd(inForce: CrlsInForce, keys: readonly string[]): number | undefined {
  const ends = keys.flatMap((key) => inForce.get(key)?.crl.nextUpdateMs ?? []);
  return ends.length === 0 ? undefined : Math.min(...ends);
}
