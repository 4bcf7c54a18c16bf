import { describe, expect, it } from 'vitest';
import type { RevocationLists } from '../../../src/identity/revocations.ts';
import { createRevocations, noRevocations } from '../../../src/identity/revocations.ts';
import type { TrustBundles } from '../../../src/identity/trust-bundle.ts';
import { lapseOf } from '../../../src/identity/verify-peer.ts';
import type { CertificateSpec } from '../../support/certificates.ts';
import { makeAuthority, otherName } from '../../support/certificates.ts';
import { context, octetString, oid, sequence } from '../../support/der-writer.ts';
import { bundlesOf, createTestAuthority, createTestIdentity, spiffeId } from '../../support/identities.ts';
import type { Role } from './handshake.ts';
import { federated, local, mesh, peerId, present, roles, verdict } from './handshake.ts';

/** What our side makes of a stranger whose certificate was issued by the mesh and differs from a good one by this. */
async function show(role: Role, spec: CertificateSpec, expectedId = peerId): Promise<string> {
  return verdict(await present(role, mesh.issue({ id: peerId.uri, ...spec }), { expectedId }));
}

const uris = (...values: (string | Uint8Array)[]): CertificateSpec => ({ sans: values.map((uri) => ({ uri })) });
const longest = `spiffe://cluster.local/${'a'.repeat(2048 - 'spiffe://cluster.local/'.length)}`;

