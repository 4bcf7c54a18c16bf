import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Certificate } from '../../../src/identity/certificate.ts';
import type { Decision, PeerRules } from '../../../src/identity/decide-peer.ts';
import { decidePeer } from '../../../src/identity/decide-peer.ts';
import { spiffeId } from '../../support/identities.ts';
import type { Facts } from './facts.ts';
import { authority, bothPurposes, certificate, hourMs, now } from './facts.ts';

const root = authority({ key: 'root', signer: 'root' });
const usage = { digitalSignature: true, keyCertSign: false, crlSign: false };

function rules(overrides: Partial<PeerRules> = {}): PeerRules {
  return {
    anchorsOf: (domain) => (domain === 'a' ? [root] : undefined),
    expectedId: undefined,
    nowMs: now,
    acceptsAbsentKeyUsage: false,
    ...overrides,
  };
}

function decide(
  facts: Partial<Facts>,
  overrides: Partial<PeerRules> = {},
  intermediates: readonly Certificate[] = [],
): Decision {
  return decidePeer(certificate({ key: 'leaf', signer: 'root', ...facts }), intermediates, rules(overrides));
}

function outcome(decision: Decision): string {
  return decision.kind === 'accepted' ? 'accepted' : decision.reason;
}

describe('decidePeer', () => {
  it('accepts a workload of a trust domain that one of its roots vouches for, and shows the path', () => {
    const decision = decide({});
    expect(decision).toMatchObject({ kind: 'accepted', id: { uri: 'spiffe://a/ns/n/sa/s' } });
    expect(decision.kind === 'accepted' && decision.path.map(({ publicKey }) => publicKey)).toEqual(['leaf', 'root']);
  });

  const refusals: readonly [string, Partial<Facts>, string][] = [
    ['S2: has no URI', { uris: [] }, 'svid_no_uri'],
    ['S3: has two URIs', { uris: ['spiffe://a/ns/n/sa/s', 'spiffe://a/ns/n/sa/s'] }, 'svid_multiple_uris'],
    ['S4: has a URI that is no SPIFFE ID', { uris: ['https://a/ns/n/sa/s'] }, 'svid_id_syntax'],
    ['S10: has an ID of more than 2048 bytes', { uris: [`spiffe://a/${'x'.repeat(2048)}`] }, 'svid_id_too_long'],
    ['S16: is an authority', { isAuthority: true }, 'svid_is_ca'],
    ['S17: may sign certificates', { keyUsage: { ...usage, keyCertSign: true } }, 'svid_key_usage'],
    ['S17: may sign revocation lists', { keyUsage: { ...usage, crlSign: true } }, 'svid_key_usage'],
    ['S18: has no key usage', { keyUsage: undefined }, 'svid_key_usage'],
    ['S18: may not sign', { keyUsage: { ...usage, digitalSignature: false } }, 'svid_key_usage'],
    ['C13: is for servers alone', { purposes: [bothPurposes[0]!] }, 'bad_purpose'],
    ['C13: is for clients alone', { purposes: [bothPurposes[1]!] }, 'bad_purpose'],
    ['C13: has an empty list of purposes', { purposes: [] }, 'bad_purpose'],
    ['C15: has a critical extension that is not understood', { unknownCritical: '1.2.3' }, 'critical_extension'],
    ['C21: has a weak key', { weakKey: 'it is weak' }, 'untrusted'],
    ['C21: has a weak signature', { weakSignature: 'it is weak' }, 'untrusted'],
    ['C3: has expired', { notAfterMs: now }, 'expired'],
    ['C4: is not valid yet', { notBeforeMs: now + 1 }, 'not_yet_valid'],
    ['S20: is of a trust domain without a bundle', { uris: ['spiffe://b/ns/n/sa/s'] }, 'trust_domain'],
    ['C1: is signed by a stranger', { signer: 'stranger' }, 'untrusted'],
  ];
  it.each(refusals)('%s: refused', (_, facts, reason) => {
    const decision = decide(facts);
    expect(outcome(decision)).toBe(reason);
    expect(decision.kind === 'refused' && decision.why).toBeTruthy();
  });

  it('C3: accepts up to the last instant before the end, and from the first of the beginning', () => {
    expect(outcome(decide({ notAfterMs: now + 1, notBeforeMs: now }))).toBe('accepted');
  });

  it('C14: accepts a certificate without extended key usage', () => {
    expect(outcome(decide({ purposes: undefined }))).toBe('accepted');
  });

  it('C14: accepts more purposes than both roles', () => {
    expect(outcome(decide({ purposes: ['1.2.3', ...bothPurposes] }))).toBe('accepted');
  });

  it('S18: accepts a certificate without key usage when the switch says so, but never one without digitalSignature', () => {
    const lenient = { acceptsAbsentKeyUsage: true };
    expect(outcome(decide({ keyUsage: undefined }, lenient))).toBe('accepted');
    expect(outcome(decide({ keyUsage: { ...usage, digitalSignature: false } }, lenient))).toBe('svid_key_usage');
    expect(outcome(decide({ keyUsage: { ...usage, keyCertSign: true } }, lenient))).toBe('svid_key_usage');
  });

  it('S22: refuses another identity than the expected one as peer_identity, byte for byte', () => {
    expect(outcome(decide({}, { expectedId: spiffeId('spiffe://a/ns/n/sa/s') }))).toBe('accepted');
    for (const uri of ['spiffe://a/ns/n/sa/other', 'spiffe://a/ns/n/sa/S', 'spiffe://a/ns/n/sa/s2']) {
      expect(outcome(decide({}, { expectedId: spiffeId(uri) }))).toBe('peer_identity');
    }
  });

  it('C27: asks the roots of the trust domain that the certificate names, and no others', () => {
    const foreign = authority({ key: 'foreign', signer: 'foreign' });
    const anchorsOf = (domain: string) => (domain === 'a' ? [root] : domain === 'b' ? [foreign] : undefined);
    expect(outcome(decide({ signer: 'foreign' }, { anchorsOf }))).toBe('untrusted');
    expect(outcome(decide({ signer: 'foreign', uris: ['spiffe://b/ns/n/sa/s'] }, { anchorsOf }))).toBe('accepted');
    expect(outcome(decide({ uris: ['spiffe://b/ns/n/sa/s'] }, { anchorsOf }))).toBe('untrusted');
  });

  it('S11: writes what a stranger chose in printable ASCII, cut short', () => {
    const decision = decide({ uris: [`https://a/\0\n\x1b[31m\xe9"\\${'x'.repeat(500)}`] });
    const why = decision.kind === 'refused' ? decision.why : '';
    expect(why).toMatch(/^[\x20-\x7e]+$/);
    expect(why).toContain('"https://a/\\x00\\x0a\\x1b[31m\\xe9\\x22\\x5cxxx');
    expect(why.length).toBeLessThan(250);
  });

  it.each<[string, Partial<Facts>, string]>([
    ['without a bundle', { uris: ['spiffe://b/ns/n/sa/s'] }, 'there is no trust bundle for b'],
    ['with a weak key', { weakKey: 'it is short' }, 'the certificate is too weak: it is short'],
    ['with a weak signature', { weakSignature: 'it is MD5' }, 'the certificate is too weak: it is MD5'],
    ['with a wrong ID', { uris: ['b:c'] }, '"b:c" is not a SPIFFE ID: it does not start with spiffe://'],
    ['that is empty', { uris: [''] }, '"" is not a SPIFFE ID: it does not start with spiffe://'],
  ])('says in words why it refuses one %s', (_, facts, why) => {
    expect(decide(facts)).toMatchObject({ kind: 'refused', why });
  });

  it('S22: says both identities when another one is expected', () => {
    expect(decide({}, { expectedId: spiffeId('spiffe://a/ns/n/sa/t') })).toMatchObject({
      why: 'it is spiffe://a/ns/n/sa/s, expected spiffe://a/ns/n/sa/t',
    });
  });

  it('S11: shows 120 characters of what a stranger chose, and dots where there are more', () => {
    const shown = (length: number) => {
      const decision = decide({ uris: ['x'.repeat(length)] });
      return decision.kind === 'refused' ? decision.why.split(' ')[0] : '';
    };
    expect(shown(120)).toBe(`"${'x'.repeat(120)}"`);
    expect(shown(121)).toBe(`"${'x'.repeat(120)}..."`);
  });

  it('accepts only what every single rule accepts, and refuses whenever one does not', () => {
    const wrongs: readonly Partial<Facts>[] = refusals.map(([, facts]) => facts);
    fc.assert(
      fc.property(fc.subarray([...wrongs]), (chosen) => {
        const decision = decide(Object.assign({}, ...chosen));
        expect(decision.kind).toBe(chosen.length === 0 ? 'accepted' : 'refused');
      }),
    );
  });

  it('never accepts a chain of random parts unless an independent reading of the rules does', () => {
    fc.assert(
      fc.property(chains, ({ leaf, intermediates, anchors, expected }) => {
        const expectedId = expected === undefined ? undefined : spiffeId(expected);
        const decision = decidePeer(
          leaf,
          intermediates,
          rules({ anchorsOf: (domain) => anchors.get(domain), expectedId }),
        );
        fc.pre(decision.kind === 'accepted' || decision.reason !== 'chain_too_long');
        expect(decision.kind === 'accepted').toBe(isSound(leaf, intermediates, anchors, expected));
        if (decision.kind === 'accepted') {
          expect(anchors.get(decision.id.trustDomain)).toContain(decision.path.at(-1));
          decision.path.slice(1).forEach((issuer, index) => {
            expect(decision.path[index]!.isSignedBy(issuer)).toBe(true);
          });
        }
      }),
      { numRuns: 3000 },
    );
  });
});

