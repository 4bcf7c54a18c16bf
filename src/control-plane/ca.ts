import type { KeyObject } from 'node:crypto';
import { createHash, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIPv4 } from 'node:net';
import asn1 from 'node-forge/lib/asn1.js';
import { timestamp } from '../clock.ts';

/**
 * Writes X.509 certificates (RFC 5280) for P-256 keys: node-forge assembles DER, node:crypto signs. Policy, that is who
 * gets what for how long, is in authority.ts.
 */

/** What a certificate is for; decides basic constraints, key usage and extended key usage. */
export type CertificateUsage = 'root' | 'issuing' | 'workload' | 'serving';

export type SubjectName =
  | { readonly kind: 'uri'; readonly uri: string }
  | { readonly kind: 'dns'; readonly name: string }
  | { readonly kind: 'ip'; readonly ip: string };

export interface CertificateTemplate {
  readonly usage: CertificateUsage;
  /** At most 64 bytes; absent leaves the subject empty, so that only the subject alternative names say who it is. */
  readonly commonName?: string;
  readonly names: readonly SubjectName[];
  readonly publicKey: KeyObject;
  /** Written in whole seconds, rounded down. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A certificate that may sign others, with its key. */
export interface SigningCertificate {
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
}

type Node = ReturnType<typeof asn1.create>;
interface Issuer {
  readonly subject: Node;
  readonly keyId: string;
}

const context = asn1.Class.CONTEXT_SPECIFIC;
const oids = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;
type Oid = keyof typeof oids;

const keyUsageBits = { root: '\x01\x06', issuing: '\x01\x06', workload: '\x07\x80', serving: '\x07\x80' } as const;
const extendedKeyUsages: Readonly<Record<CertificateUsage, readonly Oid[]>> = {
  root: [],
  issuing: [],
  workload: ['serverAuth', 'clientAuth'],
  serving: ['serverAuth'],
};

/** A certificate that `issuer` signed. */
export function signCertificate(template: CertificateTemplate, issuer: SigningCertificate): X509Certificate {
  return assemble(template, readIssuer(issuer.certificate), issuer.key);
}

/** A certificate that its own key signed. */
export function selfSignCertificate(template: CertificateTemplate, key: KeyObject): X509Certificate {
  return assemble(template, { subject: subjectOf(template), keyId: keyIdOf(template.publicKey) }, key);
}

/** The authority of `root`, its name and its key, in a certificate that another root signed. */
export function crossSignCertificate(
  root: X509Certificate,
  dates: Pick<CertificateTemplate, 'notBeforeMs' | 'notAfterMs'>,
  issuer: SigningCertificate,
): X509Certificate {
  const { subject, keyId } = readIssuer(root);
  const { publicKey } = root;
  const template = { ...dates, usage: 'root', commonName: '', names: uriNames(root), publicKey } as const;
  return assemble(template, readIssuer(issuer.certificate), issuer.key, { subject, keyId });
}

function uriNames({ subjectAltName = '' }: X509Certificate): readonly SubjectName[] {
  return subjectAltName.startsWith('URI:') ? [{ kind: 'uri', uri: subjectAltName.slice(4) }] : [];
}

function assemble(
  template: CertificateTemplate,
  issuer: Issuer,
  key: KeyObject,
  own: Issuer = { subject: subjectOf(template), keyId: keyIdOf(template.publicKey) },
): X509Certificate {
  const algorithm = sequence(oid('ecdsaWithSha256'));
  const body = sequence(
    asn1.create(context, 0, true, [primitive(asn1.Type.INTEGER, '\x02')]),
    primitive(asn1.Type.INTEGER, randomSerial()),
    algorithm,
    issuer.subject,
    sequence(time(template.notBeforeMs), time(template.notAfterMs)),
    own.subject,
    asn1.fromDer(spkiOf(template.publicKey).toString('latin1')),
    asn1.create(context, 3, true, [sequence(...extensionsOf(template, issuer, own))]),
  );
  const signature = sign('sha256', toDer(body), key);
  return new X509Certificate(toDer(sequence(body, algorithm, bitString(signature))));
}

function extensionsOf(template: CertificateTemplate, issuer: Issuer, own: Issuer): Node[] {
  const { usage } = template;
  const purposes = extendedKeyUsages[usage];
  return [
    extension('basicConstraints', basicConstraintsOf(usage), 'critical'),
    extension('keyUsage', primitive(asn1.Type.BITSTRING, keyUsageBits[usage]), 'critical'),
    ...(purposes.length > 0 ? [extension('extKeyUsage', sequence(...purposes.map(oid)))] : []),
    extension('subjectKeyIdentifier', octetString(own.keyId)),
    extension('authorityKeyIdentifier', sequence(asn1.create(context, 0, false, issuer.keyId))),
    // RFC 5280 4.2.1.6: critical when the subject is empty.
    extension(
      'subjectAltName',
      sequence(...template.names.map(generalName)),
      template.commonName === undefined ? 'critical' : undefined,
    ),
  ];
}

function basicConstraintsOf(usage: CertificateUsage): Node {
  const isAuthority = primitive(asn1.Type.BOOLEAN, '\xff');
  switch (usage) {
    case 'root':
      return sequence(isAuthority);
    case 'issuing':
      return sequence(isAuthority, primitive(asn1.Type.INTEGER, '\x00'));
    case 'workload':
    case 'serving':
      return sequence();
    default:
      return usage satisfies never;
  }
}

function generalName(name: SubjectName): Node {
  switch (name.kind) {
    case 'dns':
      return asn1.create(context, 2, false, name.name);
    case 'uri':
      return asn1.create(context, 6, false, name.uri);
    case 'ip':
      return asn1.create(context, 7, false, ipBytes(name.ip));
    default:
      return name satisfies never;
  }
}

/** Network byte order; `ip` is canonical. */
function ipBytes(ip: string): string {
  if (isIPv4(ip)) return String.fromCharCode(...ip.split('.').map(Number));
  const [head = [], tail = []] = ip.split('::').map((part) => part.split(':').filter(Boolean));
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => '0');
  const groups = [...head, ...zeros, ...tail].map((group) => Number.parseInt(group, 16));
  return String.fromCharCode(...groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** The name and key identifier exactly as the issuer's own certificate writes them, whoever made it. */
function readIssuer(certificate: X509Certificate): Issuer {
  const body = children(children(asn1.fromDer(certificate.raw.toString('latin1')))[0]);
  const subject = body[5];
  if (subject === undefined) throw new TypeError('an issuer needs a version 3 certificate');
  return { subject, keyId: writtenKeyId(body) ?? keyIdOf(certificate.publicKey) };
}

function writtenKeyId(body: readonly Node[]): string | undefined {
  const extensions = body.find(({ tagClass, type }) => tagClass === context && type === Number(3));
  const wanted = asn1.oidToDer(oids.subjectKeyIdentifier).getBytes();
  const found = children(children(extensions)[0])
    .map(children)
    .find(([id]) => id?.value === wanted);
  const value = found?.at(-1)?.value;
  return typeof value === 'string' ? String(asn1.fromDer(value).value) : undefined;
}

function children(node: Node | undefined): readonly Node[] {
  return Array.isArray(node?.value) ? node.value : [];
}

function subjectOf({ commonName }: CertificateTemplate): Node {
  if (commonName === undefined) return sequence();
  const attribute = sequence(oid('commonName'), primitive(asn1.Type.UTF8, commonName));
  return sequence(asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, [attribute]));
}

/** RFC 7093 method 1: the leftmost 160 bits of the SHA-256 of the public key's bits. */
function keyIdOf(key: KeyObject): string {
  const point = spkiOf(key).subarray(-65);
  return createHash('sha256').update(point).digest().toString('latin1', 0, 20);
}

function spkiOf(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

/** 159 bits, positive, 158 of them random: the second highest bit is set, so that the encoding is always minimal. */
function randomSerial(): string {
  const bytes = randomBytes(20);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('latin1');
}

/** RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050. */
function time(wallMs: number): Node {
  const digits = timestamp(wallMs).replaceAll(/\.\d+|[-:T]/g, '');
  return digits < '2050' ? primitive(asn1.Type.UTCTIME, digits.slice(2)) : primitive(asn1.Type.GENERALIZEDTIME, digits);
}

function extension(name: Oid, value: Node, critical?: 'critical'): Node {
  const flag = critical === undefined ? [] : [primitive(asn1.Type.BOOLEAN, '\xff')];
  return sequence(oid(name), ...flag, octetString(toDer(value).toString('latin1')));
}

function oid(name: Oid): Node {
  return primitive(asn1.Type.OID, asn1.oidToDer(oids[name]).getBytes());
}

function octetString(bytes: string): Node {
  return primitive(asn1.Type.OCTETSTRING, bytes);
}

function bitString(bytes: Buffer): Node {
  return primitive(asn1.Type.BITSTRING, `\0${bytes.toString('latin1')}`);
}

function primitive(type: number, value: string): Node {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, value);
}

function sequence(...value: Node[]): Node {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, value);
}

function toDer(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1');
}
