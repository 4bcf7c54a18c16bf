import type { CertificateSpec, MadeCertificate } from '../certificates.ts';
import { ecKey, makeAuthority, makeCertificate } from '../certificates.ts';
import { boolean, context, der, integer, octetString, sequence, tags } from '../der-writer.ts';
import type { Chain, LimboCase } from './chain.ts';
import { below, chainOf, leafSpec, leafWith, limboDomain, rootWith, withExtension } from './chain.ts';

const length = (pathLength: number): CertificateSpec => ({ basicConstraints: { ca: true, pathLength } });
/** Basic constraints as they are, whatever they hold. */
const basic = (value: Uint8Array, critical = true): CertificateSpec => ({
  basicConstraints: 'absent',
  ...withExtension('2.5.29.19', value, critical),
});
const lengthOf = (...content: number[]) => basic(sequence(boolean(true), der(tags.integer, Buffer.from(content))));
const from =
  (intermediates: readonly CertificateSpec[], root: CertificateSpec = {}) =>
  () =>
    chainOf({ intermediates, root });

/** How long a path may be, and who may be on it (RFC 5280 §4.2.1.9, §4.2.1.3). */
export const lengthCases: readonly LimboCase[] = [
  ['without a length any number of intermediates will do', from([{}, {}, {}]), 'accepted'],
  ['a length of zero lets an authority issue leaves', below(length(0)), 'accepted'],
  ['a length of zero lets it issue no authority', from([length(0), {}]), 'path_length'],
  ['a root is held to its length', from([{}], length(0)), 'path_length'],
  ['a length of one lets a root have one intermediate', from([{}], length(1)), 'accepted'],
  ['a lower authority does not lengthen the path of an upper one', from([length(0), length(5)]), 'path_length'],
  ['a lower authority shortens it', from([length(5), length(0), {}]), 'path_length'],
  ['a self-issued authority does not count', rollover({}, length(0)), 'accepted'],
  ['what is below a self-issued authority counts', belowRollover(length(0)), 'path_length'],
  ['a self-issued authority is held to its own length', belowRollover({}, length(0)), 'path_length'],
  ['a negative length is malformed', below(lengthOf(0xff)), 'untrusted'],
  ['a padded length is not DER', below(lengthOf(0, 1)), 'untrusted'],
  ['an empty length is not DER', below(lengthOf()), 'untrusted'],
  ['the longest length that we read is 2³¹ - 1', below(lengthOf(0x7f, 0xff, 0xff, 0xff)), 'accepted'],
  ['a length above it is refused', below(lengthOf(0, 0x80, 0, 0, 0)), 'untrusted'],
  ['a huge length is refused', below(lengthOf(1, ...new Array<number>(20).fill(0))), 'untrusted'],
  ['a length without CA:TRUE makes no authority', below(basic(sequence(integer(1)))), 'untrusted'],
  ['a length in a leaf says nothing', leafWith(basic(sequence(integer(1)))), 'accepted'],
];

export const authorityCases: readonly LimboCase[] = [
  ['an authority without basic constraints is none', below({ basicConstraints: 'absent' }), 'untrusted'],
  ['one with CA:FALSE is none', below({ basicConstraints: { ca: false } }), 'untrusted'],
  ['CA:FALSE written out is CA:FALSE', below(basic(sequence(boolean(false)))), 'untrusted'],
  ['a BOOLEAN of 01 is not DER', below(basic(sequence(der(tags.boolean, Buffer.of(1))))), 'untrusted'],
  ['basic constraints that are not critical count', below(basic(sequence(boolean(true)), false)), 'accepted'],
  ['also those of a root', rootWith(basic(sequence(boolean(true)), false)), 'accepted'],
  ['a root without basic constraints is none', rootWith({ basicConstraints: 'absent' }), 'untrusted', 'bundle'],
  [
    'bytes within basic constraints that do not belong there',
    below(basic(sequence(boolean(true), integer(0), integer(0)))),
    'untrusted',
  ],
  ['a leaf without basic constraints is a leaf', leafWith({ basicConstraints: 'absent' }), 'accepted'],
  ['a leaf with CA:TRUE is none', leafWith({ basicConstraints: { ca: true } }), 'svid_is_ca'],
  ['key usage must let an intermediate sign', below({ keyUsage: ['digitalSignature', 'cRLSign'] }), 'untrusted'],
  ['an intermediate must have key usage', below({ keyUsage: 'absent' }), 'untrusted'],
  ['a root need not', rootWith({ keyUsage: 'absent' }), 'accepted'],
  ['a root whose key usage does not let it sign may not', rootWith({ keyUsage: ['cRLSign'] }), 'untrusted', 'bundle'],
  ['key usage of an authority that is not critical counts', below({ keyUsageCritical: false }), 'accepted'],
  ['empty key usage lets nobody sign', below({ keyUsage: [] }), 'untrusted'],
  ['empty key usage is none for a leaf either', leafWith({ keyUsage: [] }), 'svid_key_usage'],
  [
    'more usages do not hurt an authority',
    below({ keyUsage: ['digitalSignature', 'keyCertSign', 'cRLSign'] }),
    'accepted',
  ],
  ['an intermediate without a name is none', below({ subject: '' }), 'untrusted'],
  ['a root without a name is none', rootWith({ subject: '' }), 'untrusted', 'bundle'],
  ['a leaf needs no name', leafWith({ subject: '' }), 'accepted'],
  ['an authority of version 1 is none', below({ version: 1 }), 'untrusted'],
  ['a root of version 1 is none', rootWith({ version: 1 }), 'untrusted', 'bundle'],
];

