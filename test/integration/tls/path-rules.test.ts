import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { CertificateSpec, MadeCertificate } from '../../support/certificates.ts';
import {
  ecKey,
  explicitCurve,
  makeAuthority,
  makeCertificate,
  nameConstraints,
  otherName,
  rsaKey,
  rsaPublicKey,
  rsaSignature,
} from '../../support/certificates.ts';
import { octetString } from '../../support/der-writer.ts';
import type { TestAuthority } from '../../support/identities.ts';
import { bundlesOf, createTestAuthority, createTestIdentity, spiffeId } from '../../support/identities.ts';
import type { Credentials, Ours, Role } from './handshake.ts';
import { federated, local, mesh, peerId, present, roles, verdict } from './handshake.ts';

const sans = [{ uri: peerId.uri }];
const unknownExtension = { oid: '1.3.6.1.4.1.99999.1', critical: true, value: octetString() };
/** Lets a stranger show what OpenSSL would not send by itself. */
const careless = { ciphers: 'DEFAULT:@SECLEVEL=0' };

const leafOf = (spec: CertificateSpec = {}): Credentials => mesh.issue({ id: peerId.uri, ...spec });

function chainOf(leaf: MadeCertificate, ...others: readonly { readonly pem: string }[]): Credentials {
  return { key: leaf.key, chainPem: [leaf, ...others].map(({ pem }) => pem).join('') };
}

const intermediateOf = (spec: CertificateSpec = {}) =>
  makeAuthority({ subject: 'intermediate', issuer: mesh.root, ...spec });

/** A good leaf below an intermediate that differs from a good one by this. */
function below(spec: CertificateSpec, leaf: CertificateSpec = {}): Credentials {
  const intermediate = intermediateOf(spec);
  return chainOf(makeCertificate({ issuer: intermediate, sans, ...leaf }), intermediate);
}

