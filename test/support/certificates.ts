import type { KeyObject } from 'node:crypto';
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import {
  bitString,
  boolean,
  commonName,
  context,
  der,
  integer,
  octetString,
  oid,
  pem,
  sequence,
  tags,
  time,
} from './der-writer.ts';

/** A name in the subject alternative name extension; `raw` is a whole GeneralName. */
export type San =
  | { readonly uri: string | Uint8Array }
  | { readonly dns: string }
  | { readonly ip: readonly number[] }
  | { readonly raw: Uint8Array };

export interface ExtensionSpec {
  readonly oid: string;
  readonly critical: boolean;
  /** DER inside of the extension's OCTET STRING. */
  readonly value: Uint8Array;
}

/** What a certificate should say; everything that is absent gets the value of a well-formed one. `'absent'` leaves an extension out. */
export interface CertificateSpec {
  readonly key?: KeyObject;
  /** Absent makes it self-signed. */
  readonly issuer?: MadeCertificate;
  /** Common name; empty makes an empty subject. */
  readonly subject?: string;
  /** The issuer's name as written into the certificate, when it should differ from the issuer's subject. */
  readonly issuerName?: Uint8Array;
  /** Content bytes of the serial's INTEGER. */
  readonly serial?: Uint8Array;
  readonly version?: 1 | 3;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly basicConstraints?: { readonly ca: boolean; readonly pathLength?: number } | 'absent';
  readonly keyUsage?: readonly KeyUsage[] | 'absent';
  readonly keyUsageCritical?: boolean;
  readonly extendedKeyUsage?: readonly string[] | 'absent';
  readonly sans?: readonly San[];
  readonly sanCritical?: boolean;
  readonly subjectKeyId?: Uint8Array | 'absent';
  readonly authorityKeyId?: Uint8Array | 'absent';
  /** Further extensions, behind the others. */
  readonly extensions?: readonly ExtensionSpec[];
  readonly digest?: 'md5' | 'sha1' | 'sha256' | 'sha384';
  /** SubjectPublicKeyInfo, when it should not be that of `key`. */
  readonly publicKey?: Uint8Array;
  /** A signature that nobody made, with its AlgorithmIdentifier. */
  readonly forged?: { readonly algorithm: Uint8Array; readonly signature: Uint8Array };
  /** Replaces the fields of the TBSCertificate before they are signed: version, serial, algorithm, issuer, validity, subject, key, extensions. */
  readonly fields?: (fields: readonly Buffer[]) => readonly Uint8Array[];
  /** Replaces the finished certificate. */
  readonly mangle?: (certificate: Buffer) => Buffer;
}

export interface MadeCertificate {
  readonly der: Buffer;
  readonly pem: string;
  readonly key: KeyObject;
  /** DER of the subject. */
  readonly subject: Buffer;
  readonly subjectKeyId: Uint8Array;
  /** Content bytes of the serial's INTEGER. */
  readonly serial: Uint8Array;
}

export const keyUsages = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
] as const;
export type KeyUsage = (typeof keyUsages)[number];

/** Purposes of extended key usage (RFC 5280 §4.2.1.12). */
export const purposes = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  any: '2.5.29.37.0',
} as const;

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

export function ecKey(namedCurve = 'P-256'): KeyObject {
  return generateKeyPairSync('ec', { namedCurve }).privateKey;
}

export function rsaKey(modulusLength = 2048): KeyObject {
  return generateKeyPairSync('rsa', { modulusLength }).privateKey;
}

export function ed25519Key(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey;
}

/** sha256WithRSAEncryption. */
export const rsaSignature = sequence(oid('1.2.840.113549.1.1.11'), der(tags.null));

/** The SubjectPublicKeyInfo of an RSA key with this modulus, for which nobody has a private key. */
export function rsaPublicKey(modulus: Uint8Array): Buffer {
  const key = sequence(der(tags.integer, Buffer.of(0), modulus), integer(65537));
  return sequence(sequence(oid('1.2.840.113549.1.1.1'), der(tags.null)), bitString(key));
}