/** Which of several certificates is the issuer. */
export const graphCases: readonly LimboCase[] = [
  ['two authorities that vouch for each other vouch for nobody', circle(false), 'untrusted'],
  ['a circle does no harm when one of them has a root', circle(true), 'accepted'],
  ['an authority that an unknown root has signed too', crossSigned('ours first'), 'accepted'],
  // OpenSSL tries no second certificate once names and keys have matched.
  ['the same, with the certificate by the unknown root first', crossSigned('theirs first'), 'accepted', 'untrusted'],
  ['a namesake of the issuer with another key', namesake(false), 'accepted'],
  ['a namesake of the issuer with another key and no key identifier', namesake(true), 'accepted'],
  ['two roots of one name with different keys', twoRoots({}), 'accepted'],
  ['two roots of one name and key, one of which has ended', twoRoots('ended'), 'accepted'],
  ['the same certificate several times', duplicates, 'accepted'],
  ['the root that came along', withRoot, 'accepted'],
  ['an expired twin of the intermediate', expiredTwin, 'accepted'],
  ['a leaf among the intermediates', leafAmong, 'accepted'],
  ['a leaf that another leaf has signed', byLeaf, 'untrusted'],
];

/** The names that certificates give to keys (RFC 5280 §4.2.1.1, §4.2.1.2). */
const other = Buffer.alloc(20, 9);
const authorityKey = (value: Uint8Array, critical = false): CertificateSpec => ({
  authorityKeyId: 'absent',
  ...withExtension('2.5.29.35', value, critical),
});

export const keyNameCases: readonly LimboCase[] = [
  ['a leaf that names another key than that of its issuer', leafWith({ authorityKeyId: other }), 'untrusted'],
  ['an intermediate that names another key than that of the root', below({ authorityKeyId: other }), 'untrusted'],
  ['a leaf that names no key', leafWith({ authorityKeyId: 'absent', subjectKeyId: 'absent' }), 'accepted'],
  ['an issuer without a name for its key', below({ subjectKeyId: 'absent' }), 'accepted'],
  ['a root without a name for its key', rootWith({ subjectKeyId: 'absent', authorityKeyId: 'absent' }), 'accepted'],
  ['an intermediate that names no key of the root', below({ authorityKeyId: 'absent' }), 'accepted'],
  ['a root that names another key than its own', rootWith({ authorityKeyId: other }), 'accepted', 'bundle'],
  ['a name of the key that is empty', leafWith(authorityKey(sequence())), 'accepted'],
  ['a name of the key that is no SEQUENCE', leafWith(authorityKey(octetString(other))), 'untrusted'],
  [
    'a name of the own key that is no OCTET STRING',
    below({ subjectKeyId: 'absent', ...withExtension('2.5.29.14', sequence(), false) }),
    'untrusted',
  ],
  [
    'a serial of the issuer that is another: OpenSSL sees to it',
    leafWith(authorityKey(sequence(context(2, false, Buffer.of(7))))),
    'accepted',
    'untrusted',
  ],
  ['a critical name of the issuer’s key', leafWith(criticalAuthorityKey()), 'critical_extension'],
  [
    'a critical name of the own key',
    leafWith({ subjectKeyId: 'absent', ...withExtension('2.5.29.14', octetString(other)) }),
    'critical_extension',
  ],
  [
    'a critical name of an authority’s own key',
    below({ subjectKeyId: 'absent', ...withExtension('2.5.29.14', octetString(other)) }, { authorityKeyId: 'absent' }),
    'critical_extension',
  ],
];

function criticalAuthorityKey(): CertificateSpec {
  return authorityKey(sequence(), true);
}

