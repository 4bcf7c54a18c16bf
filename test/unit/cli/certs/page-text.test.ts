import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CertificatesPage, ShownPeers, ShownRoot } from '../../../../src/admin-api.ts';
import { certificatesText, maxPeersShown } from '../../../../src/cli/certs/page-text.ts';
import { printableJson } from '../../../../src/printable.ts';

const golden = resolve(import.meta.dirname, '../../../golden/certs');
const hex = (digit: string) => digit.repeat(64);
const idOf = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;

const certificate = (serial: string, subject: string, notBefore: string, notAfter: string) => ({
  subject,
  issuer: 'O=Mesh\nCN=Issuer 1',
  serial,
  notBefore,
  notAfter,
  fingerprint: hex('a'),
  pem: '-----BEGIN CERTIFICATE-----\n',
});
const nobody: ShownPeers = { open: 0, recent: [], unnamed: 0, lastSeen: null };

const root = (digit: string, rest: Partial<ShownRoot>): ShownRoot => ({
  ...certificate(`0${digit}`, 'CN=root of cluster.local', '2026-01-01T00:00:00.000Z', '2036-01-01T00:00:00.000Z'),
  fingerprint: hex(digit),
  peers: nobody,
  mayBeRemoved: false,
  removal: '',
  ...rest,
});

const page: CertificatesPage = {
  now: '2026-11-22T09:31:00.250Z',
  spiffeId: idOf('web'),
  generation: 3,
  isExpired: false,
  endedBecause: null,
  isRevoked: false,
  notBefore: '2026-11-22T09:00:00.000Z',
  notAfter: '2026-11-22T10:00:00.000Z',
  chain: [
    certificate('4A1B', '', '2026-11-22T09:00:00.000Z', '2026-11-22T10:00:00.000Z'),
    certificate('02', 'O=Mesh\nCN=Issuer 1', '2026-11-01T00:00:00.000Z', '2027-11-01T00:00:00.000Z'),
  ],
  issuedBy: hex('1'),
  nextRenewal: '2026-11-22T09:42:30.750Z',
  lastFailure: null,
  clockSkewSeconds: 0.2,
  revocations: { certificates: 0, identities: 0, unknown: null },
  peersSince: '2026-11-20T08:00:00.000Z',
  trustBundles: {
    'cluster.local': [
      root('1', {
        peers: {
          open: 3,
          recent: [
            { spiffeId: idOf('db'), lastSeen: '2026-11-22T09:31:00.250Z' },
            { spiffeId: idOf('old'), lastSeen: '2026-11-22T08:45:10.250Z' },
          ],
          unnamed: 0,
          lastSeen: '2026-11-22T09:31:00.250Z',
        },
        removal: `Our own certificate chains to it, and 2 peers chain to it, or did within the last hour: ${idOf('db')}, ${idOf('old')}`,
      }),
      root('2', { mayBeRemoved: true, removal: '0 peers chain to it since 2026-11-20T08:00:00.000Z' }),
    ],
    'partner.example': [
      root('3', { removal: '0 peers chain to it since 2026-11-22T09:00:00.000Z, which is less than an hour' }),
    ],
  },
  removedRoots: [],
};

const crowd: ShownPeers = {
  open: 1,
  recent: Array.from({ length: maxPeersShown + 2 }, (_, n) => ({ spiffeId: idOf(`n${n}`), lastSeen: page.now })),
  unnamed: 40,
  lastSeen: page.now,
};

/** The page of a sidecar for which everything goes wrong. */
const lapsed: CertificatesPage = {
  ...page,
  isExpired: true,
  endedBecause: 'No peer accepts the certificate: the certificate 4A01 has been revoked',
  notAfter: '2026-11-22T09:27:59.000Z',
  nextRenewal: '2026-11-22T09:31:00.000Z',
  lastFailure: {
    reason: 'unreachable',
    happened: 'The control plane cannot be reached',
    remedy: 'Check the address of the control plane, its pods, its log, and the network to it',
    message: 'The control plane at https://remora:15012 cannot be reached: ECONNREFUSED',
    at: '2026-11-22T09:30:58.000Z',
  },
  clockSkewSeconds: -330,
  revocations: { certificates: 3, identities: 1, unknown: 'it is not known who is revoked: crl.pem ended' },
  removedRoots: [{ fingerprint: hex('9'), peers: crowd }],
};

describe('the terminal shows', () => {
  it.each([
    ['valid', page],
    ['lapsed', lapsed],
    [
      'revoked',
      {
        ...lapsed,
        isRevoked: true,
        endedBecause: `No peer accepts the certificate: the identity ${idOf('web')} has been revoked`,
      },
    ],
    ['files', { ...page, nextRenewal: null, clockSkewSeconds: null, trustBundles: {} }],
  ])('what golden/certs/%s.txt says', async (name, shown) => {
    await expect(`${certificatesText(shown).join('\n')}\n`).toMatchFileSnapshot(join(golden, `${name}.txt`));
  });

  it('that the clock of the control plane is ahead', () => {
    expect(certificatesText({ ...page, clockSkewSeconds: 90 })).toContain(
      'The clock of the control plane is 1m30s ahead of this one',
    );
  });

  it('a moment that is none as it came', () => {
    const text = certificatesText({ ...page, notBefore: 'never', peersSince: '?' }).join('\n');
    expect(text).toContain('from never until 2026-11-22T10:00:00Z, an unknown time in all');
    expect(text).toContain('peers are counted since ?');
  });
});

describe('nothing that somebody else said steers the terminal', () => {
  const evil = '\u001b[2J\u009b1m\u202eevil\r\n\u2028x\u0000';
  const withEvil = <T>(value: T): T => {
    if (typeof value === 'string') return `${value}${evil}` as T;
    if (Array.isArray(value)) return value.map(withEvil) as T;
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [`${name}`, withEvil(one)])) as T;
  };
  const hostile = { ...withEvil(lapsed), trustBundles: { [evil]: withEvil(page.trustBundles['cluster.local'] ?? []) } };
  const steering = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

  it('as text', () => {
    const lines = certificatesText(hostile);
    expect(lines.filter((line) => steering.test(line))).toEqual([]);
    expect(lines).toHaveLength(
      certificatesText({ ...lapsed, trustBundles: { x: page.trustBundles['cluster.local'] ?? [] } }).length,
    );
  });

  it('as JSON, which stays the same value', () => {
    const astral = { ...hostile, more: '\u{e0001}😀\ud800' };
    for (const indent of [0, 2]) {
      const text = printableJson(astral, indent);
      expect(text.replaceAll('\n', '')).not.toMatch(steering);
      expect(JSON.parse(text)).toEqual(astral);
    }
    expect(printableJson(astral, 0)).not.toContain('\n');
  });

  it('and nothing is endless', () => {
    const long = 'x'.repeat(100_000);
    const lines = certificatesText({ ...lapsed, spiffeId: long });
    expect(lines[0]).toHaveLength(401);
  });
});
