import type { KeyObject } from 'node:crypto';
import { createPublicKey, sign } from 'node:crypto';
import { bitString, commonName, context, integer, oid, pem, sequence } from './der-writer.ts';

const signatureOids = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  ecdsaWithSha1: '1.2.840.10045.4.1',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  ed25519: '1.3.101.112',
} as const;

export interface ForgedCsr {
  /** The key in the request. */
  readonly key: KeyObject;
  /** The key that signs; the one in the request unless given. */
  readonly signer?: KeyObject;
  /** What the request says of its signature. */
  readonly signature?: keyof typeof signatureOids;
  /** The hash that is used for it. */
  readonly hash?: string | null;
  readonly version?: number;
  /** The whole of the attributes, tag included. */
  readonly attributes?: Uint8Array;
}

/** A PKCS#10 request in DER that claims to be `CN=admin`, put together from any parts. */
export function forgeCsr(parts: ForgedCsr): Buffer {
  const { key, signer = key, signature = 'ecdsaWithSha256', hash = 'sha256' } = parts;
  const info = sequence(
    integer(parts.version ?? 0),
    commonName('admin'),
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    parts.attributes ?? context(0, true),
  );
  return sequence(info, sequence(oid(signatureOids[signature])), bitString(sign(hash, info, signer)));
}

export function csrPem(bytes: Uint8Array, label = 'CERTIFICATE REQUEST'): string {
  return pem(label, bytes);
}
