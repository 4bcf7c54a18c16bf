import type { KeyObject } from 'node:crypto';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import asn1 from 'node-forge/lib/asn1.js';
import type { SpiffeId } from './spiffe-id.ts';

const { Class, Type } = asn1;
const oids = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  extensionRequest: '1.2.840.113549.1.9.14',
  subjectAltName: '2.5.29.17',
} as const;
/** GeneralName's `uniformResourceIdentifier` (RFC 5280 §4.2.1.6). */
const uriName = 6;

type Asn1 = ReturnType<typeof asn1.create>;
type Bytes = string;

/** A new ECDSA P-256 private key; it lives in this process only. */
export function createKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/**
 * A certificate signing request (PKCS#10, RFC 2986) in PEM, signed ecdsa-with-SHA256, with an empty subject and exactly
 * one subject alternative name: the ID as a URI. `key` is a P-256 private key.
 */
export function createCsr(key: KeyObject, spiffeId: SpiffeId): string {
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const info = sequence(
    primitive(Type.INTEGER, '\0'),
    sequence(),
    asn1.fromDer(publicKey.toString('latin1')),
    asn1.create(Class.CONTEXT_SPECIFIC, 0, true, [
      attribute(oids.extensionRequest, sequence(subjectAltName(spiffeId))),
    ]),
  );
  const signature = sign('sha256', Buffer.from(encode(info), 'latin1'), key).toString('latin1');
  const request = sequence(info, sequence(oid(oids.ecdsaWithSha256)), primitive(Type.BITSTRING, `\0${signature}`));
  return pem(Buffer.from(encode(request), 'latin1'));
}

function subjectAltName(spiffeId: SpiffeId): Asn1 {
  const names = sequence(asn1.create(Class.CONTEXT_SPECIFIC, uriName as never, false, spiffeId.uri));
  // Critical, because the subject is empty (RFC 5280 §4.2.1.6).
  return sequence(
    oid(oids.subjectAltName),
    primitive(Type.BOOLEAN, '\xff'),
    primitive(Type.OCTETSTRING, encode(names)),
  );
}

function attribute(type: string, value: Asn1): Asn1 {
  return sequence(oid(type), asn1.create(Class.UNIVERSAL, Type.SET, true, [value]));
}

function sequence(...values: Asn1[]): Asn1 {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, values);
}

function primitive(type: Parameters<typeof asn1.create>[1], bytes: Bytes): Asn1 {
  return asn1.create(Class.UNIVERSAL, type, false, bytes);
}

function oid(text: string): Asn1 {
  return primitive(Type.OID, asn1.oidToDer(text).getBytes());
}

function encode(value: Asn1): Bytes {
  return asn1.toDer(value).getBytes();
}

function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`;
}