function rollover(newer: CertificateSpec, older: CertificateSpec): LimboCase[1] {
  return () => {
    const upper = chainOf({ intermediates: [{ subject: 'same', ...older }] });
    const [issuer] = upper.intermediates;
    const lower = makeAuthority({ subject: 'same', issuer: issuer!, ...newer });
    return { ...upper, leaf: makeCertificate({ issuer: lower, ...leafSpec() }), intermediates: [lower, issuer!] };
  };
}

/** One more authority below a self-issued one. */
function belowRollover(older: CertificateSpec, newer: CertificateSpec = {}): LimboCase[1] {
  return () => {
    const { intermediates, ...upper } = rollover(newer, older)();
    const lowest = makeAuthority({ subject: 'lowest', issuer: intermediates[0]! });
    const leaf = makeCertificate({ issuer: lowest, ...leafSpec() });
    return { ...upper, leaf, intermediates: [lowest, ...intermediates] };
  };
}

function circle(hasRoot: boolean): LimboCase[1] {
  return () => {
    const { roots } = chainOf({});
    const [left, right] = [makeAuthority({ subject: 'left' }), makeAuthority({ subject: 'right' })];
    const byRight = makeAuthority({ subject: 'left', key: left.key, issuer: right });
    const byLeft = makeAuthority({ subject: 'right', key: right.key, issuer: left });
    const byRoot = makeAuthority({ subject: 'right', key: right.key, issuer: roots[0]! });
    const leaf = makeCertificate({ issuer: left, ...leafSpec() });
    return chain(leaf, hasRoot ? [byRight, byRoot, byLeft] : [byRight, byLeft], roots);
  };
}

function crossSigned(order: 'ours first' | 'theirs first'): LimboCase[1] {
  return () => {
    const { intermediates, roots, leaf } = chainOf({ intermediates: [{ subject: 'crossed', key: ecKey() }] });
    const [ours] = intermediates;
    const stranger = makeAuthority({ subject: 'stranger' });
    const theirs = makeAuthority({ subject: 'crossed', key: ours!.key, issuer: stranger });
    return chain(leaf, order === 'ours first' ? [ours!, theirs, stranger] : [theirs, stranger, ours!], roots);
  };
}

function namesake(isNameless: boolean): LimboCase[1] {
  return () => {
    const keyName = isNameless ? ({ subjectKeyId: 'absent', authorityKeyId: 'absent' } as const) : {};
    const { intermediates, roots, leaf } = chainOf({
      intermediates: [{ subject: 'name', ...keyName }],
      leaf: isNameless ? keyName : {},
    });
    const other = makeAuthority({ subject: 'name', issuer: roots[0]!, ...keyName });
    return chain(leaf, [...intermediates, other], roots);
  };
}

function twoRoots(which: 'ended' | object): LimboCase[1] {
  return () => {
    const made = chainOf({});
    const [root] = made.roots;
    const now = Date.now();
    const twin =
      which === 'ended'
        ? makeAuthority({ subject: 'limbo root', key: root!.key, notBeforeMs: now - 9e9, notAfterMs: now - 1000 })
        : makeAuthority({ subject: 'limbo root' });
    return { ...made, roots: [twin, root!] };
  };
}

function duplicates(): Chain {
  const made = chainOf({ intermediates: [{}, {}] });
  const [lower, upper] = made.intermediates;
  return { ...made, intermediates: [lower!, lower!, upper!, lower!, upper!] };
}

function withRoot(): Chain {
  const made = chainOf({ intermediates: [{}] });
  return { ...made, intermediates: [...made.intermediates, ...made.roots, ...made.roots] };
}

function expiredTwin(): Chain {
  const made = chainOf({ intermediates: [{ subject: 'twin' }] });
  const [good] = made.intermediates;
  const now = Date.now();
  const dates = { notBeforeMs: now - 9e9, notAfterMs: now - 1000 };
  const twin = makeAuthority({ subject: 'twin', key: good!.key, issuer: made.roots[0]!, ...dates });
  return { ...made, intermediates: [good!, twin] };
}

function leafAmong(): Chain {
  const made = chainOf({ intermediates: [{}] });
  return { ...made, intermediates: [...made.intermediates, chainOf({}).leaf] };
}

function byLeaf(): Chain {
  const upper = chainOf({ leaf: { subject: 'upper' } });
  return chain(makeCertificate({ issuer: upper.leaf, ...leafSpec() }), [upper.leaf], upper.roots);
}

function chain(leaf: MadeCertificate, intermediates: readonly MadeCertificate[], roots: readonly MadeCertificate[]) {
  return { leaf, intermediates, roots, trustDomain: limboDomain };
}