/** Our side when this authority is the one of its trust domain. */
function trusting(authority: TestAuthority): Ours {
  return { local: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' }) };
}

const minuteMs = 60_000;

function pathLengthExceeded(): Credentials {
  const upper = intermediateOf({ basicConstraints: { ca: true, pathLength: 0 } });
  const lower = makeAuthority({ subject: 'lower', issuer: upper });
  return chainOf(makeCertificate({ issuer: lower, sans }), lower, upper);
}

function belowLeaf(): Credentials {
  const { certificate } = mesh.issue({ id: 'ns/shop/sa/other' });
  return chainOf(makeCertificate({ issuer: certificate, sans }), certificate);
}

const explicit = ecKey();

const refused: readonly [title: string, credentials: () => Credentials, reason: string][] = [
  ['C1: an unknown root', () => createTestAuthority('cluster.local').issue({ id: peerId.uri }), 'untrusted'],
  ['C2: no root at all, signed by itself', () => chainOf(makeCertificate({ sans })), 'untrusted'],
  [
    'C2: signed by itself under the name of our root',
    () => chainOf(makeCertificate({ sans, subject: 'root of cluster.local' })),
    'untrusted',
  ],
  ['C3: a leaf that expired a second ago', () => leafOf({ notAfterMs: Date.now() - 1000 }), 'expired'],
  ['C4: a leaf that is valid in a minute', () => leafOf({ notBeforeMs: Date.now() + minuteMs }), 'not_yet_valid'],
  ['C5: an intermediate that has expired', () => below({ notAfterMs: Date.now() - 1000 }), 'expired'],
  ['C5: an intermediate that is not valid yet', () => below({ notBeforeMs: Date.now() + minuteMs }), 'not_yet_valid'],
  [
    'C7: an intermediate that was left out',
    () => chainOf(makeCertificate({ issuer: intermediateOf(), sans })),
    'untrusted',
  ],
  ['C10: an intermediate with CA:FALSE', () => below({ basicConstraints: { ca: false } }), 'untrusted'],
  ['C10: an intermediate without basic constraints', () => below({ basicConstraints: 'absent' }), 'untrusted'],
  ['C10: an intermediate without keyCertSign', () => below({ keyUsage: ['digitalSignature'] }), 'untrusted'],
  ['C10: an intermediate without key usage', () => below({ keyUsage: 'absent' }), 'untrusted'],
  ['C10: an intermediate of version 1', () => below({ version: 1 }), 'untrusted'],
  ['C11: a leaf that was used as an issuer', belowLeaf, 'untrusted'],
  ['C12: a path longer than an intermediate allows', pathLengthExceeded, 'path_length'],
  ['C13: a purpose of serverAuth alone', () => leafOf({ extendedKeyUsage: ['serverAuth'] }), 'bad_purpose'],
  ['C13: a purpose of clientAuth alone', () => leafOf({ extendedKeyUsage: ['clientAuth'] }), 'bad_purpose'],
  ['C13: a purpose of codeSigning', () => leafOf({ extendedKeyUsage: ['codeSigning'] }), 'bad_purpose'],
  ['C13: the purpose of anything', () => leafOf({ extendedKeyUsage: ['any'] }), 'bad_purpose'],
  ['C13: an intermediate for code signing', () => below({ extendedKeyUsage: ['codeSigning'] }), 'bad_purpose'],
  ['C15: an unknown critical extension', () => leafOf({ extensions: [unknownExtension] }), 'critical_extension'],
  [
    'C15: an unknown critical extension in an intermediate',
    () => below({ extensions: [unknownExtension] }),
    'critical_extension',
  ],
  [
    'C17: an intermediate for another trust domain',
    () => below({ extensions: [nameConstraints({ permitted: ['other.example'] })] }),
    'name_constraint',
  ],
  [
    'C17: an intermediate for all but this trust domain',
    () => below({ extensions: [nameConstraints({ excluded: ['cluster.local'] })] }),
    'name_constraint',
  ],
  [
    'C18: a name constraint, and no URI that it could be about',
    () => below({ extensions: [nameConstraints({ permitted: ['cluster.local'] })] }, { sans: [] }),
    'svid_no_uri',
  ],
  ['C21: an RSA key of 1024 bits', () => leafOf({ key: rsaKey(1024) }), 'untrusted'],
  ['C21: an intermediate with an RSA key of 1024 bits', () => below({ key: rsaKey(1024) }), 'untrusted'],
  [
    'C21: a curve that is written out',
    () => leafOf({ key: explicit, publicKey: explicitCurve(explicit) }),
    'untrusted',
  ],
  [
    'C21: an intermediate with a curve that is written out',
    () => below({ key: explicit, publicKey: explicitCurve(explicit) }),
    'untrusted',
  ],
  ['C21: a signature with SHA-1', () => leafOf({ digest: 'sha1' }), 'untrusted'],
  ['C23: a serial of 100 bytes', () => leafOf({ serial: Buffer.alloc(100, 1) }), 'untrusted'],
  ['C23: a certificate of version 1', () => leafOf({ version: 1 }), 'svid_no_uri'],
  [
    'C23: an extension that is there twice',
    () => leafOf({ extensions: [{ oid: '2.5.29.15', critical: false, value: Buffer.of(3, 2, 7, 0x80) }] }),
    'untrusted',
  ],
  ['C27: the right ID from the root of another trust domain', () => federated.issue({ id: peerId.uri }), 'untrusted'],
];

const accepted: readonly [title: string, credentials: () => Credentials][] = [
  ['C8: an intermediate', () => below({})],
  [
    'C8: strangers and duplicates among the intermediates',
    () => {
      const intermediate = intermediateOf();
      const stranger = makeAuthority({ subject: 'stranger' });
      return chainOf(
        makeCertificate({ issuer: intermediate, sans }),
        stranger,
        intermediate,
        intermediate,
        stranger,
        mesh.root,
      );
    },
  ],
  ['C12: a path as long as an intermediate allows', () => below({ basicConstraints: { ca: true, pathLength: 0 } })],
  ['C14: no extended key usage, which X509-SVID leaves open', () => leafOf({ extendedKeyUsage: 'absent' })],
  [
    'C17: an intermediate for this trust domain',
    () => below({ extensions: [nameConstraints({ permitted: ['cluster.local'] })] }),
  ],
  ['C23: a negative serial', () => leafOf({ serial: Buffer.of(0xff) })],
  ['C23: a serial of zero', () => leafOf({ serial: Buffer.of(0) })],
];

describe.each(roles)('a chain that is shown by a %s', (role: Role) => {
  it.each(refused)('%s: refused', async (_, credentials, reason) => {
    expect(verdict(await present(role, credentials(), {}, careless))).toBe(reason);
  });

  it.each(accepted)('%s: accepted', async (_, credentials) => {
    expect(verdict(await present(role, credentials()))).toBe('accepted');
  });

  it('C6: a root that has expired is refused as expired while the leaf is valid', async () => {
    const now = Date.now();
    const old = createTestAuthority('cluster.local', { root: { notBeforeMs: now - 1e9, notAfterMs: now + 5000 } });
    const ours = trusting(old);
    const credentials = old.issue({ id: peerId.uri });
    expect(verdict(await present(role, credentials, ours))).toBe('accepted');
    expect(verdict(await present(role, credentials, { ...ours, nowMs: now + 6000 }))).toBe('expired');
  });

  it('C3: the injected clock decides, to the millisecond', async () => {
    const notAfterMs = Math.floor(Date.now() / 1000) * 1000 + minuteMs;
    const credentials = leafOf({ notAfterMs });
    expect(verdict(await present(role, credentials, { nowMs: notAfterMs - 1 }))).toBe('accepted');
    expect(verdict(await present(role, credentials, { nowMs: notAfterMs }))).toBe('expired');
  });

  it('C3: OpenSSL decides as well: what has expired by the clock of the system is refused, whatever ours says', async () => {
    const now = Date.now();
    const credentials = leafOf({ notBeforeMs: now - 2 * minuteMs, notAfterMs: now - minuteMs });
    expect(verdict(await present(role, credentials, { nowMs: now - 1.5 * minuteMs }))).toBe('expired');
  });

  it('C8: eight certificates are accepted, nine are refused as chain_too_long', async () => {
    const eight = createTestAuthority('cluster.local', { intermediates: 7 });
    expect(verdict(await present(role, eight.issue({ id: peerId.uri }), trusting(eight)))).toBe('accepted');
    const nine = createTestAuthority('cluster.local', { intermediates: 8 });
    const both = bundlesOf({ ...eight, bundlePem: eight.bundlePem + nine.bundlePem });
    const identity = createTestIdentity(eight, { namespace: 'shop', serviceAccount: 'web', bundles: both });
    expect(verdict(await present(role, nine.issue({ id: peerId.uri }), { local: identity }))).toBe('chain_too_long');
  });

  it('C8: two intermediates in the wrong order fail closed', async () => {
    const two = createTestAuthority('cluster.local', { intermediates: 2 });
    const { key, certPem, chainPem } = two.issue({ id: peerId.uri });
    const reversed = chainPem
      .slice(certPem.length)
      .split(/(?<=-----END CERTIFICATE-----\n)/)
      .reverse();
    expect(verdict(await present(role, { key, chainPem }, trusting(two)))).toBe('accepted');
    expect(verdict(await present(role, { key, chainPem: certPem + reversed.join('') }, trusting(two)))).toBe(
      'untrusted',
    );
  });

  it('C19: a thousand name constraints and a thousand names are refused, and another peer is served after it', async () => {
    const hosts = Array.from({ length: 1500 }, (_, index) => `host${index}.example`);
    const many = Array.from({ length: 1000 }, (_, index) => ({ uri: `spiffe://cluster.local/ns/shop/sa/n${index}` }));
    const credentials = below({ extensions: [nameConstraints({ permitted: hosts })] }, { sans: many });
    const before = process.cpuUsage();
    expect(verdict(await present(role, credentials))).toBe('svid_multiple_uris');
    expect(process.cpuUsage(before).user / 1e6).toBeLessThan(5);
    expect(verdict(await present(role, leafOf()))).toBe('accepted');
  });

  it('C21: keys on the curves P-192 and secp256k1 never get as far as a certificate', async () => {
    for (const name of ['prime192v1', 'secp256k1']) {
      const outcome = await present(role, leafOf({ key: ecKey(name) }), {}, careless);
      expect(['no_client_cert', 'no_shared_cipher']).toContain(verdict(outcome));
    }
  });

  it('C21: RSA of 2048 bits and SHA-256 is accepted, SHA-1 and MD5 are refused as untrusted', async () => {
    const rsa = createTestAuthority('cluster.local', { root: { key: rsaKey() } });
    const ours = trusting(rsa);
    expect(verdict(await present(role, rsa.issue({ id: peerId.uri, key: rsaKey() }), ours))).toBe('accepted');
    expect(verdict(await present(role, rsa.issue({ id: peerId.uri, digest: 'sha1' }), ours, careless))).toBe(
      'untrusted',
    );
    expect(verdict(await present(role, rsa.issue({ id: peerId.uri, digest: 'md5' }), ours, careless))).toBe(
      'untrusted',
    );
  });

  it('C22: an RSA key and a signature of 16384 bits are refused as untrusted, at a bounded cost', async () => {
    const modulus = Buffer.alloc(2048, 0xc5);
    const huge = intermediateOf({ publicKey: rsaPublicKey(modulus) });
    const forged = { algorithm: rsaSignature, signature: Buffer.alloc(2048, 0x11) };
    const leaf = makeCertificate({ issuer: huge, sans, forged });
    const before = process.cpuUsage();
    expect(verdict(await present(role, chainOf(leaf, huge)))).toBe('untrusted');
    expect(process.cpuUsage(before).user / 1e6).toBeLessThan(5);
  });

  it('C25: two thousand names are refused as svid_multiple_uris, and the message is short', async () => {
    const many = Array.from({ length: 2000 }, (_, index) => ({ uri: `spiffe://cluster.local/ns/shop/sa/n${index}` }));
    const outcome = await present(role, leafOf({ sans: many }));
    expect(verdict(outcome)).toBe('svid_multiple_uris');
    expect(outcome.kind === 'refused' && outcome.message.length).toBeLessThan(200);
  });

  it('C25: a certificate larger than the handshake may be is refused', async () => {
    const many = Array.from({ length: 4000 }, (_, index) => ({ uri: `spiffe://cluster.local/ns/shop/sa/n${index}` }));
    expect((await present(role, leafOf({ sans: many }))).kind).toBe('refused');
  });

  it('C26: our own certificate is that of a peer like any other', async () => {
    const outcome = await present(role, local, { expectedId: local.spiffeId });
    expect(outcome.kind === 'verified' && outcome.peer.spiffeId).toEqual(local.spiffeId);
  });

  it('C27: an intermediate of another trust domain cannot vouch for ours, whatever it is called', async () => {
    const intermediate = makeAuthority({ subject: 'root of cluster.local', issuer: federated.root });
    const credentials = chainOf(makeCertificate({ issuer: intermediate, sans }), intermediate);
    expect(verdict(await present(role, credentials))).toBe('untrusted');
  });

  it('C27: an intermediate of another trust domain cannot vouch for ours with the name and the key identifier of our root', async () => {
    const { subjectKeyId } = mesh.root;
    const intermediate = makeAuthority({ subject: 'root of cluster.local', subjectKeyId, issuer: federated.root });
    const leaf = makeCertificate({ issuer: intermediate, sans });
    expect(new X509Certificate(leaf.der).checkIssued(new X509Certificate(mesh.root.der))).toBe(true);
    expect(verdict(await present(role, chainOf(leaf, intermediate)))).toBe('untrusted');
  });

  it('C27: a certificate that carries one of ours as PEM in a name is refused', async () => {
    const victim = mesh.issue({ id: 'ns/shop/sa/admin' }).certificate;
    const intermediate = makeAuthority({ subject: 'root of cluster.local', issuer: federated.root });
    const leaf = makeCertificate({ issuer: intermediate, sans: [otherName('1.2.3', `\n${victim.pem}`), ...sans] });
    expect(new X509Certificate(leaf.der).fingerprint).toBe(new X509Certificate(victim.der).fingerprint);
    expect(verdict(await present(role, chainOf(leaf, intermediate)))).toBe('untrusted');
  });
});

describe('a client of a federated trust domain', () => {
  it('is known by its own ID, and only by that', async () => {
    const id = spiffeId('spiffe://partner.example/ns/shop/sa/peer');
    const outcome = await present('client', federated.issue({ id: id.uri }));
    expect(outcome.kind === 'verified' && outcome.peer.spiffeId).toEqual(id);
  });
});