/** The SubjectPublicKeyInfo of a P-256 key whose curve is written out in full instead of named (RFC 3279 §2.3.5). */
export function explicitCurve(key: KeyObject = ecKey()): Buffer {
  const { x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' });
  const number = (hex: string) => Buffer.from(hex, 'hex');
  const parameters = sequence(
    integer(1),
    sequence(oid('1.2.840.10045.1.1'), der(tags.integer, Buffer.of(0), number(curve.prime))),
    sequence(octetString(number(curve.a)), octetString(number(curve.b))),
    octetString(Buffer.of(4), number(curve.x), number(curve.y)),
    der(tags.integer, Buffer.of(0), number(curve.order)),
    integer(1),
  );
  const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  return sequence(sequence(oid('1.2.840.10045.2.1'), parameters), bitString(point));
}

/** P-256 (FIPS 186-4 §D.1.2.3). */
const curve = {
  prime: 'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff',
  a: 'ffffffff00000001000000000000000000000000fffffffffffffffffffffffc',
  b: '5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b',
  x: '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296',
  y: '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
  order: 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
} as const;

/** A self-signed root, or with an `issuer` an intermediate. */
export function makeAuthority(spec: CertificateSpec = {}): MadeCertificate {
  return makeCertificate({
    basicConstraints: { ca: true },
    keyUsage: ['keyCertSign', 'cRLSign'],
    extendedKeyUsage: 'absent',
    notBeforeMs: Date.now() - dayMs,
    notAfterMs: Date.now() + 365 * dayMs,
    ...spec,
  });
}

/** A certificate exactly as the spec says; by default a leaf for mutual TLS that is valid for an hour and names nobody. */
export function makeCertificate(spec: CertificateSpec = {}): MadeCertificate {
  const key = spec.key ?? ecKey();
  const issuerKey = spec.issuer?.key ?? key;
  const subject = commonName(spec.subject ?? `test ${randomBytes(4).toString('hex')}`);
  const publicKey = Buffer.from(spec.publicKey ?? createPublicKey(key).export({ type: 'spki', format: 'der' }));
  const subjectKeyId =
    spec.subjectKeyId === undefined || spec.subjectKeyId === 'absent'
      ? createHash('sha1').update(publicKey).digest()
      : spec.subjectKeyId;
  const authorityKeyId = spec.authorityKeyId ?? spec.issuer?.subjectKeyId ?? subjectKeyId;
  const serial = spec.serial ?? Buffer.concat([Buffer.of(0x4a), randomBytes(15)]);
  const algorithm = signatureAlgorithm(issuerKey, spec.digest ?? 'sha256');
  const extensions = extensionsOf(spec, subjectKeyId, authorityKeyId);
  const fields = [
    ...(spec.version === 1 ? [] : [context(0, true, integer(2))]),
    der(tags.integer, serial),
    spec.forged?.algorithm ?? algorithm.identifier,
    spec.issuerName ?? spec.issuer?.subject ?? subject,
    sequence(time(spec.notBeforeMs ?? Date.now() - minuteMs), time(spec.notAfterMs ?? Date.now() + 60 * minuteMs)),
    subject,
    publicKey,
    ...(spec.version === 1 || extensions.length === 0 ? [] : [context(3, true, sequence(...extensions))]),
  ];
  const body = sequence(...(spec.fields?.(fields.map((field) => Buffer.from(field))) ?? fields));
  const signature = spec.forged?.signature ?? sign(algorithm.digest, body, issuerKey);
  const plain = sequence(body, spec.forged?.algorithm ?? algorithm.identifier, bitString(signature));
  const bytes = spec.mangle?.(plain) ?? plain;
  return { der: bytes, pem: pem('CERTIFICATE', bytes), key, subject, subjectKeyId, serial };
}

/** The AlgorithmIdentifier of a signature by this key, and the digest as `node:crypto` calls it. */
export function signatureAlgorithm(key: KeyObject, digest: string): { identifier: Buffer; digest: string | null } {
  const isRsa = key.asymmetricKeyType === 'rsa';
  if (key.asymmetricKeyType === 'ed25519') return { identifier: sequence(oid('1.3.101.112')), digest: null };
  const oids: Readonly<Record<string, string>> = isRsa
    ? {
        md5: '1.2.840.113549.1.1.4',
        sha1: '1.2.840.113549.1.1.5',
        sha256: '1.2.840.113549.1.1.11',
        sha384: '1.2.840.113549.1.1.12',
      }
    : { sha1: '1.2.840.10045.4.1', sha256: '1.2.840.10045.4.3.2', sha384: '1.2.840.10045.4.3.3' };
  return { identifier: sequence(oid(oids[digest]!), ...(isRsa ? [der(tags.null)] : [])), digest };
}

function extensionsOf(
  spec: CertificateSpec,
  subjectKeyId: Uint8Array,
  authorityKeyId: Uint8Array | 'absent',
): Buffer[] {
  const {
    basicConstraints = { ca: false },
    keyUsage = ['digitalSignature'],
    extendedKeyUsage = ['serverAuth', 'clientAuth'],
  } = spec;
  return [
    basicConstraints === 'absent' ? [] : basicConstraintsExtension(basicConstraints),
    keyUsage === 'absent' ? [] : extension('2.5.29.15', spec.keyUsageCritical ?? true, keyUsageBits(keyUsage)),
    extendedKeyUsage === 'absent' ? [] : extension('2.5.29.37', false, sequence(...extendedKeyUsage.map(purposeOid))),
    spec.subjectKeyId === 'absent' ? [] : extension('2.5.29.14', false, octetString(subjectKeyId)),
    authorityKeyId === 'absent' ? [] : extension('2.5.29.35', false, sequence(context(0, false, authorityKeyId))),
    spec.sans === undefined ? [] : extension('2.5.29.17', spec.sanCritical ?? false, subjectAltNames(spec.sans)),
    ...(spec.extensions ?? []).map((item) => extension(item.oid, item.critical, item.value)),
  ].flat();
}

export function extension(type: string, critical: boolean, value: Uint8Array): Buffer {
  return sequence(oid(type), ...(critical ? [boolean(true)] : []), octetString(value));
}

function basicConstraintsExtension({ ca, pathLength }: { ca: boolean; pathLength?: number }): Buffer {
  const value = sequence(...(ca ? [boolean(true)] : []), ...(pathLength === undefined ? [] : [integer(pathLength)]));
  return extension('2.5.29.19', true, value);
}

function keyUsageBits(usages: readonly KeyUsage[]): Buffer {
  const bits = usages.reduce((sum, usage) => sum | (0x80 >> keyUsages.indexOf(usage)), 0);
  const unusedBits = bits === 0 ? 0 : 31 - Math.clz32(bits & -bits);
  return bitString(bits === 0 ? Buffer.alloc(0) : Buffer.of(bits), unusedBits);
}

function purposeOid(purpose: string): Buffer {
  return oid(purposes[purpose as keyof typeof purposes] ?? purpose);
}

function subjectAltNames(sans: readonly San[]): Buffer {
  return sequence(...sans.map(generalName));
}

function generalName(san: San): Uint8Array {
  if ('raw' in san) return san.raw;
  if ('dns' in san) return context(2, false, Buffer.from(san.dns));
  if ('ip' in san) return context(7, false, Buffer.from(san.ip));
  return context(6, false, typeof san.uri === 'string' ? Buffer.from(san.uri, 'latin1') : san.uri);
}

/** An otherName that holds `text` as a UTF8String: printed as text, it can look like any other name. */
export function otherName(type: string, text: string): San {
  return { raw: context(0, true, oid(type), context(0, true, der(tags.utf8String, Buffer.from(text)))) };
}

/** A name constraints extension (RFC 5280 §4.2.1.10) over hosts of URIs, or over other names by the number of their tag. */
export function nameConstraints(constraints: {
  readonly permitted?: readonly string[];
  readonly excluded?: readonly string[];
  readonly nameTag?: number;
}): ExtensionSpec {
  const subtrees = (hosts: readonly string[]) =>
    hosts.map((host) => sequence(context(constraints.nameTag ?? 6, false, Buffer.from(host))));
  const { permitted = [], excluded = [] } = constraints;
  const value = sequence(
    ...(permitted.length === 0 ? [] : [context(0, true, ...subtrees(permitted))]),
    ...(excluded.length === 0 ? [] : [context(1, true, ...subtrees(excluded))]),
  );
  return { oid: '2.5.29.30', critical: true, value };
}
