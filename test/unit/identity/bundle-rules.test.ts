import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isSameBundles, withBundles } from '../../../src/agent/identity-sources/bundles.ts';
import { readCertificate } from '../../../src/identity/certificate.ts';
import { decidePeer } from '../../../src/identity/decide-peer.ts';
import { makeIdentity } from '../../../src/identity/identity.ts';
import type { TrustBundles } from '../../../src/identity/trust-bundle.ts';
import { parseTrustBundles, TrustBundleError } from '../../../src/identity/trust-bundle.ts';
import { createTestAuthority, spiffeId } from '../../support/identities.ts';

/*
 * What holds for every set of trust bundles: three trust domains, five roots that any of them may have, and for each root a
 * leaf of each trust domain that it has signed.
 */

const domains = ['a.example', 'b.example', 'c.example'] as const;
type Domain = (typeof domains)[number];
const nowMs = Date.now();

const authorities = Array.from({ length: 5 }, (_, index) =>
  createTestAuthority('any.example', { root: { subject: `root ${index}` } }),
);
const roots = authorities.map(({ bundlePem }) => bundlePem);
const leaves = authorities.map((authority) =>
  Object.fromEntries(
    domains.map((domain) => {
      const { certificate, key } = authority.issue({ id: `spiffe://${domain}/ns/shop/sa/web` });
      return [domain, { pem: certificate.pem, facts: readCertificate(certificate.der), key }];
    }),
  ),
);

type Sets = Partial<Record<Domain, readonly number[]>>;
/** Which roots each trust domain has, in some order, of some trust domains. */
const sets = fc
  .tuple(...domains.map(() => fc.option(fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 1 }))))
  .map((picked): Sets => {
    const named = domains.map((domain, index) => [domain, picked[index]] as const);
    return Object.fromEntries(named.filter(([, numbers]) => numbers !== null));
  });
/** Where no root is in two of them, which is what can be used. */
const usableSets = fc
  .tuple(fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5 }), fc.nat(3), fc.nat(3))
  .map(([order, first, second]): Sets => {
    const [from, to] = [Math.min(first, second) + 1, Math.max(first, second) + 1];
    const parts = [order.slice(0, from), order.slice(from, to), order.slice(to)];
    const named = domains.map((domain, index) => [domain, parts[index] ?? []] as const);
    return Object.fromEntries(named.filter(([, numbers]) => numbers.length > 0));
  });
const pemOf = (set: Sets) =>
  Object.fromEntries(Object.entries(set).map(([domain, numbers]) => [domain, numbers.map((n) => roots[n]).join('')]));

function parsed(pem: Readonly<Record<string, string>>): TrustBundles | undefined {
  try {
    return parseTrustBundles(pem);
  } catch (error) {
    if (error instanceof TrustBundleError) return undefined;
    throw error;
  }
}
const shown = ({ domains: all }: TrustBundles) =>
  Object.fromEntries([...all].map(([domain, anchors]) => [domain, anchors.map(({ pem }) => pem)]));

it('B2: a set is what its texts say, all of it, or it is nothing', () => {
  const broken = fc.constantFrom(
    '',
    '\n',
    '-----BEGIN CERTIFICATE-----\n',
    'QUJD'.repeat(20),
    leaves[0]!['a.example']!.pem,
  );
  fc.assert(
    fc.property(sets, fc.option(fc.tuple(fc.constantFrom(...domains), broken)), (set, damage) => {
      const pem = pemOf(set);
      const [where, text] = damage ?? [];
      if (where !== undefined && where in pem) pem[where] = text === '' ? '' : `${pem[where]}${text}`;
      const numbers = Object.values(set).flat();
      const isShared = new Set(numbers).size < numbers.length;
      const isBroken = where !== undefined && where in set && text !== '\n';
      const isUsable = numbers.length > 0 && !isShared && !isBroken;
      const bundles = parsed(pem);
      expect(bundles !== undefined).toBe(isUsable);
      if (bundles === undefined) return;
      const expected = Object.entries(set).map(([domain, list]) => [domain, list.map((n) => roots[n])]);
      expect(shown(bundles)).toEqual(Object.fromEntries(expected));
    }),
    { numRuns: 200 },
  );
});

it('B6: the order of roots and of trust domains does not matter', () => {
  fc.assert(
    fc.property(usableSets, usableSets, fc.boolean(), (set, other, isReversed) => {
      const entries = Object.entries(pemOf(set));
      const turned = Object.entries(set).map(([domain, list]) => [
        domain,
        list
          .toReversed()
          .map((n) => roots[n])
          .join(''),
      ]);
      const bundles = parseTrustBundles(Object.fromEntries(entries));
      const same = parseTrustBundles(Object.fromEntries(isReversed ? turned.toReversed() : turned));
      expect(isSameBundles(bundles, same)).toBe(true);
      const sorted = (one: Sets) => JSON.stringify(domains.map((domain) => [...(one[domain] ?? [])].sort()));
      expect(isSameBundles(bundles, parseTrustBundles(pemOf(other)))).toBe(sorted(set) === sorted(other));
    }),
    { numRuns: 100 },
  );
});

it('C27: no trust domain vouches for another, whatever roots there are: a leaf counts where the root of its own domain signed it', () => {
  fc.assert(
    fc.property(usableSets, fc.nat(4), fc.constantFrom(...domains), (set, signer, domain) => {
      const bundles = parseTrustBundles(pemOf(set));
      const decision = decidePeer(leaves[signer]![domain]!.facts, [], {
        anchorsOf: (trustDomain) => bundles.domains.get(trustDomain)?.map(({ facts }) => facts),
        expectedId: undefined,
        nowMs,
        acceptsAbsentKeyUsage: false,
      });
      const expected =
        set[domain] === undefined ? 'trust_domain' : set[domain].includes(signer) ? 'accepted' : 'untrusted';
      expect(decision.kind === 'refused' ? decision.reason : decision.kind).toBe(expected);
    }),
    { numRuns: 300 },
  );
});

it('R24: our own identity takes every set of bundles, and lives on under those alone that vouch for it', () => {
  const { pem: chainPem, key } = leaves[0]!['a.example']!;
  const first = makeIdentity({
    generation: 1,
    key,
    chainPem,
    bundles: parseTrustBundles({ 'a.example': roots[0]! }),
    expected: spiffeId('spiffe://a.example/ns/shop/sa/web'),
    nowMs,
  });
  fc.assert(
    fc.property(fc.array(usableSets, { minLength: 1, maxLength: 4 }), (steps) => {
      let current = first;
      for (const set of steps) {
        const bundles = parseTrustBundles(pemOf(set));
        // As the identity source does it: from the certificate as it was verified.
        current = withBundles(first, bundles, current.generation + 1, nowMs);
        expect(current.bundles).toBe(bundles);
        expect(current.chainPem).toBe(first.chainPem);
        expect(current.notAfterMs).toBe(set['a.example']?.includes(0) ? first.notAfterMs : nowMs);
      }
    }),
    { numRuns: 100 },
  );
});
