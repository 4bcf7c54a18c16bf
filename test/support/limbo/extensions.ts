import type { CertificateSpec } from '../certificates.ts';
import { nameConstraints } from '../certificates.ts';
import { bitString, boolean, context, der, integer, octetString, oid, sequence, tags } from '../der-writer.ts';
import type { LimboCase } from './chain.ts';
import { below, leafSpec, leafWith, rootWith, withExtension } from './chain.ts';

const both = ['serverAuth', 'clientAuth'] as const;
const eku = (...extendedKeyUsage: string[]): CertificateSpec => ({ extendedKeyUsage });
/** Extended key usage as it is, whatever it holds. */
const rawPurposes = (value: Uint8Array, critical = false): CertificateSpec => ({
  extendedKeyUsage: 'absent',
  ...withExtension('2.5.29.37', value, critical),
});
const purposesValue = sequence(oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'));

/** Every workload is a client and a server, and whoever vouches for it vouches for both (RFC 5280 §4.2.1.12). */
export const purposeCases: readonly LimboCase[] = [
  ['both purposes in an intermediate', below(eku(...both)), 'accepted'],
  ['no purposes in an intermediate mean any', below({ extendedKeyUsage: 'absent' }), 'accepted'],
  ['one purpose in an intermediate: servers', below(eku('serverAuth')), 'bad_purpose'],
  ['one purpose in an intermediate: clients', below(eku('clientAuth')), 'bad_purpose'],
  ['anyExtendedKeyUsage in an intermediate does not name them', below(eku('any')), 'bad_purpose'],
  ['anyExtendedKeyUsage in a leaf does not name them', leafWith(eku('any')), 'bad_purpose'],
  ['anyExtendedKeyUsage beside both does no harm', leafWith(eku('any', ...both)), 'accepted'],
  ['both purposes in a root', rootWith(eku(...both)), 'accepted'],
  ['another purpose in a root', rootWith(eku('codeSigning')), 'bad_purpose'],
  ['critical purposes are understood', leafWith(rawPurposes(purposesValue, true)), 'accepted'],
  ['an empty list of purposes names none', leafWith(rawPurposes(sequence())), 'bad_purpose'],
  ['an empty list of purposes in an intermediate', below(rawPurposes(sequence())), 'bad_purpose'],
  ['a purpose that is no OBJECT IDENTIFIER', leafWith(rawPurposes(sequence(integer(1)))), 'untrusted'],
  ['bytes behind the purposes', leafWith(rawPurposes(Buffer.concat([purposesValue, integer(1)]))), 'untrusted'],
  [
    'a purpose that only looks like one of ours',
    leafWith(eku('1.3.6.1.5.5.7.3.1.1', '1.3.6.1.5.5.7.3.21')),
    'bad_purpose',
  ],
];

const unknown = '1.3.6.1.4.1.99999.1';
const twice = { oid: unknown, critical: false, value: octetString() };
const known: readonly [string, string, Uint8Array][] = [
  ['policy constraints', '2.5.29.36', sequence(context(0, false, Buffer.of(0)))],
  ['inhibitAnyPolicy', '2.5.29.54', integer(0)],
  ['policy mappings', '2.5.29.33', sequence(sequence(oid('1.2.3'), oid('1.2.4')))],
  [
    'authority information access',
    '1.3.6.1.5.5.7.1.1',
    sequence(sequence(oid('1.3.6.1.5.5.7.48.1'), context(6, false, Buffer.from('http://a')))),
  ],
  [
    'CRL distribution points',
    '2.5.29.31',
    sequence(sequence(context(0, true, context(0, true, context(6, false, Buffer.from('http://a')))))),
  ],
];

/** What is critical and not understood is refused, wherever it is (RFC 5280 §4.2). */
export const criticalCases: readonly LimboCase[] = [
  ['in a leaf', leafWith(withExtension(unknown, octetString())), 'critical_extension'],
  ['in an intermediate', below(withExtension(unknown, octetString())), 'critical_extension'],
  ['in a root', rootWith(withExtension(unknown, octetString())), 'critical_extension', 'bundle'],
  [
    'one that is not critical is passed over, in a leaf',
    leafWith(withExtension(unknown, octetString(), false)),
    'accepted',
  ],
  ['and in an intermediate', below(withExtension(unknown, octetString(), false)), 'accepted'],
  ['and in a root', rootWith(withExtension(unknown, octetString(), false)), 'accepted'],
  ['names that are critical', leafWith({ sanCritical: true }), 'accepted'],
  [
    'policies that are critical, of which nobody asks for one',
    leafWith(withExtension('2.5.29.32', sequence(sequence(oid('1.2.3'))))),
    'accepted',
  ],
  [
    'name constraints that are critical, in a leaf',
    leafWith({ extensions: [nameConstraints({ permitted: ['a'] })] }),
    'accepted',
  ],
  [
    'a criticality of 01 is not DER',
    leafWith({ fields: appendExtension(sequence(oid(unknown), der(tags.boolean, Buffer.of(1)), octetString())) }),
    'untrusted',
  ],
  [
    'a criticality that is no BOOLEAN',
    leafWith({ fields: appendExtension(sequence(oid(unknown), integer(1), octetString())) }),
    'untrusted',
    'unreadable',
  ],
  [
    'an extension without a value',
    leafWith({ fields: appendExtension(sequence(oid(unknown))) }),
    'untrusted',
    'unreadable',
  ],
  [
    'an extension with two values',
    leafWith({ fields: appendExtension(sequence(oid(unknown), octetString(), octetString())) }),
    'untrusted',
    'unreadable',
  ],
  ['an extension that is no SEQUENCE', leafWith({ fields: appendExtension(octetString()) }), 'untrusted', 'unreadable'],
  ...known.flatMap(([title, type, value]): LimboCase[] => [
    [`${title}, critical, in a leaf`, leafWith(withExtension(type, value)), 'critical_extension'],
    [`${title}, critical, in an intermediate`, below(withExtension(type, value)), 'critical_extension'],
    [`${title}, not critical`, below(withExtension(type, value, false)), 'accepted'],
  ]),
  ['an unknown extension that is there twice', leafWith({ extensions: [twice, twice] }), 'untrusted'],
  ['names that are there twice', leafWith(withExtension('2.5.29.17', sequence(), false)), 'untrusted'],
  [
    'basic constraints that are there twice in an intermediate',
    below(withExtension('2.5.29.19', sequence(boolean(true)))),
    'untrusted',
  ],
  [
    'key usage that is there twice in a root',
    rootWith(withExtension('2.5.29.15', bitString(Buffer.of(4), 2))),
    'untrusted',
    'bundle',
  ],
  [
    'key usage that is no BIT STRING',
    leafWith({ keyUsage: 'absent', ...withExtension('2.5.29.15', integer(1)) }),
    'untrusted',
  ],
  [
    'key usage with wrong unused bits',
    leafWith({ keyUsage: 'absent', ...withExtension('2.5.29.15', bitString(Buffer.of(0x80), 8)) }),
    'untrusted',
  ],
];

const [{ uri } = { uri: '' }] = (leafSpec().sans ?? []) as readonly { uri: string }[];
const names = (value: Uint8Array) =>
  leafWith({ sans: undefined as never, ...withExtension('2.5.29.17', value, false) });
const name = (tag: number, isConstructed: boolean, content: Uint8Array = Buffer.from(uri)) =>
  context(tag, isConstructed, content);

/** The names of a leaf (RFC 5280 §4.2.1.6). */
export const altNameCases: readonly LimboCase[] = [
  ['one URI', names(sequence(name(6, false))), 'accepted'],
  ['no names at all', names(sequence()), 'svid_no_uri'],
  ['names that are no SEQUENCE', names(der(tags.set, name(6, false))), 'untrusted'],
  ['a URI that is constructed', names(sequence(name(6, true, der(tags.octetString, Buffer.from(uri))))), 'untrusted'],
  ['a URI beside a name of no known kind', names(sequence(name(6, false), name(9, false))), 'untrusted'],
  ['a URI beside a string that is no name', names(sequence(name(6, false), octetString())), 'untrusted'],
  ['bytes behind the names', names(Buffer.concat([sequence(name(6, false)), integer(1)])), 'untrusted'],
  ['a URI that is longer than its names', names(Buffer.of(0x30, 2, 0x86, 9)), 'untrusted'],
  ['an empty URI', names(sequence(name(6, false, Buffer.alloc(0)))), 'svid_id_syntax'],
  [
    'two URIs, the second one empty',
    names(sequence(name(6, false), name(6, false, Buffer.alloc(0)))),
    'svid_multiple_uris',
  ],
  ['one URI in two extensions', leafWith(withExtension('2.5.29.17', sequence(name(6, false)), false)), 'untrusted'],
];

/** One more extension behind the others, as it is. */
function appendExtension(extension: Uint8Array): NonNullable<CertificateSpec['fields']> {
  return (fields) => {
    const wrapped = fields.at(-1)!;
    // [3] { SEQUENCE { ... } }, both with lengths of two or three bytes.
    const inner = contentOf(contentOf(wrapped));
    return [...fields.slice(0, -1), context(3, true, sequence(inner, extension))];
  };
}

function contentOf(element: Buffer): Buffer {
  const first = element[1] ?? 0;
  return element.subarray(2 + (first < 0x80 ? 0 : first & 0x7f));
}
