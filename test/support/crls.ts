import { sign } from 'node:crypto';
import type { ExtensionSpec, MadeCertificate } from './certificates.ts';
import { extension, signatureAlgorithm } from './certificates.ts';
import { bitString, context, der, integer, pem, sequence, tags, time } from './der-writer.ts';

/** What a CRL should say; everything that is absent gets the value of a well-formed one. */
export interface CrlSpec {
  readonly issuer: MadeCertificate;
  /** DER of the issuer's name, when it should differ from the issuer's subject. */
  readonly issuerName?: Uint8Array;
  /** Certificates that are revoked, or serials as content bytes of an INTEGER. */
  readonly revoked?: readonly (MadeCertificate | Uint8Array)[];
  readonly thisUpdateMs?: number;
  readonly nextUpdateMs?: number | 'absent';
  readonly number?: number | 'absent';
  readonly version?: 1 | 2 | 3;
  /** Leaves out the version, and that alone. */
  readonly isVersionAbsent?: boolean;
  /** Further extensions of the list. */
  readonly extensions?: readonly ExtensionSpec[];
  /** Extensions of every entry. */
  readonly entryExtensions?: readonly ExtensionSpec[];
  /** Whose key signs, when not the issuer's. */
  readonly signer?: MadeCertificate;
  readonly digest?: 'sha1' | 'sha256' | 'sha384';
  /** The AlgorithmIdentifier inside, when it should not be that of the signature. */
  readonly innerAlgorithm?: Uint8Array;
  /** Replaces the finished list. */
  readonly mangle?: (crl: Buffer) => Buffer;
}

export interface MadeCrl {
  readonly der: Buffer;
  readonly pem: string;
}

const minuteMs = 60_000;

/** A certificate revocation list exactly as the spec says; by default a complete one of version 2 that revokes nobody for an hour. */
export function makeCrl(spec: CrlSpec): MadeCrl {
  const { issuer, revoked = [], version = 2 } = spec;
  const { key } = spec.signer ?? issuer;
  const algorithm = signatureAlgorithm(key, spec.digest ?? 'sha256');
  const extensions = version === 1 ? [] : extensionsOf(spec);
  const nextUpdateMs = spec.nextUpdateMs ?? Date.now() + 60 * minuteMs;
  const entries = revoked.map((one) => entryOf(one, spec.entryExtensions ?? []));
  const body = sequence(
    ...(version === 1 || spec.isVersionAbsent === true ? [] : [integer(version - 1)]),
    spec.innerAlgorithm ?? algorithm.identifier,
    spec.issuerName ?? issuer.subject,
    time(spec.thisUpdateMs ?? Date.now() - minuteMs),
    ...(nextUpdateMs === 'absent' ? [] : [time(nextUpdateMs)]),
    ...(entries.length === 0 ? [] : [sequence(Buffer.concat(entries))]),
    ...(extensions.length === 0 ? [] : [context(0, true, sequence(...extensions))]),
  );
  const plain = sequence(body, algorithm.identifier, bitString(sign(algorithm.digest, body, key)));
  const bytes = spec.mangle?.(plain) ?? plain;
  return { der: bytes, pem: pem('X509 CRL', bytes) };
}

function entryOf(one: MadeCertificate | Uint8Array, extensions: readonly ExtensionSpec[]): Buffer {
  const serial = one instanceof Uint8Array ? one : one.serial;
  const written = extensions.map((item) => extension(item.oid, item.critical, item.value));
  return sequence(
    der(tags.integer, serial),
    time(Date.now() - minuteMs),
    ...(written.length === 0 ? [] : [sequence(...written)]),
  );
}

function extensionsOf({ issuer, number = 1, extensions = [] }: CrlSpec): Buffer[] {
  return [
    extension('2.5.29.35', false, sequence(context(0, false, issuer.subjectKeyId))),
    ...(number === 'absent' ? [] : [extension('2.5.29.20', false, integer(number))]),
    ...extensions.map((item) => extension(item.oid, item.critical, item.value)),
  ];
}

/** An issuing distribution point (RFC 5280 §5.2.5), critical, with these fields. */
export function issuingDistributionPoint(...fields: readonly Uint8Array[]): ExtensionSpec {
  return { oid: '2.5.29.28', critical: true, value: sequence(...fields) };
}
