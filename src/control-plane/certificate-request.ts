import type { KeyObject } from 'node:crypto';
import { createPublicKey, verify } from 'node:crypto';

/** A CSR whose sender has proved that it holds the key, or why not in one sentence. Nothing but the key is taken from it. */
export type CertificateRequestResult =
  | { readonly kind: 'key'; readonly publicKey: KeyObject }
  | { readonly kind: 'refused'; readonly why: string };

/** Bytes of the largest CSR, DER; one for a P-256 key with a SPIFFE ID of 2048 bytes needs 2.4 KiB. */
const maxDerBytes = 8 * 1024;

const armour =
  /^\s*-----BEGIN (NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END \1?CERTIFICATE REQUEST-----\s*$/;
const tags = { integer: 0x02, bitString: 0x03, sequence: 0x30, attributes: 0xa0 } as const;
/** AlgorithmIdentifier of ecdsa-with-SHA256, and everything of a P-256 SubjectPublicKeyInfo before an uncompressed point. */
const ecdsaWithSha256 = Buffer.from('300a06082a8648ce3d040302', 'hex');
const p256Prefix = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');
const p256Length = 91;

/**
 * Reads a PKCS#10 request (RFC 2986) in PEM: signed ecdsa-with-SHA256 with the P-256 key that it carries, checked by
 * OpenSSL over the exact bytes. Only the outline is parsed: the subject and the attributes, where a sender may claim any
 * name, are never looked at. Never throws.
 */
export function readCertificateRequest(pem: string): CertificateRequestResult {
  const der = Buffer.from(armour.exec(pem)?.[2] ?? '', 'base64');
  if (der.length === 0) return refused('it is not one PEM block CERTIFICATE REQUEST');
  if (der.length > maxDerBytes) return refused(`it is longer than ${maxDerBytes} bytes`);
  const outline = readOutline(der);
  if (outline === undefined) return refused('it is not PKCS#10 in DER');
  if (!outline.algorithm.equals(ecdsaWithSha256)) return refused('it is not signed with ecdsa-with-SHA256');
  const publicKey = readP256Key(outline.publicKey);
  if (publicKey === undefined) return refused('its key is not an uncompressed point on P-256');
  if (!verify('sha256', outline.signedBytes, publicKey, outline.signature)) {
    return refused('its signature does not match its key');
  }
  return { kind: 'key', publicKey };
}

function refused(why: string): CertificateRequestResult {
  return { kind: 'refused', why: `The certificate request is refused: ${why}` };
}

interface Outline {
  readonly signedBytes: Buffer;
  readonly publicKey: Buffer;
  readonly algorithm: Buffer;
  readonly signature: Buffer;
}

function readOutline(der: Buffer): Outline | undefined {
  const [request, afterRequest] = readElements(der);
  const [info, algorithm, signature, afterSignature] = readElements(request?.content);
  const [version, subject, publicKey, attributes, afterAttributes] = readElements(info?.content);
  if (afterRequest || afterSignature || afterAttributes) return undefined;
  if (request?.tag !== tags.sequence || info?.tag !== tags.sequence || algorithm?.tag !== tags.sequence)
    return undefined;
  if (version?.tag !== tags.integer || !version.content.equals(Buffer.of(0)) || subject?.tag !== tags.sequence)
    return undefined;
  if (publicKey?.tag !== tags.sequence || attributes?.tag !== tags.attributes) return undefined;
  if (signature?.tag !== tags.bitString || signature.content[0] !== 0) return undefined;
  return {
    signedBytes: info.whole,
    publicKey: publicKey.whole,
    algorithm: algorithm.whole,
    signature: signature.content.subarray(1),
  };
}

interface Element {
  readonly tag: number;
  readonly content: Buffer;
  /** With tag and length. */
  readonly whole: Buffer;
}

/** The elements side by side in `bytes`; none at all when one of them is not DER. */
function readElements(bytes: Buffer | undefined): readonly Element[] {
  const elements: Element[] = [];
  let rest = bytes ?? Buffer.alloc(0);
  while (rest.length > 0) {
    const element = readElement(rest);
    if (element === undefined || elements.length === 8) return [];
    elements.push(element);
    rest = rest.subarray(element.whole.length);
  }
  return elements;
}

/** Low tag numbers and definite, shortest lengths of at most two bytes: all that fits into the largest request. */
function readElement(bytes: Buffer): Element | undefined {
  const [tag = 0, first = 0, high = 0, low = 0] = bytes;
  const isShort = first < 0x80;
  const isLong1 = first === 0x81 && high >= 0x80;
  const isLong2 = first === 0x82 && high > 0;
  if (bytes.length < 2 || (tag & 0x1f) === 0x1f || !(isShort || isLong1 || isLong2)) return undefined;
  const headerLength = isShort ? 2 : isLong1 ? 3 : 4;
  const length = isShort ? first : isLong1 ? high : high * 256 + low;
  const whole = bytes.subarray(0, headerLength + length);
  return whole.length < headerLength + length ? undefined : { tag, content: whole.subarray(headerLength), whole };
}

function readP256Key(spki: Buffer): KeyObject | undefined {
  if (spki.length !== p256Length || !spki.subarray(0, p256Prefix.length).equals(p256Prefix)) return undefined;
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch {
    return undefined; // The point is not on the curve.
  }
}
