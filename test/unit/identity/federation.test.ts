import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Federation } from '../../../src/identity/federation.ts';
import { federate } from '../../../src/identity/federation.ts';
import { bundleLimits, parseTrustBundles, TrustBundleError } from '../../../src/identity/trust-bundle.ts';
import { makeAuthority } from '../../support/certificates.ts';

const root = makeAuthority({ subject: 'ours' });
const [a, b, c] = ['a', 'b', 'c'].map((subject) => makeAuthority({ subject })) as [
  typeof root,
  typeof root,
  typeof root,
];
const own = parseTrustBundles({ 'cluster.local': root.pem }).domains;
const none: Federation['federated'] = new Map();

const texts = (record: Readonly<Record<string, string | Error>>) => new Map(Object.entries(record));
const inUseOf = (record: Readonly<Record<string, string>>) => federate(own, none, texts(record)).federated;
const shown = ({ bundles }: Federation) =>
  Object.fromEntries([...bundles.domains].map(([domain, roots]) => [domain, roots.map(({ pem }) => pem).join('')]));

describe('federate', () => {
  it('puts the latest bundle of each trust domain beside our own', () => {
    const federation = federate(own, none, texts({ 'a.example': a.pem, 'b.example': `${b.pem}${c.pem}` }));
    expect(shown(federation)).toEqual({
      'cluster.local': root.pem,
      'a.example': a.pem,
      'b.example': `${b.pem}${c.pem}`,
    });
    expect([...federation.federated.keys()]).toEqual(['a.example', 'b.example']);
    expect(federation.refused.size).toBe(0);
  });

  it.each<[string, string | Error]>([
    ['is empty', ''],
    ['is broken', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
    ['is a broken document', '{"keys":[7]}'],
    ['cannot be read', new Error('a.pem is larger than 1 bytes')],
    ['has our own root', root.pem],
    ['has the root of another one', b.pem],
  ])('B2: keeps the bundle in use of the one that %s, and takes those of the others', (_, text) => {
    const inUse = inUseOf({ 'a.example': a.pem, 'b.example': b.pem });
    const federation = federate(own, inUse, texts({ 'a.example': text, 'b.example': `${b.pem}${c.pem}` }));
    expect(shown(federation)).toEqual({
      'cluster.local': root.pem,
      'a.example': a.pem,
      'b.example': `${b.pem}${c.pem}`,
    });
    expect([...federation.refused.keys()]).toEqual(['a.example']);
  });

  it('B2: has nothing for one that was never good', () => {
    const federation = federate(own, none, texts({ 'a.example': 'x', 'b.example': b.pem }));
    expect(shown(federation)).toEqual({ 'cluster.local': root.pem, 'b.example': b.pem });
    expect(federation.refused.get('a.example')).toMatchObject({ reason: 'bundle_empty' });
  });

  it('B12: trusts nobody of a trust domain whose document has no root', () => {
    const inUse = inUseOf({ 'a.example': a.pem, 'b.example': b.pem });
    const federation = federate(own, inUse, texts({ 'a.example': '{"keys":[]}', 'b.example': b.pem }));
    expect(shown(federation)).toEqual({ 'cluster.local': root.pem, 'b.example': b.pem });
    expect(federation.refused.size).toBe(0);
  });

  it('B12: and of one that withdraws its root while another one is broken', () => {
    const inUse = inUseOf({ 'a.example': a.pem, 'b.example': b.pem });
    const federation = federate(own, inUse, texts({ 'a.example': '{"keys":[]}', 'b.example': c.pem.slice(1) }));
    expect(shown(federation)).toEqual({ 'cluster.local': root.pem, 'b.example': b.pem });
    const withOurs = federate(own, inUse, texts({ 'a.example': '{"keys":[]}', 'b.example': root.pem }));
    expect(shown(withOurs)).toEqual({ 'cluster.local': root.pem, 'b.example': b.pem });
  });

  it('P14: trusts nobody of a trust domain that is no longer named', () => {
    const inUse = inUseOf({ 'a.example': a.pem, 'b.example': b.pem });
    expect(shown(federate(own, inUse, texts({ 'b.example': b.pem })))).toEqual({
      'cluster.local': root.pem,
      'b.example': b.pem,
    });
  });

  it('lets two trust domains change places at once, and refuses a root that another one still has', () => {
    const inUse = inUseOf({ 'a.example': a.pem, 'b.example': b.pem });
    const swapped = federate(own, inUse, texts({ 'a.example': b.pem, 'b.example': a.pem }));
    expect(shown(swapped)).toMatchObject({ 'a.example': b.pem, 'b.example': a.pem });
    const taken = federate(own, inUse, texts({ 'a.example': b.pem, 'b.example': b.pem }));
    expect(shown(taken)).toMatchObject({ 'a.example': a.pem, 'b.example': b.pem });
    expect([...taken.refused.keys()]).toEqual(['a.example']);
  });

  it('lets go of a bundle in use that our own roots no longer agree with', () => {
    const next = parseTrustBundles({ 'cluster.local': `${root.pem}${a.pem}` }).domains;
    const federation = federate(next, inUseOf({ 'a.example': a.pem }), texts({ 'a.example': a.pem }));
    expect([...federation.bundles.domains.keys()]).toEqual(['cluster.local']);
    expect([...federation.refused.keys()]).toEqual(['a.example']);
  });

  it('says nothing against a trust domain whose latest bundle is used, though the one before could not be any more', () => {
    const next = parseTrustBundles({ 'cluster.local': `${root.pem}${a.pem}` }).domains;
    const inUse = inUseOf({ 'a.example': a.pem, 'b.example': b.pem });
    const federation = federate(next, inUse, texts({ 'a.example': c.pem, 'b.example': root.pem }));
    expect(shown(federation)).toMatchObject({ 'a.example': c.pem, 'b.example': b.pem });
    expect([...federation.refused.keys()]).toEqual(['b.example']);
  });

  it('never takes a bundle of others for our own', () => {
    const federation = federate(own, none, texts({ 'cluster.local': a.pem }));
    expect(shown(federation)).toEqual({ 'cluster.local': root.pem });
  });

  it('B5: keeps what is in use when the latest is beyond the limits together', () => {
    const limits = { ...bundleLimits, roots: 3 };
    const inUse = inUseOf({ 'a.example': a.pem });
    const latest = texts({ 'a.example': `${a.pem}${c.pem}`, 'b.example': b.pem });
    const federation = federate(own, inUse, latest, limits);
    expect([...federation.refused].map(([domain, error]) => [domain, (error as TrustBundleError).reason])).toEqual([
      ['b.example', 'too_large'],
    ]);
    const tight = { ...limits, characters: root.pem.length + a.pem.length };
    expect(shown(federate(own, inUse, latest, tight))).toEqual({ 'cluster.local': root.pem, 'a.example': a.pem });
  });

  it('is whole, whatever came before and comes now: every set can be used, and what is bad changes one trust domain alone', () => {
    const domains = ['a.example', 'b.example', 'c.example'];
    const bundle = fc.oneof(
      { weight: 4, arbitrary: fc.subarray([a.pem, b.pem, c.pem], { minLength: 1 }).map((pems) => pems.join('')) },
      fc.constantFrom('', 'x', '{"keys":[]}', root.pem, `${a.pem}broken-----`),
    );
    const step = fc.dictionary(fc.constantFrom(...domains), bundle);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 5 }), (steps) => {
        let inUse = none;
        for (const latest of steps) {
          const next = federate(own, inUse, texts(latest));
          const pem = shown(next);
          expect(() => parseTrustBundles(pem)).not.toThrow();
          expect(pem['cluster.local']).toBe(root.pem);
          for (const domain of domains) {
            const isRefused = next.refused.has(domain);
            const [before, now] = [inUse, next.federated].map((set) =>
              set
                .get(domain)
                ?.map(({ pem }) => pem)
                .join(''),
            );
            if (!(domain in latest)) expect(now).toBeUndefined();
            else if (isRefused) expect(now).toBe(before);
            else expect(now ?? '{"keys":[]}').toBe(latest[domain]);
          }
          inUse = next.federated;
        }
      }),
      { numRuns: 60 },
    );
  });

  it('throws for our own bundle alone', () => {
    const twice = new Map([...own, ['other.local', [...own.values()].flat()]]);
    expect(() => federate(twice, none, new Map())).toThrow(TrustBundleError);
  });
});
