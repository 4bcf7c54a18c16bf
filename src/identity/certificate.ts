import { createHash, X509Certificate } from 'node:crypto';
import type { Extensions } from './certificate-extensions.ts';
import { readExtensions } from './certificate-extensions.ts';
import { weakKey, weakSignature } from './certificate-strength.ts';
import type { Der } from './der.ts';
import { contextTag, DerError, fieldsOf, hexOf, readDer, readSmallInteger, readTime, tags } from './der.ts';

/**
 * What our rules look at in a certificate, read from its DER and never from the strings that Node.js makes of it: those
 * can be made to look like anything.
 */
export interface Certificate extends Extensions {
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly fingerprint: string;
  /** Hexadecimal, upper case, as OpenSSL prints it. */
  readonly serial: string;
  /** DER of the names; two names are the same when their bytes are (RFC 5280 §4.1.2.4 has issuers copy them). */
  readonly issuer: string;
  readonly subject: string;
  /** DER of the SubjectPublicKeyInfo. */
  readonly publicKey: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Why its key is too weak to rely on; undefined when it is strong. */
  readonly weakKey: string | undefined;
  /** Why the signature on it is too weak to rely on. */
  readonly weakSignature: string | undefined;
  /** Whether the key of `issuer` made the signature on this one. */
  isSignedBy(issuer: Certificate): boolean;
  readonly x509: X509Certificate;
}

/** A certificate that is not strict DER or not X.509; the message is one sentence. */
export class CertificateError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CertificateError';
  }
}

/** Reads one certificate; throws `CertificateError`, also for bytes behind it. */
export function readCertificate(der: Uint8Array): Certificate {
  try {
    const x509 = new X509Certificate(der);
    // Node.js looks for PEM anywhere in the bytes before it takes them for DER: a name that holds a whole certificate as
    // PEM would give us that one's signature with this one's identity.
    if (!x509.raw.equals(der)) throw new DerError('it holds another certificate, or bytes follow it');
    return { ...readFields(der), x509, isSignedBy: (issuer) => isSigned(x509, issuer) };
  } catch (error) {
    if (error instanceof DerError)
      throw new CertificateError(`A certificate is not strict DER: ${error.message}`, { cause: error });
    throw new CertificateError('A certificate is not X.509', { cause: error });
  }
}

function isSigned(x509: X509Certificate, issuer: Certificate): boolean {
  try {
    return x509.verify(issuer.x509.publicKey);
  } catch {
    return false;
  }
}

function readFields(der: Uint8Array): Omit<Certificate, 'x509' | 'isSignedBy'> {
  const parts = fieldsOf(readDer(der, tags.sequence).content);
  const fields = fieldsOf(parts.next(tags.sequence).content);
  const algorithm = parts.next(tags.sequence);
  const version = readVersion(fields.optional(contextTag(0, true)));
  const serial = readSerial(fields.next(tags.integer));
  fields.next(tags.sequence);
  const issuer = hexOf(fields.next(tags.sequence).content);
  const validity = fieldsOf(fields.next(tags.sequence).content);
  const notBeforeMs = readTime(validity.any());
  const notAfterMs = readTime(validity.any());
  validity.end();
  const subject = hexOf(fields.next(tags.sequence).content);
  const publicKey = fields.next(tags.sequence).content;
  fields.optional(contextTag(1, false));
  fields.optional(contextTag(2, false));
  const extensions = fields.optional(contextTag(3, true));
  fields.end();
  if (version !== 3 && extensions !== undefined) throw new DerError('Extensions belong to version 3');
  return {
    fingerprint: createHash('sha256').update(der).digest('hex'),
    serial,
    issuer,
    subject,
    publicKey: hexOf(publicKey),
    notBeforeMs,
    notAfterMs,
    weakKey: weakKey(publicKey),
    weakSignature: weakSignature(algorithm),
    ...readExtensions(extensions?.content),
  };
}

/** [0] EXPLICIT Version, absent in version 1. */
function readVersion(field: Der | undefined): number {
  return field === undefined ? 1 : readSmallInteger(readDer(field.content, tags.integer)) + 1;
}

/** In hexadecimal, upper case. RFC 5280 §4.1.2.2: at most 20 bytes, and one more for the sign. Zero and negative ones exist and harm nobody. */
export function readSerial({ content }: Der): string {
  const magnitude = content.length > 1 && content[0] === 0 ? content.subarray(1) : content;
  if (magnitude.length === 0 || magnitude.length > 20) throw new DerError('A serial is empty or longer than 20 bytes');
  return hexOf(magnitude).toUpperCase();
}
