import { readBoundedFile } from '../../bounded-file.ts';
import { timestamp } from '../../clock.ts';
import { ConfigurationError, codeOf, messageOf } from '../../errors.ts';
import type { Certificate } from '../../identity/certificate.ts';
import type { Crl, CrlFile } from '../../identity/crl.ts';
import { crlLimits, readCrlFile } from '../../identity/crl.ts';
import type { RevokedSerials } from '../../identity/revocations.ts';
import type { TrustBundles } from '../../identity/trust-bundle.ts';

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
  /** What is in force, by its issuers; another object when it has changed. */
  readonly revoked: readonly RevokedSerials[];
}

export function createCrlSource(path: string): CrlSource {
  const accepted = new Map<string, Crl>();
  let revoked: readonly RevokedSerials[] = [];
  let bytes: Buffer | undefined;
  let content: CrlFile = { crls: [], certificates: [] };
  let readProblem: string | undefined;
  let judged:
    | { readonly content: CrlFile; readonly bundles: TrustBundles; readonly problem: string | undefined }
    | undefined;

  /** Signatures are verified again when the file or the roots have changed. */
  const judgeContent = (bundles: TrustBundles): string | undefined => {
    if (judged?.content === content && judged.bundles === bundles) return judged.problem;
    const [problem] = take(content, accepted, bundles);
    judged = { content, bundles, problem };
    revoked = [...accepted.values()].map(({ issuer, serials }) => ({ issuer, serials: [...serials] }));
    return problem;
  };
  return {
    path,
    get revoked() {
      return revoked;
    },
    async read() {
      try {
        const latest = await readBoundedFile(path, crlLimits.bytes);
        if (bytes?.equals(latest) === true && readProblem === undefined) return;
        content = readCrlFile(latest);
        bytes = latest;
        readProblem = undefined;
      } catch (error) {
        readProblem = messageOf(error).replace(`${path} `, 'it ');
        if (codeOf(error) !== 'ENOENT') throw new ConfigurationError(`${path}: ${readProblem}`, { cause: error });
      }
    },
    judge(bundles, nowMs) {
      const contentProblem = judgeContent(bundles);
      const ends = [...accepted.values()].flatMap(({ nextUpdateMs }) => nextUpdateMs ?? []);
      const nextUpdateMs = ends.length === 0 ? undefined : Math.min(...ends);
      const isOver = nextUpdateMs !== undefined && nextUpdateMs <= nowMs;
      const overdue = isOver ? `a newer CRL was due at ${timestamp(nextUpdateMs)}` : undefined;
      const problem = readProblem ?? contentProblem ?? overdue;
      const isKnown = accepted.size > 0 && content.crls.every((crl) => accepted.has(keyOf(crl)));
      return { nextUpdateMs, problem: problem && `${path}: ${problem}`, isOutdated: isOver || !isKnown };
    },
  };
}

function keyOf({ issuer, distributionPoint }: Crl): string {
  return `${issuer} ${distributionPoint}`;
}

/** Takes into force what an authority of the bundles has signed and is not older than what is; says what was not. */
function take({ crls, certificates }: CrlFile, accepted: Map<string, Crl>, bundles: TrustBundles): string[] {
  const authorities = authoritiesOf(certificates, bundles);
  return crls.flatMap((crl, index) => {
    if (!authorities.some((authority) => crl.isSignedBy(authority)))
      return `CRL ${index + 1} is signed by no authority whose root this control plane publishes`;
    const known = accepted.get(keyOf(crl));
    if (known !== undefined && isOlder(crl, known))
      return `CRL ${index + 1} of ${timestamp(crl.thisUpdateMs)} is older than the one of ${timestamp(known.thisUpdateMs)} that is in force`;
    accepted.set(keyOf(crl), crl);
    return [];
  });
}

function isOlder(crl: Crl, known: Crl): boolean {
  if (crl.number !== undefined && known.number !== undefined && crl.number !== known.number)
    return crl.number < known.number;
  return crl.thisUpdateMs < known.thisUpdateMs;
}

/** The roots, and of the certificates beside the CRLs those that lead to a root. Dates are no question: a CRL has its own. */
function authoritiesOf(certificates: readonly Certificate[], { domains }: TrustBundles): readonly Certificate[] {
  const trusted = [...domains.values()].flat().map(({ facts }) => facts);
  const rest = new Set(certificates.filter((one) => one.isAuthority && one.keyUsage?.keyCertSign !== false));
  for (let isGrowing = true; isGrowing; ) {
    isGrowing = false;
    for (const one of rest) {
      if (one.weakSignature !== undefined) rest.delete(one);
      else if (trusted.some((issuer) => issuer.subject === one.issuer && one.isSignedBy(issuer))) {
        trusted.push(one);
        isGrowing = rest.delete(one);
      }
    }
  }
  return trusted;
}