/** OpenSSL accepts every one of these but the one for encipherment alone. */
const refused: readonly [title: string, spec: CertificateSpec, reason: string][] = [
  ['S1: no name, the ID in the common name', { sans: [], subject: peerId.uri }, 'svid_no_uri'],
  ['S2: DNS names alone', { sans: [{ dns: 'web.shop.svc' }, { dns: peerId.uri }] }, 'svid_no_uri'],
  ['S3: two SPIFFE IDs', uris(peerId.uri, local.spiffeId.uri), 'svid_multiple_uris'],
  ['S3: a SPIFFE ID and another URI', uris(peerId.uri, 'https://shop.example/'), 'svid_multiple_uris'],
  ['S3: the same ID twice', uris(peerId.uri, peerId.uri), 'svid_multiple_uris'],
  ['S4: a URI of https', uris('https://cluster.local/ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S4: the scheme in upper case', uris(peerId.uri.replace('spiffe', 'SPIFFE')), 'svid_id_syntax'],
  ['S4: one slash', uris('spiffe:/cluster.local/ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S5: no path', uris('spiffe://cluster.local'), 'svid_id_syntax'],
  ['S5: a trailing slash', uris('spiffe://cluster.local/'), 'svid_id_syntax'],
  ['S6: an empty segment', uris('spiffe://cluster.local//ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S6: a dot segment', uris('spiffe://cluster.local/./ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S6: a segment of two dots', uris('spiffe://cluster.local/ns/x/../shop/sa/peer'), 'svid_id_syntax'],
  ['S7: a percent-encoded dot', uris('spiffe://cluster.local/ns/%2e%2e/sa/peer'), 'svid_id_syntax'],
  ['S7: a percent-encoded slash', uris('spiffe://cluster.local/ns%2Fshop/sa/peer'), 'svid_id_syntax'],
  ['S8: user information', uris('spiffe://me@cluster.local/ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S8: a port', uris('spiffe://cluster.local:443/ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S8: a query', uris(`${peerId.uri}?a=b`), 'svid_id_syntax'],
  ['S8: a fragment', uris(`${peerId.uri}#a`), 'svid_id_syntax'],
  ['S9: a trust domain in upper case', uris('spiffe://Cluster.local/ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S9: a trust domain beyond ASCII', uris(Buffer.from('spiffe://clüster.local/ns/shop/sa/peer')), 'svid_id_syntax'],
  ['S9: an empty trust domain', uris('spiffe:///ns/shop/sa/peer'), 'svid_id_syntax'],
  ['S9: a trust domain of 256 bytes', uris(`spiffe://${'a'.repeat(256)}/ns/shop/sa/peer`), 'svid_id_syntax'],
  ['S10: an ID of 2049 bytes', uris(`${longest}a`), 'svid_id_too_long'],
  ['S11: a NUL behind a good ID', uris(`${peerId.uri}\0.evil`), 'svid_id_syntax'],
  ['S11: a NUL within a segment', uris('spiffe://cluster.local/ns/shop/sa/admin\0.evil'), 'svid_id_syntax'],
  ['S13: a byte beyond ASCII', uris(Buffer.from(`${peerId.uri}\xe9`, 'latin1')), 'svid_id_syntax'],
  ['S13: invalid UTF-8', uris(Buffer.concat([Buffer.from(peerId.uri), Buffer.of(0xc3, 0x28)])), 'svid_id_syntax'],
  ['S16: CA:TRUE', { basicConstraints: { ca: true } }, 'svid_is_ca'],
  ['S17: keyCertSign', { keyUsage: ['digitalSignature', 'keyCertSign'], basicConstraints: 'absent' }, 'svid_key_usage'],
  ['S17: cRLSign', { keyUsage: ['digitalSignature', 'cRLSign'] }, 'svid_key_usage'],
  ['S18: no key usage', { keyUsage: 'absent' }, 'svid_key_usage'],
  ['S18: key usage without digitalSignature', { keyUsage: ['keyEncipherment'] }, 'svid_key_usage'],
  [
    'S20: the right path in a trust domain that nobody here knows',
    uris('spiffe://unknown.example/ns/shop/sa/peer'),
    'trust_domain',
  ],
];

const accepted: readonly [title: string, spec: CertificateSpec, id?: string][] = [
  ['S10: an ID of 2048 bytes', uris(longest), longest],
  [
    'S15: other kinds of names beside one ID',
    {
      sans: [
        otherName('1.3.6.1.4.1.311.20.2.3', 'URI:spiffe://cluster.local/ns/shop/sa/admin'),
        { dns: 'peer.shop.svc' },
        { raw: context(3, true, sequence(oid('1.2.3'), octetString())) },
        { raw: context(5, true, context(1, true, Buffer.of(0x0c, 1, 0x61))) },
        { uri: peerId.uri },
        { ip: [10, 0, 0, 1] },
        { raw: context(8, false, Buffer.of(0x2a, 3)) },
      ],
    },
  ],
  ['S19: key usage that is not critical', { keyUsageCritical: false }],
  ['S19: names that are not critical although the subject is empty', { subject: '', sanCritical: false }],
  ['S19: names that are critical', { subject: '', sanCritical: true }],
  [
    'S21: an ID of another shape than ours',
    uris('spiffe://cluster.local/spire/agent/x'),
    'spiffe://cluster.local/spire/agent/x',
  ],
];

describe.each(roles)('a certificate of the mesh, shown by a %s', (role) => {
  it.each(refused)('%s: refused as its reason says', async (_, spec, reason) => {
    expect(await show(role, spec)).toBe(reason);
  });

  it.each(accepted)('%s: accepted', async (_, spec, id = peerId.uri) => {
    expect(await show(role, spec, spiffeId(id))).toBe('accepted');
  });

  it('S21: is known by its ID, and the ID belongs to no namespace of ours', async () => {
    const id = spiffeId('spiffe://cluster.local/spire/agent/x');
    const outcome = await present(role, mesh.issue({ id: id.uri }), { expectedId: id });
    expect(outcome.kind === 'verified' && outcome.peer.spiffeId).toEqual(id);
  });

  it('S24: a trust domain that looks like an address is like any other', async () => {
    const numeric = createTestAuthority('10.0.0.1');
    const identity = createTestIdentity(mesh, {
      namespace: 'shop',
      serviceAccount: 'web',
      bundles: bundlesOf(mesh, numeric),
    });
    const id = spiffeId('spiffe://10.0.0.1/ns/shop/sa/peer');
    expect(verdict(await present(role, numeric.issue({ id: id.uri }), { local: identity, expectedId: id }))).toBe(
      'accepted',
    );
  });

  it('S20: the right path in a federated trust domain is that of another identity', async () => {
    const id = spiffeId('spiffe://partner.example/ns/shop/sa/peer');
    const outcome = await present(role, federated.issue({ id: id.uri }), { expectedId: id });
    expect(outcome.kind === 'verified' && outcome.peer.spiffeId.trustDomain).toBe('partner.example');
  });
});

describe('what our side knows of a peer', () => {
  it('is its ID, serial, dates and root, all read from the certificate', async () => {
    const notAfterMs = Math.floor(Date.now() / 1000) * 1000 + 60_000;
    const outcome = await present('client', mesh.issue({ id: peerId.uri, serial: Buffer.of(0x12, 0xab), notAfterMs }));
    expect(outcome).toMatchObject({
      kind: 'verified',
      peer: {
        spiffeId: peerId,
        serial: '12AB',
        notAfterMs,
        rootFingerprint: local.bundles.domains.get('cluster.local')![0]!.fingerprint,
      },
    });
  });
});

describe('lapseOf', () => {
  it('holds as long as the root that vouched for the peer is one of its own trust domain', async () => {
    const outcome = await present('client', mesh.issue({ id: peerId.uri }));
    if (outcome.kind !== 'verified') throw new Error(outcome.message);
    const { peer } = outcome;
    const lapse = (bundles: TrustBundles) =>
      lapseOf(peer, { bundles, revocations: noRevocations, nowMs: Date.now() })?.reason;
    const next = createTestAuthority('cluster.local');
    expect(lapse(local.bundles)).toBeUndefined();
    expect(lapse(bundlesOf({ ...mesh, bundlePem: mesh.bundlePem + next.bundlePem }))).toBeUndefined();
    expect(lapse(bundlesOf(next))).toBe('untrusted');
    expect(lapse(bundlesOf(federated))).toBe('untrusted');
    expect(lapse(bundlesOf({ ...mesh, trustDomain: 'other.example' }))).toBe('untrusted');
  });

  it('holds under a root that was issued anew for the same key and name', async () => {
    const outcome = await present('client', mesh.issue({ id: peerId.uri }));
    if (outcome.kind !== 'verified') throw new Error(outcome.message);
    const { key, subjectKeyId } = mesh.root;
    const again = makeAuthority({ subject: 'root of cluster.local', key, subjectKeyId });
    const bundles = bundlesOf({ ...mesh, bundlePem: again.pem });
    const { peer } = outcome;
    expect(bundles.domains.get('cluster.local')?.[0]?.fingerprint).not.toBe(peer.rootFingerprint);
    expect(lapseOf(peer, { bundles, revocations: noRevocations, nowMs: Date.now() })).toBeUndefined();
    expect(lapseOf(peer, { bundles, revocations: noRevocations, nowMs: peer.notAfterMs })?.reason).toBe('expired');
  });

  it('lapses when the certificate, one of its issuers or the identity is revoked', async () => {
    const outcome = await present('client', mesh.issue({ id: peerId.uri }));
    if (outcome.kind !== 'verified') throw new Error(outcome.message);
    const { peer } = outcome;
    const lapse = (lists: RevocationLists) =>
      lapseOf(peer, { bundles: local.bundles, revocations: createRevocations(lists), nowMs: Date.now() })?.reason;
    const names = peer.certificates.map(({ serial, issuer }) => ({ issuer, serials: [serial] }));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      expect(lapse({ certificates: [name], identities: [] })).toBe('revoked');
      expect(lapse({ certificates: [{ serials: name.serials }], identities: [] })).toBe('revoked');
      expect(lapse({ certificates: [{ ...name, issuer: '00' }], identities: [] })).toBeUndefined();
    }
    expect(lapse({ certificates: [], identities: [peerId.uri] })).toBe('revoked');
    expect(lapse({ certificates: [], identities: [`${peerId.uri}2`] })).toBeUndefined();
    // Whoever is connected already was not unknown when it came.
    expect(lapse({ certificates: [], identities: [], unknown: 'the list is stale' })).toBeUndefined();
  });
});

describe('a server', () => {
  it('S22: that shows the identity of another workload is refused as peer_identity, and gets no byte', async () => {
    const outcome = await present('server', mesh.issue({ id: 'ns/shop/sa/other' }));
    expect(outcome).toMatchObject({ kind: 'refused', reason: 'peer_identity' });
    expect(outcome.kind === 'refused' && outcome.message).toContain(
      'it is spiffe://cluster.local/ns/shop/sa/other, expected spiffe://cluster.local/ns/shop/sa/peer',
    );
  });

  it('S22: that differs from the expected identity by the case of a letter is refused as peer_identity', async () => {
    expect(verdict(await present('server', mesh.issue({ id: 'ns/shop/sa/Peer' })))).toBe('peer_identity');
  });

  it('S20: of a federated trust domain is refused as peer_identity where one of ours is expected', async () => {
    expect(verdict(await present('server', federated.issue({ id: 'ns/shop/sa/peer' })))).toBe('peer_identity');
  });
});
