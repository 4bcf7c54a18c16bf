import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTrustDomain, parseSpiffeId, workloadOf, workloadSpiffeId } from '../../../src/identity/spiffe-id.ts';

const valid = 'spiffe://cluster.local/ns/shop/sa/web';

function reasonOf(text: string): string {
  const parsed = parseSpiffeId(text);
  return parsed.kind === 'id' ? 'accepted' : parsed.reason;
}

/** An ID of exactly this many bytes. */
function idOfLength(length: number): string {
  return `spiffe://td/${'a'.repeat(length - 'spiffe://td/'.length)}`;
}

describe('parseSpiffeId', () => {
  it('takes an ID apart without changing a byte of it', () => {
    expect(parseSpiffeId(valid)).toEqual({
      kind: 'id',
      id: { uri: valid, trustDomain: 'cluster.local', path: '/ns/shop/sa/web' },
    });
  });

  it.each([
    'https://td/ns/a',
    'SPIFFE://td/a',
    'Spiffe://td/a',
    'spiffe:/td/a',
    'spiffe:td/a',
    '//td/a',
    ' spiffe://td/a',
    '',
  ])('S4: refuses %j, which is not of the scheme spiffe, as svid_id_syntax', (text) =>
    expect(reasonOf(text)).toBe('svid_id_syntax'),
  );

  it.each(['spiffe://td', 'spiffe://td/', 'spiffe://td/a/'])(
    'S5: refuses %j, whose path is empty or ends in a slash, as svid_id_syntax',
    (text) => expect(reasonOf(text)).toBe('svid_id_syntax'),
  );

  it.each([
    'spiffe://td//a',
    'spiffe://td/a//b',
    'spiffe://td/./a',
    'spiffe://td/a/../b',
    'spiffe://td/..',
    'spiffe://td/.',
  ])('S6: refuses %j, which has an empty segment or a dot segment, as svid_id_syntax', (text) =>
    expect(reasonOf(text)).toBe('svid_id_syntax'),
  );

  it('S6: accepts segments that only contain dots among other letters', () => {
    expect(reasonOf('spiffe://td/.../..a/a..')).toBe('accepted');
  });

  it.each(['spiffe://td/%2e%2e/a', 'spiffe://td/a%2Fb', 'spiffe://t%64/a', 'spiffe://td/%61'])(
    'S7: refuses %j, which is percent-encoded, and never decodes it',
    (text) => expect(reasonOf(text)).toBe('svid_id_syntax'),
  );

  it.each([
    'spiffe://user@td/a',
    'spiffe://user:pass@td/a',
    'spiffe://td:443/a',
    'spiffe://td/a?b=c',
    'spiffe://td/a#b',
    'spiffe://td/a;b',
  ])('S8: refuses %j, which has user information, a port, a query or a fragment, as svid_id_syntax', (text) =>
    expect(reasonOf(text)).toBe('svid_id_syntax'),
  );

  it.each([
    'spiffe://TD/a',
    'spiffe://Cluster.local/a',
    'spiffe://münchen/a',
    'spiffe:///a',
    'spiffe://[::1]/a',
    `spiffe://${'a'.repeat(256)}/a`,
  ])('S9: refuses %j, whose trust domain is not lower-case ASCII of 1 to 255 bytes, as svid_id_syntax', (text) =>
    expect(reasonOf(text)).toBe('svid_id_syntax'),
  );

  it('S9: accepts a trust domain of 255 bytes', () => {
    expect(reasonOf(`spiffe://${'a'.repeat(255)}/a`)).toBe('accepted');
  });

  it('S10: accepts an ID of 2048 bytes and refuses one of 2049 as svid_id_too_long', () => {
    expect(reasonOf(idOfLength(2048))).toBe('accepted');
    expect(reasonOf(idOfLength(2049))).toBe('svid_id_too_long');
  });

  it.each([
    'spiffe://td/admin\0.evil',
    'spiffe://td\0.evil/admin',
    'spiffe://td/admin\n',
    'spiffe://td/admin\r\n/x',
    'spiffe://td/a\tb',
  ])('S11: refuses %j, which has a NUL or another control character, as svid_id_syntax', (text) =>
    expect(reasonOf(text)).toBe('svid_id_syntax'),
  );

  it.each([
    'spiffe://td/\xe9',
    'spiffe://td/\xc3\x28',
    'spiffe://td/\u0430dmin',
    'spiffe://td/\ud800',
    'spiffe://td/ﬀ',
  ])('S13: refuses %j, which is not ASCII, as svid_id_syntax', (text) => expect(reasonOf(text)).toBe('svid_id_syntax'));

  it.each(['spiffe://10.0.0.1/ns/a/sa/b', 'spiffe://1.2.3.4.5/a', 'spiffe://127.0.0.1/a', 'spiffe://999.1/a'])(
    'S24: accepts %j, whose trust domain looks like an address, like any other name',
    (text) => expect(reasonOf(text)).toBe('accepted'),
  );

  it('S21: accepts an ID of another shape as an identity that belongs to no namespace', () => {
    for (const path of [
      '/spire/agent',
      '/ns/shop',
      '/ns/shop/sa',
      '/ns/shop/sa/web/x',
      '/NS/shop/sa/web',
      '/sa/web/ns/shop',
      '/ns/shop/SA/web',
    ]) {
      const parsed = parseSpiffeId(`spiffe://td${path}`);
      expect(parsed).toMatchObject({ kind: 'id' });
      expect(parsed.kind === 'id' && workloadOf(parsed.id)).toBeUndefined();
    }
  });

  it.each([
    ['https://td/a', 'it does not start with spiffe://'],
    ['spiffe://TD/a', 'its trust domain is not 1 to 255 of a-z, 0-9, dot, dash and underscore'],
    ['spiffe://td', 'it has no path'],
    [
      'spiffe://td/',
      'a segment of its path is empty, a dot segment, or not of A-Z, a-z, 0-9, dot, dash and underscore',
    ],
    [idOfLength(3000), 'it is 3000 bytes long, at most 2048 are allowed'],
  ])('says why %s is refused', (text, why) => {
    expect(parseSpiffeId(text)).toMatchObject({ kind: 'invalid', why });
  });

  it('never throws, and what it accepts consists of allowed bytes and comes back unchanged', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom(...'spiffe:/.-_%aZ0@?#\0\n é') }).map((tail) => `spiffe://${tail}`),
      fc.array(fc.constantFrom('', '.', '..', 'a', 'A-b', '%2e', 'é')).map((parts) => `spiffe://td/${parts.join('/')}`),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const parsed = parseSpiffeId(text);
        if (parsed.kind === 'invalid') return parsed.why.length > 0;
        const { uri, trustDomain, path } = parsed.id;
        return (
          uri === text &&
          uri === `spiffe://${trustDomain}${path}` &&
          /^spiffe:\/\/[a-z0-9._-]+(\/(?!\.\.?(\/|$))[\w.-]+)+$/.test(uri)
        );
      }),
    );
  });

  it('accepts every ID that is made of allowed parts, and tells different ones apart', () => {
    const letters = [...'abcXYZ019.-_'];
    const segment = fc
      .string({ unit: fc.constantFrom(...letters), minLength: 1, maxLength: 20 })
      .filter((text) => text !== '.' && text !== '..');
    const domain = fc.string({ unit: fc.constantFrom(...'abc019.-_'), minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(domain, fc.array(segment, { minLength: 1, maxLength: 6 }), (trustDomain, segments) => {
        const uri = `spiffe://${trustDomain}/${segments.join('/')}`;
        expect(parseSpiffeId(uri)).toEqual({ kind: 'id', id: { uri, trustDomain, path: `/${segments.join('/')}` } });
      }),
    );
  });
});

