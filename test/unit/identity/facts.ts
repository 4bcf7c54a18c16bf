import type { X509Certificate } from 'node:crypto';
import type { Certificate } from '../../../src/identity/certificate.ts';

/** A certificate that consists of what our rules look at; keys are words, and a signature is the word of the key that made it. */
export interface Facts extends Partial<Omit<Certificate, 'isSignedBy' | 'x509' | 'publicKey'>> {
  readonly key: string;
  readonly signer: string;
}

export const now = Date.UTC(2026, 5, 1);
export const hourMs = 3_600_000;
export const bothPurposes = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'];

let made = 0;

/** A well-formed leaf for `spiffe://a/ns/n/sa/s`, or whatever the facts say. Names follow the keys unless they are given. */
export function certificate(facts: Facts): Certificate {
  made += 1;
  return {
    fingerprint: `fingerprint ${made}`,
    serial: `${made}`,
    subject: facts.key,
    issuer: facts.signer,
    notBeforeMs: now - hourMs,
    notAfterMs: now + hourMs,
    weakKey: undefined,
    weakSignature: undefined,
    isAuthority: false,
    pathLength: undefined,
    keyUsage: { digitalSignature: true, keyCertSign: false, crlSign: false },
    purposes: bothPurposes,
    uris: ['spiffe://a/ns/n/sa/s'],
    nameConstraints: undefined,
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    unknownCritical: undefined,
    ...facts,
    publicKey: facts.key,
    isSignedBy: (issuer) => issuer.publicKey === facts.signer,
    x509: undefined as unknown as X509Certificate,
  };
}

/** A well-formed authority. */
export function authority(facts: Facts): Certificate {
  return certificate({
    isAuthority: true,
    keyUsage: { digitalSignature: false, keyCertSign: true, crlSign: true },
    purposes: undefined,
    uris: [],
    ...facts,
  });
}
