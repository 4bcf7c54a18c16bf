import type { Der } from './der.ts';
import { fieldsOf, readBits, readDer, readOid, tags } from './der.ts';

/** How `node:crypto` calls what an AlgorithmIdentifier says. */
export interface SignatureAlgorithm {
  readonly keyType: 'ec' | 'rsa' | 'ed25519';
  /** Undefined where the signature is over the bytes themselves. */
  readonly digest: string | undefined;
}

/**
 * Which keys and signatures we rely on: 112 bits of security and more, as OpenSSL's security level 2 has it, and RSA keys
 * small enough that checking a signature stays cheap.
 */
const signatures: ReadonlyMap<string, SignatureAlgorithm> = new Map([
  ['1.2.840.10045.4.3.2', { keyType: 'ec', digest: 'sha256' }],
  ['1.2.840.10045.4.3.3', { keyType: 'ec', digest: 'sha384' }],
  ['1.2.840.10045.4.3.4', { keyType: 'ec', digest: 'sha512' }],
  ['1.2.840.113549.1.1.11', { keyType: 'rsa', digest: 'sha256' }],
  ['1.2.840.113549.1.1.12', { keyType: 'rsa', digest: 'sha384' }],
  ['1.2.840.113549.1.1.13', { keyType: 'rsa', digest: 'sha512' }],
  ['1.3.101.112', { keyType: 'ed25519', digest: undefined }],
]);
/** P-256, P-384 and P-521. */
const curves: ReadonlySet<string> = new Set(['1.2.840.10045.3.1.7', '1.3.132.0.34', '1.3.132.0.35']);
const keyTypes = { ec: '1.2.840.10045.2.1', rsa: '1.2.840.113549.1.1.1', ed25519: '1.3.101.112' } as const;
const rsaBits = { least: 2048, most: 8192 } as const;

/** Why the algorithm of a signature is not relied on; undefined when it is. */
export function weakSignature(algorithm: Der): string | undefined {
  return acceptedSignature(algorithm)
    ? undefined
    : `it is signed with ${oidOf(algorithm)}, which is not an accepted algorithm`;
}

/** Undefined for an algorithm that is not relied on. */
export function acceptedSignature(algorithm: Der): SignatureAlgorithm | undefined {
  return signatures.get(oidOf(algorithm));
}

function oidOf({ content }: Der): string {
  return readOid(fieldsOf(content).next(tags.oid));
}

/** Why a key, given as the content of its SubjectPublicKeyInfo, is not relied on; undefined when it is. */
export function weakKey(publicKeyInfo: Uint8Array): string | undefined {
  const fields = fieldsOf(publicKeyInfo);
  const algorithm = fieldsOf(fields.next(tags.sequence).content);
  const key = fields.next(tags.bitString);
  fields.end();
  const type = readOid(algorithm.next(tags.oid));
  switch (type) {
    case keyTypes.ec:
      return weakCurve(algorithm.any());
    case keyTypes.rsa:
      return weakModulus(readBits(key));
    case keyTypes.ed25519:
      return undefined;
    default:
      return `its key is of type ${type}, which is not an accepted one`;
  }
}

/** A curve is named; parameters written out could name any point of any curve as its generator. */
function weakCurve(parameters: Der): string | undefined {
  if (parameters.tag !== tags.oid) return 'the curve of its key is not a named one';
  const oid = readOid(parameters);
  return curves.has(oid) ? undefined : `its key is on the curve ${oid}, expected P-256, P-384 or P-521`;
}

function weakModulus(key: Uint8Array): string | undefined {
  const { content } = fieldsOf(readDer(key, tags.sequence).content).next(tags.integer);
  const bits = bitLength(content.subarray(content.findIndex((byte) => byte !== 0)));
  if (bits >= rsaBits.least && bits <= rsaBits.most) return undefined;
  return `its RSA key has ${bits} bits, expected ${rsaBits.least} to ${rsaBits.most}`;
}

function bitLength(bytes: Uint8Array): number {
  return bytes.length * 8 - Math.clz32(bytes[0] ?? 0) + 24;
}
