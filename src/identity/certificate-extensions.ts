import type { Der } from './der.ts';
import {
  asciiOf,
  contextTag,
  DerError,
  elements,
  fieldsOf,
  readBits,
  readBoolean,
  readDer,
  readOid,
  readSmallInteger,
  tags,
} from './der.ts';

/** The extensions of a certificate that our rules look at (RFC 5280 §4.2). */
export interface Extensions {
  /** False without basic constraints. */
  readonly isAuthority: boolean;
  readonly pathLength: number | undefined;
  /** Undefined without the extension. */
  readonly keyUsage: KeyUsage | undefined;
  /** Dotted purposes; undefined without the extension. */
  readonly purposes: readonly string[] | undefined;
  /** The URIs among the subject alternative names, one character a byte; never more than the first two. */
  readonly uris: readonly string[];
  readonly nameConstraints: NameConstraints | undefined;
  /** Hexadecimal; undefined without the extension. */
  readonly subjectKeyId: string | undefined;
  /** What its issuer's `subjectKeyId` should be; undefined when it does not say. */
  readonly authorityKeyId: string | undefined;
  /** A critical extension that we do not understand, dotted; undefined when there is none. */
  readonly unknownCritical: string | undefined;
}

export interface KeyUsage {
  readonly digitalSignature: boolean;
  readonly keyCertSign: boolean;
  readonly crlSign: boolean;
}

/** What an authority may name. Only URIs are kept, since no other name is ever used; undefined means that it may name any. */
export interface NameConstraints {
  readonly permittedHosts: readonly string[] | undefined;
  readonly excludedHosts: readonly string[];
}

const oids = {
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  certificatePolicies: '2.5.29.32',
  extendedKeyUsage: '2.5.29.37',
} as const;

/**
 * What may be critical. Policies are understood as RFC 5280 §6.1.1 has it when nobody asks for one: any will do. Identifiers of
 * keys are read, but must not be critical (§4.2.1.1, §4.2.1.2).
 */
const understood: ReadonlySet<string> = new Set([
  oids.keyUsage,
  oids.subjectAltName,
  oids.basicConstraints,
  oids.nameConstraints,
  oids.certificatePolicies,
  oids.extendedKeyUsage,
]);

const uriTag = contextTag(6, false);
/** The kinds of GeneralName (RFC 5280 §4.2.1.6). */
const nameTags: ReadonlySet<number> = new Set([
  ...[0, 3, 4, 5].map((number) => contextTag(number, true)),
  ...[1, 2, 6, 7, 8].map((number) => contextTag(number, false)),
]);

export interface Extension {
  readonly isCritical: boolean;
  /** What is inside of the OCTET STRING. */
  readonly value: Uint8Array;
}

/** Reads the content of `[3] EXPLICIT Extensions`; a version 1 certificate has none. Throws `DerError`, also for two of one kind. */
export function readExtensions(content: Uint8Array | undefined): Extensions {
  const found =
    content === undefined ? new Map<string, Extension>() : collectExtensions(readDer(content, tags.sequence).content);
  const read = <T>(id: string, parse: (value: Uint8Array) => T): T | undefined => {
    const extension = found.get(id);
    return extension && parse(extension.value);
  };
  const { isAuthority, pathLength } = read(oids.basicConstraints, readBasicConstraints) ?? { isAuthority: false };
  return {
    isAuthority,
    pathLength,
    keyUsage: read(oids.keyUsage, readKeyUsage),
    purposes: read(oids.extendedKeyUsage, readPurposes),
    uris: read(oids.subjectAltName, readUris) ?? [],
    nameConstraints: read(oids.nameConstraints, readNameConstraints),
    subjectKeyId: read(oids.subjectKeyId, (value) =>
      Buffer.from(readDer(value, tags.octetString).content).toString('hex'),
    ),
    authorityKeyId: read(oids.authorityKeyId, readAuthorityKeyId),
    unknownCritical: [...found].find(([id, { isCritical }]) => isCritical && !understood.has(id))?.[0],
  };
}