const keys = fc.constantFrom('k1', 'k2', 'k3', 'k4');
/** Mostly right, so that whole paths come up; each wrong often enough to matter. */
const mostly = <T>(right: T, ...wrong: T[]) =>
  fc.oneof({ weight: 20, arbitrary: fc.constant(right) }, ...wrong.map((value) => fc.constant(value)));
/** Two keys share a name each, so that a name tells nothing, and an authority can be issued by its namesake. */
const nameOf = (key: string) => `name ${key.charCodeAt(1) % 2}`;
const keyIds = {
  subjectKeyId: mostly<'key' | 'other' | undefined>('key', 'other', undefined),
  authorityKeyId: mostly<'key' | 'other' | undefined>('key', 'other', undefined),
};
interface Named {
  readonly key: string;
  readonly signer: string;
  readonly subjectKeyId: 'key' | 'other' | undefined;
  readonly authorityKeyId: 'key' | 'other' | undefined;
}
const withNames = <T extends Named>(facts: T) => ({
  ...facts,
  subject: nameOf(facts.key),
  issuer: nameOf(facts.signer),
  subjectKeyId: facts.subjectKeyId === 'key' ? facts.key : facts.subjectKeyId,
  authorityKeyId: facts.authorityKeyId === 'key' ? facts.signer : facts.authorityKeyId,
});
const dates = { notBeforeMs: mostly(now - hourMs, now + 1), notAfterMs: mostly(now + hourMs, now) };
const authorities = fc
  .record({
    key: keys,
    signer: keys,
    isAuthority: mostly(true, false),
    keyUsage: mostly<Certificate['keyUsage']>(
      { digitalSignature: false, keyCertSign: true, crlSign: true },
      usage,
      undefined,
    ),
    pathLength: fc.constantFrom(undefined, 0, 1),
    purposes: mostly<Certificate['purposes']>(undefined, bothPurposes, ['1.2.3']),
    unknownCritical: mostly<string | undefined>(undefined, '1.2.3'),
    weakKey: mostly<string | undefined>(undefined, 'weak'),
    weakSignature: mostly<string | undefined>(undefined, 'weak'),
    nameConstraints: mostly<Certificate['nameConstraints']>(
      undefined,
      { permittedHosts: ['a'], excludedHosts: [] },
      { permittedHosts: undefined, excludedHosts: ['a'] },
    ),
    ...dates,
    ...keyIds,
  })
  .map((facts) => authority(withNames(facts)));