describe('workloadSpiffeId', () => {
  it('writes the ID of a workload, and workloadOf reads it back', () => {
    const id = workloadSpiffeId('cluster.local', 'shop', 'web');
    expect(id.uri).toBe(valid);
    expect(workloadOf(id)).toEqual({ namespace: 'shop', serviceAccount: 'web' });
  });

  it.each([
    ['cluster.local', 'shop/sa/admin', 'web'],
    ['cluster.local', '', 'web'],
    ['cluster.local', '..', 'web'],
    ['cluster.local', 'shop', 'web/x'],
    ['cluster.local', 'shop', 'web?x'],
    ['cluster.local/ns/a/sa/b', 'shop', 'web'],
    ['cluster.local/ns', 'sa', 'web'],
    ['cluster.local/ns', 'shop', 'web'],
    ['cluster.local/', 'shop', 'web'],
    ['Cluster.local', 'shop', 'web'],
    ['', 'shop', 'web'],
    ['cluster.local', 's'.repeat(2048), 'web'],
  ])(
    'throws a TypeError for the parts %j, %j, %j instead of naming somebody else',
    (trustDomain, namespace, serviceAccount) => {
      expect(() => workloadSpiffeId(trustDomain, namespace, serviceAccount)).toThrow(TypeError);
    },
  );
});

describe('workloadSpiffeId, whatever its parts are', () => {
  it('makes an ID of exactly these parts or none', () => {
    const part = fc.string({ unit: fc.constantFrom(...'ab/.%: ', 'ns', 'sa', '/sa/'), maxLength: 5 });
    fc.assert(
      fc.property(part, part, part, (trustDomain, namespace, serviceAccount) => {
        const make = () => workloadSpiffeId(trustDomain, namespace, serviceAccount);
        const isPlain = [trustDomain, namespace, serviceAccount].every((text) => /^[ab.ns]+$/.test(text));
        if (!isPlain || [namespace, serviceAccount].some((text) => text === '.' || text === '..')) {
          const parts = { trustDomain, namespace, serviceAccount };
          expect(make).toThrow(new TypeError(`No SPIFFE ID can be made of ${JSON.stringify(parts)}`));
          return;
        }
        expect(make().trustDomain).toBe(trustDomain);
        expect(workloadOf(make())).toEqual({ namespace, serviceAccount });
      }),
      { numRuns: 1000 },
    );
  });
});

describe('isTrustDomain', () => {
  it('refuses a trailing line feed', () => {
    expect(isTrustDomain('td')).toBe(true);
    expect(isTrustDomain('td\n')).toBe(false);
  });
});
