import type { CertificateSpec } from '../certificates.ts';
import { ecKey, ed25519Key, rsaKey } from '../certificates.ts';
import { context, der, integer, oid, sequence, tags, time } from '../der-writer.ts';
import type { LimboCase } from './chain.ts';
import { below, chainOf, leafWith, rootWith } from './chain.ts';

const hourMs = 3_600_000;
const utc = (text: string) => der(tags.utcTime, Buffer.from(text));
const generalized = (text: string) => der(tags.generalizedTime, Buffer.from(text));
/** Replaces one field of the TBSCertificate. */
const field = (index: number, value: (old: Buffer) => Uint8Array): CertificateSpec => ({
  fields: (fields) => fields.map((old, i) => (i === index ? value(old) : old)),
});
const validity = (notBefore: Uint8Array, notAfter: Uint8Array) => field(4, () => sequence(notBefore, notAfter));
const past = () => time(Date.now() - hourMs);
const until = (notAfter: Uint8Array) => leafWith(validity(past(), notAfter));
const serial = (...content: number[]) => leafWith({ serial: Buffer.from(content) });
const bytes = (count: number, first = 1) => [first, ...new Array<number>(count - 1).fill(0xab)];

/** Dates (RFC 5280 §4.1.2.5): in seconds, in UTC, ending in Z. */
export const dateCases: readonly LimboCase[] = [
  ['UTCTime up to 2049', until(utc('491231235959Z')), 'accepted'],
  ['UTCTime of 50 is 1950', until(utc('500101000000Z')), 'expired'],
  ['GeneralizedTime from 2050 on', until(generalized('20500101000000Z')), 'accepted'],
  [
    'GeneralizedTime before 2050 is read, though none should write it',
    until(generalized('20491231235959Z')),
    'accepted',
  ],
  ['the end of time, which means no end', until(generalized('99991231235959Z')), 'accepted'],
  [
    'a year of which nothing was left',
    leafWith(validity(generalized('00000101000000Z'), generalized('00000102000000Z'))),
    'expired',
  ],
  [
    'a beginning behind its end',
    leafWith(validity(time(Date.now() + 2 * hourMs), time(Date.now() + hourMs))),
    'not_yet_valid',
  ],
  ['an end before its beginning, both gone by', leafWith(validity(past(), time(Date.now() - 2 * hourMs))), 'expired'],
  ['a fraction of a second', until(generalized('20490101000000.5Z')), 'untrusted'],
  ['a fraction in UTCTime', until(utc('490101000000.5Z')), 'untrusted'],
  ['no seconds', until(utc('4901010000Z')), 'untrusted', 'unreadable'],
  ['no Z', until(generalized('20490101000000')), 'untrusted', 'unreadable'],
  ['another time zone', until(utc('490101000000+0100')), 'untrusted'],
  ['a zone of +0000 instead of Z', until(utc('490101000000+0000')), 'untrusted'],
  ['four digits of a year in UTCTime', until(utc('20490101000000Z')), 'untrusted'],
  ['two digits of a year in GeneralizedTime', until(generalized('490101000000Z')), 'untrusted', 'unreadable'],
  ['the 30th of February is not the 2nd of March', until(utc('490230000000Z')), 'untrusted'],
  ['the 29th of February in a year that has none', until(utc('490229000000Z')), 'untrusted'],
  ['the 29th of February in one that has', until(utc('480229000000Z')), 'accepted'],
  ['the 31st of April', until(utc('490431000000Z')), 'untrusted'],
  ['the 13th month', until(utc('491301000000Z')), 'untrusted'],
  ['the month of zero', until(utc('490001000000Z')), 'untrusted'],
  ['the hour 24', until(utc('490101240000Z')), 'untrusted'],
  ['the second 60', until(utc('490101000060Z')), 'untrusted'],
  ['a space for a digit', until(utc('49010100000 Z')), 'untrusted'],
  [
    'a date that is a text',
    leafWith(validity(past(), der(tags.utf8String, Buffer.from('490101000000Z')))),
    'untrusted',
    'unreadable',
  ],
  ['an end alone', leafWith(field(4, () => sequence(time(Date.now() + hourMs)))), 'untrusted', 'unreadable'],
  [
    'three dates',
    leafWith(field(4, () => sequence(past(), time(Date.now() + hourMs), time(Date.now() + hourMs)))),
    'untrusted',
    'unreadable',
  ],
  ['an intermediate whose dates cannot be read', below(validity(past(), utc('490230000000Z'))), 'untrusted'],
  ['a root whose dates cannot be read', rootWith(validity(past(), utc('490230000000Z'))), 'untrusted', 'bundle'],
];

