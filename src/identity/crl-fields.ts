import { readSerial } from './certificate.ts';
import type { Extension } from './certificate-extensions.ts';
import { collectExtensions } from './certificate-extensions.ts';
import type { SignatureAlgorithm } from './certificate-strength.ts';
import { acceptedSignature, weakSignature } from './certificate-strength.ts';
import type { Der } from './der.ts';
import {
  contextTag,
  DerError,
  elements,
  fieldsOf,
  hexOf,
  readBits,
  readBoolean,
  readDer,
  readSmallInteger,
  readTime,
  tags,
} from './der.ts';

/** What a list says, in the order of RFC 5280 §5.1. */
export interface CrlFields {
  /** DER of the issuer's name, lower-case hexadecimal. */
  readonly issuer: string;
  /** Milliseconds since the epoch. */
  readonly thisUpdateMs: number;
  /** From then on a newer list is due; undefined when the issuer does not say. */
  readonly nextUpdateMs: number | undefined;
  /** Grows with each list of its issuer; undefined in lists of version 1. */
  readonly number: bigint | undefined;
  /** Which part of its issuer's certificates the list is about, as DER of the distribution point in hexadecimal; empty for all. */
  readonly distributionPoint: string;
  /** Hexadecimal, upper case, as in `Certificate`. */
  readonly serials: ReadonlySet<string>;
}

