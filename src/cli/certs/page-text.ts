import type { CertificatesPage, ShownCertificate, ShownPeers, ShownRoot } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import { counted, indented, liftRevocation, moment, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';

/** Names of peers that are shown of each root; the page has them all. */
export const maxPeersShown = 10;

const secondMs = 1000;

/** The page for a person, as lines of text without any control character. */
export function certificatesText(page: CertificatesPage): string[] {
  const nowMs = parseDate(page.now);
  const domains = Object.entries(page.trustBundles);
  return [
    printable(page.spiffeId),
    '',
    ...validityLines(page, nowMs),
    renewalLine(page, nowMs),
    failureLine(page, nowMs),
    ...clockLine(page),
    revocationLine(page),
    '',
    'Chain, leaf first',
    ...page.chain.flatMap((certificate) => indented(2, certificateLines(certificate))),
    `  ends in the root ${printable(page.issuedBy)}`,
    '',
    `Trust bundles; peers are counted since ${moment(page.peersSince)}`,
    ...domains.flatMap(([domain, roots]) => [
      `  ${printable(domain)}`,
      ...roots.flatMap((root) => indented(4, rootLines(root, nowMs))),
    ]),
    ...removedLines(page, nowMs),
  ];
}

function validityLines(page: CertificatesPage, nowMs: number): string[] {
  const { isExpired, endedBecause, notBefore, notAfter, chain } = page;
  const whole = `from ${moment(notBefore)} until ${moment(notAfter)}, ${between(parseDate(notBefore), parseDate(notAfter))} in all`;
  const restMs = parseDate(notAfter) - nowMs;
  if (!isExpired) return [`Valid for ${roughly(restMs)} more: ${whole}`];
  const lapsed = `LAPSED ${roughly(-restMs)} ago, and no connection is made or taken with it`;
  if (endedBecause === null) return [`${lapsed}: ${whole}`];
  const ends = chain.map((certificate) => certificate.notAfter).sort((a, b) => parseDate(a) - parseDate(b));
  return [
    `${lapsed}: ${printable(endedBecause)}`,
    `It is over since ${moment(notAfter)}, whereas its certificate lasts until ${moment(ends[0] ?? notAfter)}`,
  ];
}

function renewalLine({ nextRenewal, isRevoked }: CertificatesPage, nowMs: number): string {
  if (isRevoked) return `No renewal helps until the revocation of this identity is lifted: ${liftRevocation}`;
  if (nextRenewal === null) return 'Something else renews it; the files are watched';
  const untilMs = parseDate(nextRenewal) - nowMs;
  return untilMs > 0
    ? `Next renewal in ${roughly(untilMs)}, at ${moment(nextRenewal)}`
    : 'The next renewal is on its way';
}

function failureLine({ lastFailure }: CertificatesPage, nowMs: number): string {
  if (lastFailure === null) return 'The last renewal went well';
  const { reason, happened, remedy, message, at } = lastFailure;
  const when = `Renewal failed ${roughly(nowMs - parseDate(at))} ago (${printable(reason)})`;
  return `${when}: ${printable(happened)}. ${printable(remedy)}. ${printable(message)}`;
}

function clockLine({ clockSkewSeconds }: CertificatesPage): string[] {
  if (clockSkewSeconds === null) return [];
  const control = 'The clock of the control plane';
  const apartMs = Math.abs(clockSkewSeconds) * 1000;
  if (apartMs < secondMs) return [`${control} agrees with this one within a second`];
  return [`${control} is ${roughly(apartMs)} ${clockSkewSeconds > 0 ? 'ahead of' : 'behind'} this one`];
}

function revocationLine({ revocations: { certificates, identities, unknown } }: CertificatesPage): string {
  const counts = `${counted(certificates, 'certificate')} and ${counted(identities, 'identity', 'identities')}`;
  const revoked = certificates + identities === 0 ? 'Nobody is revoked' : `Revoked: ${counts}`;
  if (unknown === null) return revoked;
  return `NOBODY NEW IS TRUSTED: ${printable(unknown)}${certificates + identities === 0 ? '' : `; ${revoked.toLowerCase()}`}`;
}

function certificateLines({ subject, issuer, serial, notBefore, notAfter, fingerprint }: ShownCertificate): string[] {
  const lasts = between(parseDate(notBefore), parseDate(notAfter));
  return [
    `serial ${printable(serial)}`,
    `  subject ${named(subject)}, issued by ${named(issuer)}`,
    `  from ${moment(notBefore)} until ${moment(notAfter)}, ${lasts} in all`,
    `  SHA-256 ${printable(fingerprint)}`,
  ];
}

function rootLines(root: ShownRoot, nowMs: number): string[] {
  const verdict = root.mayBeRemoved ? 'May be removed' : 'Not to be removed';
  return [
    `root ${printable(root.fingerprint)}`,
    `  ${named(root.subject)}, serial ${printable(root.serial)}, from ${moment(root.notBefore)} until ${moment(root.notAfter)}`,
    `  ${verdict}: ${printable(root.removal)}`,
    ...indented(2, peerLines(root.peers, nowMs)),
  ];
}

function peerLines({ open, recent, unnamed }: ShownPeers, nowMs: number): string[] {
  if (recent.length + unnamed === 0) return [];
  return [
    `${open} ${open === 1 ? 'tunnel or direct connection' : 'tunnels and direct connections'} open; peers of the last hour:`,
    ...recent.slice(0, maxPeersShown).map(({ spiffeId, lastSeen }) => {
      const agoMs = nowMs - parseDate(lastSeen);
      return `  ${printable(spiffeId)}, ${agoMs < secondMs ? 'now' : `${roughly(agoMs)} ago`}`;
    }),
    ...othersLine(Math.max(0, recent.length - maxPeersShown), unnamed),
  ];
}

function othersLine(notShown: number, unnamed: number): string[] {
  if (notShown + unnamed === 0) return [];
  return [`  and ${unnamed > 0 ? 'up to ' : ''}${notShown + unnamed} more`];
}

function removedLines({ removedRoots }: CertificatesPage, nowMs: number): string[] {
  if (removedRoots.length === 0) return [];
  return [
    '',
    'Roots that are trusted no more',
    ...removedRoots.flatMap(({ fingerprint, peers }) => [
      `  root ${printable(fingerprint)}`,
      ...indented(4, peerLines(peers, nowMs)),
    ]),
  ];
}

const named = (name: string) => printable(name) || '(none)';

function between(fromMs: number, untilMs: number): string {
  return roughly(untilMs - fromMs);
}
