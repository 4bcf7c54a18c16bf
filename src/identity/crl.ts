import { verify } from 'node:crypto';
import type { Certificate } from './certificate.ts';
import { CertificateError, readCertificate } from './certificate.ts';
import type { CrlFields } from './crl-fields.ts';
import { readCrlFields } from './crl-fields.ts';
import { DerError } from './der.ts';
import { PemError, readPemBlocks } from './pem.ts';

/** A certificate revocation list (RFC 5280 §5), complete for its issuer. Nothing in it counts before `isSignedBy` said so. */
export interface Crl extends CrlFields {
  /** Whether it is the list of this authority: the same name, a key that is strong and may sign lists, and its signature. */
  isSignedBy(issuer: Certificate): boolean;
}

/** What one file holds: lists, and certificates of authorities that may have signed them. */
export interface CrlFile {
  readonly crls: readonly Crl[];
  readonly certificates: readonly Certificate[];
}

/** A list that cannot be read, or of a kind that is not supported; the message is one sentence. */
export class CrlError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CrlError';
  }
}

/** Of one file: the bytes are what the entries need in PEM, and reading so many takes a fifth of a second. */
export const crlLimits = { bytes: 4 * 1024 * 1024, lists: 100, certificates: 100, entries: 50_000 } as const;

/** The lists in PEM, one or several, or the one in DER. Throws `CrlError` unless all of them can be read. */
export function parseCrls(bytes: Uint8Array): Crl[] {
  return [...readCrlFile(bytes).crls];
}

/** The same with the certificates that stand beside the lists in PEM. Throws `CrlError`. */
export function readCrlFile(bytes: Uint8Array): CrlFile {
  if (bytes.length > crlLimits.bytes) throw tooMany(`${bytes.length} bytes`, `${crlLimits.bytes}`);
  const { lists, authorities } = isDer(bytes) ? { lists: [bytes], authorities: [] } : blocksOf(bytes);
  if (lists.length === 0) throw new CrlError('There is no CRL, expected X509 CRL blocks in PEM, or one CRL in DER');
  if (lists.length > crlLimits.lists) throw tooMany(`${lists.length} lists`, `${crlLimits.lists}`);
  if (authorities.length > crlLimits.certificates)
    throw tooMany(`${authorities.length} certificates`, `${crlLimits.certificates}`);
  let room: number = crlLimits.entries;
  const crls = lists.map((der) => {
    const crl = readCrl(der, room);
    room -= crl.serials.size;
    return crl;
  });
  return { crls, certificates: authorities.map(readAuthority) };
}

function tooMany(actual: string, most: string): CrlError {
  return new CrlError(`The CRLs have ${actual}, at most ${most} are allowed`);
}

/** A SEQUENCE of more than 127 bytes, which no text begins with. */
function isDer(bytes: Uint8Array): boolean {
  return bytes[0] === 0x30 && (bytes[1] ?? 0) >= 0x80;
}

function blocksOf(bytes: Uint8Array): { lists: Uint8Array[]; authorities: Uint8Array[] } {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  try {
    const blocks = readPemBlocks(text, ['X509 CRL', 'CERTIFICATE']);
    const withLabel = (label: string) => blocks.filter((block) => block.label === label).map(({ der }) => der);
    return { lists: withLabel('X509 CRL'), authorities: withLabel('CERTIFICATE') };
  } catch (error) {
    if (!(error instanceof PemError)) throw error;
    throw new CrlError(`The CRLs cannot be read: ${error.message}`, { cause: error });
  }
}

function readCrl(der: Uint8Array, room: number): Crl {
  try {
    const { signed, algorithm, signature, fields } = readCrlFields(der, room);
    const isSigned = (issuer: Certificate) => {
      const { x509, keyUsage, subject, weakKey } = issuer;
      if (subject !== fields.issuer || weakKey !== undefined || keyUsage?.crlSign === false) return false;
      try {
        const { publicKey } = x509;
        return (
          publicKey.asymmetricKeyType === algorithm.keyType && verify(algorithm.digest, signed, publicKey, signature)
        );
      } catch {
        // What has the form of a key need not be one, such as a point that is not on its curve.
        return false;
      }
    };
    return { ...fields, isSignedBy: isSigned };
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    throw new CrlError(`A CRL cannot be used: ${error.message}`, { cause: error });
  }
}

function readAuthority(der: Uint8Array): Certificate {
  try {
    return readCertificate(der);
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new CrlError(`A certificate beside the CRLs cannot be read: ${error.message}`, { cause: error });
  }
}