/** The elements of an Extensions SEQUENCE by their dotted names. Throws `DerError`, also for two of one kind. */
export function collectExtensions(content: Uint8Array): Map<string, Extension> {
  const found = new Map<string, Extension>();
  for (const element of elements(content)) {
    if (element.tag !== tags.sequence) throw new DerError('An extension is not a SEQUENCE');
    const fields = fieldsOf(element.content);
    const id = readOid(fields.next(tags.oid));
    const critical = fields.optional(tags.boolean);
    const { content: value } = fields.next(tags.octetString);
    fields.end();
    if (found.has(id)) throw new DerError(`The extension ${id} is there twice`);
    found.set(id, { isCritical: critical !== undefined && readBoolean(critical), value });
  }
  return found;
}

function readBasicConstraints(value: Uint8Array): { isAuthority: boolean; pathLength: number | undefined } {
  const fields = fieldsOf(readDer(value, tags.sequence).content);
  const authority = fields.optional(tags.boolean);
  const length = fields.optional(tags.integer);
  fields.end();
  return {
    isAuthority: authority !== undefined && readBoolean(authority),
    pathLength: length && readSmallInteger(length),
  };
}

function readKeyUsage(value: Uint8Array): KeyUsage {
  const [first = 0] = readBits(readDer(value, tags.bitString));
  return { digitalSignature: (first & 0x80) !== 0, keyCertSign: (first & 0x04) !== 0, crlSign: (first & 0x02) !== 0 };
}

function readPurposes(value: Uint8Array): string[] {
  return [...elements(readDer(value, tags.sequence).content)].map((element) => {
    if (element.tag !== tags.oid) throw new DerError('A purpose is not an OBJECT IDENTIFIER');
    return readOid(element);
  });
}

/** Stops at the second URI: one too many is enough to know, however many thousands follow. */
function readUris(value: Uint8Array): string[] {
  const uris: string[] = [];
  for (const name of elements(readDer(value, tags.sequence).content)) {
    if (isUri(name)) uris.push(asciiOf(name.content));
    if (uris.length === 2) break;
  }
  return uris;
}

function isUri({ tag }: Der): boolean {
  if (!nameTags.has(tag)) throw new DerError('A name is of no known kind');
  return tag === uriTag;
}

/** The identifier alone: an issuer's name and serial beside it are what OpenSSL compares. */
function readAuthorityKeyId(value: Uint8Array): string | undefined {
  const id = fieldsOf(readDer(value, tags.sequence).content).optional(contextTag(0, false));
  return id && Buffer.from(id.content).toString('hex');
}

function readNameConstraints(value: Uint8Array): NameConstraints {
  const fields = fieldsOf(readDer(value, tags.sequence).content);
  const permitted = fields.optional(contextTag(0, true));
  const excluded = fields.optional(contextTag(1, true));
  fields.end();
  if (permitted === undefined && excluded === undefined) throw new DerError('Name constraints are empty');
  const permittedHosts = hostsOf(permitted);
  return { permittedHosts: permittedHosts.length === 0 ? undefined : permittedHosts, excludedHosts: hostsOf(excluded) };
}

/** The URI hosts of a list of GeneralSubtree; a minimum or maximum is not allowed (RFC 5280 §4.2.1.10). */
function hostsOf(subtrees: Der | undefined): string[] {
  const hosts: string[] = [];
  if (subtrees?.content.length === 0) throw new DerError('A list of name constraints is empty');
  for (const subtree of subtrees === undefined ? [] : elements(subtrees.content)) {
    if (subtree.tag !== tags.sequence) throw new DerError('A name constraint is not a SEQUENCE');
    const fields = fieldsOf(subtree.content);
    const base = fields.any();
    fields.end();
    if (isUri(base)) hosts.push(asciiOf(base.content));
  }
  return hosts;
}