/** A list taken apart, with what its signature is made over. */
export interface ReadCrl {
  readonly fields: CrlFields;
  readonly algorithm: SignatureAlgorithm;
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

/** Reads one list with at most `room` entries. Throws `DerError`, also for kinds of lists that are not supported. */
export function readCrlFields(der: Uint8Array, room: number): ReadCrl {
  const { content } = readDer(der, tags.sequence);
  const outer = fieldsOf(content);
  const body = outer.next(tags.sequence);
  const identifier = outer.next(tags.sequence);
  const signature = readBits(outer.next(tags.bitString));
  outer.end();
  const algorithm = acceptedSignature(identifier);
  if (algorithm === undefined) throw new DerError(weakSignature(identifier) ?? 'its signature is too weak');
  const signed = content.subarray(0, body.content.byteOffset - content.byteOffset + body.content.length);
  return { fields: readBody(body, identifier, room), algorithm, signed, signature };
}

function readBody(body: Der, algorithm: Der, room: number): CrlFields {
  const fields = fieldsOf(body.content);
  const version = fields.optional(tags.integer);
  if (version !== undefined && readSmallInteger(version) !== 1) throw new DerError('its version is not 2');
  if (hexOf(fields.next(tags.sequence).content) !== hexOf(algorithm.content))
    throw new DerError('it names another algorithm than it is signed with');
  const issuer = hexOf(fields.next(tags.sequence).content);
  if (issuer === '') throw new DerError('it names no issuer');
  const thisUpdateMs = readTime(fields.any());
  const nextUpdate = fields.optional(tags.utcTime) ?? fields.optional(tags.generalizedTime);
  const entries = fields.optional(tags.sequence);
  const extensions = fields.optional(contextTag(0, true));
  fields.end();
  if (version === undefined && extensions !== undefined) throw new DerError('extensions belong to version 2');
  return {
    issuer,
    thisUpdateMs,
    nextUpdateMs: nextUpdate && readTime(nextUpdate),
    serials: readEntries(entries?.content ?? new Uint8Array(), version !== undefined, room),
    ...readListExtensions(extensions?.content),
  };
}

function readEntries(content: Uint8Array, mayHaveExtensions: boolean, room: number): Set<string> {
  const serials = new Set<string>();
  let count = 0;
  for (const entry of elements(content)) {
    count += 1;
    if (count > room) throw new DerError(`there are more entries than the ${room} that are allowed`);
    if (entry.tag !== tags.sequence) throw new DerError('an entry is not a SEQUENCE');
    const fields = fieldsOf(entry.content);
    serials.add(readSerial(fields.next(tags.integer)));
    readTime(fields.any());
    const extensions = fields.optional(tags.sequence);
    fields.end();
    if (extensions === undefined) continue;
    if (!mayHaveExtensions) throw new DerError('extensions belong to version 2');
    refuseEntry(extensions.content);
  }
  return serials;
}

const oids = {
  issuerAltName: '2.5.29.18',
  crlNumber: '2.5.29.20',
  reason: '2.5.29.21',
  invalidityDate: '2.5.29.24',
  deltaCrl: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  certificateIssuer: '2.5.29.29',
  authorityKeyId: '2.5.29.35',
} as const;

/** Why an entry, or a list, with this extension cannot be taken for what it says. */
const unsupported: ReadonlyMap<string, string> = new Map([
  [oids.deltaCrl, 'it is a delta CRL, expected a complete one'],
  [oids.certificateIssuer, 'it is an indirect CRL, expected one of the issuer itself'],
]);

const understoodInEntry: ReadonlySet<string> = new Set([oids.reason, oids.invalidityDate]);
const understoodInList: ReadonlySet<string> = new Set([
  oids.issuerAltName,
  oids.crlNumber,
  oids.issuingDistributionPoint,
  oids.authorityKeyId,
]);

/** The reason that takes a certificate off the list again, in delta CRLs only (RFC 5280 §5.3.1). */
const removeFromCrl = 8;

function refuseEntry(content: Uint8Array): void {
  const extensions = collectExtensions(content);
  refuseUnknown(extensions, understoodInEntry);
  const reason = extensions.get(oids.reason);
  if (reason !== undefined && readDer(reason.value, tags.enumerated).content[0] === removeFromCrl)
    throw new DerError('an entry removes a certificate, which only delta CRLs do');
}

function refuseUnknown(extensions: ReadonlyMap<string, Extension>, understood: ReadonlySet<string>): void {
  for (const [id, { isCritical }] of extensions) {
    const why =
      unsupported.get(id) ?? (isCritical && !understood.has(id) && `its critical extension ${id} is not understood`);
    if (why) throw new DerError(why);
  }
}

function readListExtensions(content: Uint8Array | undefined): Pick<CrlFields, 'number' | 'distributionPoint'> {
  const extensions =
    content === undefined ? new Map<string, Extension>() : collectExtensions(readDer(content, tags.sequence).content);
  refuseUnknown(extensions, understoodInList);
  const number = extensions.get(oids.crlNumber);
  const point = extensions.get(oids.issuingDistributionPoint);
  return {
    number: number && readNumber(number.value),
    distributionPoint: point === undefined ? '' : readDistributionPoint(point.value),
  };
}

/** RFC 5280 §5.2.3: at most 20 bytes, never negative. */
function readNumber(value: Uint8Array): bigint {
  const { content } = readDer(value, tags.integer);
  if (content.length === 0 || content.length > 20 || (content[0] ?? 0) >= 0x80)
    throw new DerError('its number is negative, empty or longer than 20 bytes');
  return BigInt(`0x${hexOf(content)}`);
}

const scopes: ReadonlyMap<number, string> = new Map([
  [contextTag(1, false), 'is about certificates of workloads only'],
  [contextTag(2, false), 'is about certificates of authorities only'],
  [contextTag(3, false), 'is about some reasons only'],
  [contextTag(4, false), 'is an indirect CRL'],
  [contextTag(5, false), 'is about attribute certificates only'],
]);

/** RFC 5280 §5.2.5. A place is only one of several lists of the same issuer; every other limit would go unnoticed. */
function readDistributionPoint(value: Uint8Array): string {
  let name = '';
  for (const element of elements(readDer(value, tags.sequence).content)) {
    const limit = scopes.get(element.tag);
    if (element.tag === contextTag(0, true)) name = hexOf(element.content);
    else if (limit === undefined) throw new DerError('its issuing distribution point is not understood');
    else if (element.tag === contextTag(3, false) || readBoolean(element)) throw new DerError(`it ${limit}`);
  }
  return name;
}