export const numberCases: readonly LimboCase[] = [
  ['a serial of zero', serial(0), 'accepted'],
  ['a negative serial', serial(0xff), 'accepted'],
  ['a serial of 20 bytes', serial(...bytes(20)), 'accepted'],
  ['a serial of 20 bytes behind a sign', serial(0, ...bytes(20, 0xab)), 'accepted'],
  ['a serial of 21 bytes', serial(...bytes(21)), 'untrusted'],
  ['a serial of 21 bytes behind a sign', serial(0, ...bytes(21, 0xab)), 'untrusted'],
  ['an empty serial', serial(), 'untrusted', 'unreadable'],
  ['a padded serial', serial(0, 1), 'untrusted', 'unreadable'],
  ['a negative serial that is padded', serial(0xff, 0xff), 'untrusted', 'unreadable'],
  ['an intermediate with a serial of 21 bytes', below({ serial: Buffer.from(bytes(21)) }), 'untrusted'],
  ['version 2 with extensions', leafWith(field(0, () => context(0, true, integer(1)))), 'untrusted'],
  ['version 4', leafWith(field(0, () => context(0, true, integer(3)))), 'untrusted'],
  ['version 1 with extensions', leafWith({ fields: (fields) => fields.slice(1) }), 'untrusted'],
  ['version 1 written out, with extensions', leafWith(field(0, () => context(0, true, integer(0)))), 'untrusted'],
  ['unique identifiers', leafWith({ fields: withUniqueIds }), 'accepted'],
  [
    'fields behind the extensions',
    leafWith({ fields: (fields) => [...fields, integer(1)] }),
    'untrusted',
    'unreadable',
  ],
  [
    'extensions that are no SEQUENCE',
    leafWith(field(7, () => context(3, true, integer(1)))),
    'untrusted',
    'unreadable',
  ],
  ['an empty list of extensions', leafWith(field(7, () => context(3, true, sequence()))), 'svid_no_uri'],
  ['no extensions', leafWith({ fields: (fields) => fields.slice(0, 7) }), 'svid_no_uri'],
];

const sha384 = sequence(oid('1.2.840.10045.4.3.3'));

export const signatureCases: readonly LimboCase[] = [
  ['a signature by P-384', () => chainOf({ root: { key: ecKey('P-384') } }), 'accepted'],
  ['a signature by Ed25519', () => chainOf({ root: { key: ed25519Key() } }), 'accepted'],
  ['a signature by RSA of 2048 bits', () => chainOf({ root: { key: rsaKey() } }), 'accepted'],
  ['a root with RSA of 1024 bits', () => chainOf({ root: { key: rsaKey(1024) } }), 'untrusted', 'bundle'],
  ['a signature by SHA-1 on an intermediate', below({ digest: 'sha1' }), 'untrusted'],
  ['a signature by SHA-1 on a root, which nobody looks at', rootWith({ digest: 'sha1' }), 'accepted'],
  ['an algorithm within that is not the one without', leafWith(field(2, () => sha384)), 'untrusted'],
  ['a bit of a leaf that was changed', leafWith({ mangle: flipped }), 'untrusted'],
  ['a bit of an intermediate that was changed', below({ mangle: flipped }), 'untrusted'],
  [
    'no signature at all',
    leafWith({ forged: { algorithm: sequence(oid('1.2.840.10045.4.3.2')), signature: Buffer.alloc(0) } }),
    'untrusted',
  ],
  ['the signature of another certificate', otherSignature, 'untrusted'],
];

function withUniqueIds(fields: readonly Buffer[]): readonly Uint8Array[] {
  const id = (tag: number) => context(tag, false, Buffer.of(0, 0xaa));
  return [...fields.slice(0, 7), id(1), id(2), ...fields.slice(7)];
}

function flipped(certificate: Buffer): Buffer {
  const copy = Buffer.from(certificate);
  copy[copy.length - 4]! ^= 1;
  return copy;
}

function otherSignature() {
  const made = chainOf({});
  const other = chainOf({});
  return { ...made, roots: other.roots };
}