const leaves = fc
  .record({
    signer: keys,
    uris: mostly(['spiffe://a/ns/n/sa/s'], ['spiffe://b/ns/n/sa/s'], []),
    isAuthority: mostly(false, true),
    keyUsage: mostly<Certificate['keyUsage']>(usage, { ...usage, crlSign: true }, undefined),
    ...dates,
    ...keyIds,
  })
  .map((facts) => certificate(withNames({ key: 'leaf', ...facts })));
const chains = fc.record({
  leaf: leaves,
  intermediates: fc.array(authorities, { maxLength: 5 }),
  anchors: fc
    .record({ a: fc.array(authorities, { maxLength: 2 }), b: fc.array(authorities, { maxLength: 2 }) })
    .map((all) => new Map(Object.entries(all))),
  expected: mostly<string | undefined>(undefined, 'spiffe://a/ns/n/sa/s', 'spiffe://a/ns/n/sa/t'),
});

/** The rules once more, by trying every path without repetition, as slowly and as plainly as they can be written. */
function isSound(
  leaf: Certificate,
  intermediates: readonly Certificate[],
  anchors: ReadonlyMap<string, readonly Certificate[]>,
  expected: string | undefined,
): boolean {
  const [uri] = leaf.uris;
  if (leaf.uris.length !== 1 || uri === undefined || (expected !== undefined && uri !== expected)) return false;
  const domain = uri.slice('spiffe://'.length).split('/')[0]!;
  const isCurrent = (one: Certificate) => one.notBeforeMs <= now && now < one.notAfterMs;
  const leafFits =
    !leaf.isAuthority &&
    leaf.keyUsage?.digitalSignature &&
    !leaf.keyUsage.keyCertSign &&
    !leaf.keyUsage.crlSign &&
    isCurrent(leaf);
  const roots = anchors.get(domain) ?? [];
  const mayIssue = (one: Certificate, below: readonly Certificate[]) => {
    const isRoot = roots.includes(one);
    const counted = below.slice(1).filter((other) => other.subject !== other.issuer).length;
    return (
      one.isAuthority &&
      (one.keyUsage === undefined ? isRoot : one.keyUsage.keyCertSign) &&
      (one.purposes === undefined || bothPurposes.every((purpose) => one.purposes?.includes(purpose))) &&
      one.unknownCritical === undefined &&
      one.weakKey === undefined &&
      (isRoot || one.weakSignature === undefined) &&
      (one.pathLength === undefined || counted <= one.pathLength) &&
      (one.nameConstraints?.permittedHosts?.includes(domain) ?? true) &&
      !one.nameConstraints?.excludedHosts.includes(domain) &&
      isCurrent(one)
    );
  };
  const isNamed = ({ subject, subjectKeyId }: Certificate, { issuer, authorityKeyId }: Certificate) =>
    issuer === subject && new Set([subjectKeyId ?? authorityKeyId, authorityKeyId ?? subjectKeyId]).size === 1;
  const reaches = (path: readonly Certificate[]): boolean => {
    const last = path.at(-1)!;
    return [...roots, ...intermediates].some((issuer) => {
      const fits = !path.includes(issuer) && last.isSignedBy(issuer) && isNamed(issuer, last) && mayIssue(issuer, path);
      return fits && (roots.includes(issuer) || reaches([...path, issuer]));
    });
  };
  return leafFits === true && reaches([leaf]);
}
