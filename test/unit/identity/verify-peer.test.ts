import type { TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HandshakeError } from '../../../src/errors.ts';
import { createRevocations, noRevocations } from '../../../src/identity/revocations.ts';
import type { TrustBundles } from '../../../src/identity/trust-bundle.ts';
import { parseTrustBundles } from '../../../src/identity/trust-bundle.ts';
import type { PeerExpectation, VerifiedPeer } from '../../../src/identity/verify-peer.ts';
import { lapseOf, verifyPeer } from '../../../src/identity/verify-peer.ts';
import type { CertificateSpec, MadeCertificate } from '../../support/certificates.ts';
import { makeAuthority, makeCertificate } from '../../support/certificates.ts';
import { spiffeId } from '../../support/identities.ts';

const now = Math.floor(Date.now() / 1000) * 1000;
const hour = 3_600_000;
const id = spiffeId('spiffe://cluster.local/ns/shop/sa/peer');
const root = makeAuthority({ subject: 'root', notBeforeMs: now - 9 * hour, notAfterMs: now + 9 * hour });
const issuer = makeAuthority({ subject: 'issuer', issuer: root, notBeforeMs: now - hour, notAfterMs: now + 2 * hour });
const leafOf = (spec: CertificateSpec = {}) =>
  makeCertificate({
    issuer,
    sans: [{ uri: id.uri }],
    serial: Buffer.of(0x12, 0xab),
    notBeforeMs: now - 2 * hour,
    notAfterMs: now + hour,
    ...spec,
  });
const leaf = leafOf();
const bundlesOf = (...roots: MadeCertificate[]): TrustBundles =>
  parseTrustBundles({ [id.trustDomain]: roots.map(({ pem }) => pem).join('') });
const bundles = bundlesOf(root);

/** A socket after its handshake, as far as Node.js tells of it. */
interface Handshake {
  readonly chain?: readonly Uint8Array[];
  readonly authorized?: unknown;
  readonly authorizationError?: unknown;
  readonly isReused?: boolean;
  readonly destroyed?: boolean;
}

function socketOf({ chain = [leaf.der, issuer.der], ...rest }: Handshake): TLSSocket {
  const { authorized = true, authorizationError = null, isReused = false, destroyed = false } = rest;
  const linked = chain.reduceRight<object | undefined>(
    (issuerCertificate, raw) => ({ raw, ...(issuerCertificate && { issuerCertificate }) }),
    undefined,
  );
  return {
    authorized,
    authorizationError,
    destroyed,
    isSessionReused: () => isReused,
    getPeerCertificate: () => linked ?? {},
  } as unknown as TLSSocket;
}

function expectation(overrides: Partial<PeerExpectation> = {}): PeerExpectation {
  return { peerRole: 'client', bundles, revocations: noRevocations, expectedId: undefined, nowMs: now, ...overrides };
}

function refusal(handshake: Handshake, overrides: Partial<PeerExpectation> = {}): HandshakeError {
  try {
    verifyPeer(socketOf(handshake), expectation(overrides));
  } catch (error) {
    if (error instanceof HandshakeError) return error;
    throw error;
  }
  throw new Error('The peer was accepted');
}

const sha256 = (certificate: MadeCertificate) => bundlesOf(certificate).domains.get(id.trustDomain)![0]!.fingerprint;
const name = (certificate: MadeCertificate) => certificate.subject.subarray(2).toString('hex');

describe('verifyPeer', () => {
  it('says who the peer is, from when and until when that holds, and by which certificates', () => {
    const peer = verifyPeer(socketOf({}), expectation({ expectedId: id }));
    expect(peer).toEqual({
      spiffeId: id,
      serial: '12AB',
      notBeforeMs: now - hour,
      notAfterMs: now + hour,
      rootFingerprint: sha256(root),
      certificates: [
        { serial: '12AB', issuer: name(issuer) },
        { serial: Buffer.from(issuer.serial).toString('hex').toUpperCase(), issuer: name(root) },
      ],
      path: [leaf.der, issuer.der],
    });
  });

  it('holds no longer than the root', () => {
    const brief = makeAuthority({ subject: 'brief', notBeforeMs: now - 1000, notAfterMs: now + 1000 });
    const below = leafOf({ issuer: brief });
    const peer = verifyPeer(socketOf({ chain: [below.der] }), expectation({ bundles: bundlesOf(brief) }));
    expect(peer).toMatchObject({ notBeforeMs: now - 1000, notAfterMs: now + 1000 });
  });

  it('takes the chain with the root that Node.js adds to it', () => {
    expect(verifyPeer(socketOf({ chain: [leaf.der, issuer.der, root.der] }), expectation()).spiffeId).toEqual(id);
  });

  it.each([false, undefined, 'true', 1])('refuses a peer that OpenSSL did not authorize: %j', (authorized) => {
    const handshake = { authorized, authorizationError: 'INVALID_PURPOSE' };
    // Undefined is what the default stands for.
    const socket = Object.assign(socketOf(handshake), { authorized });
    expect(() => verifyPeer(socket, expectation())).toThrow(
      'The client was refused: OpenSSL does not accept its certificate (INVALID_PURPOSE)',
    );
  });

  it('has the words of our own rules where OpenSSL has fewer, and OpenSSL’s where ours see nothing wrong', () => {
    const unspecified = { authorized: false, authorizationError: 'UNSPECIFIED' };
    expect(refusal(unspecified).reason).toBe('untrusted');
    expect(refusal({ authorized: false, authorizationError: 'INVALID_PURPOSE' }).reason).toBe('bad_purpose');
    expect(refusal({ ...unspecified, chain: [leafOf({ sans: [] }).der, issuer.der] }).reason).toBe('svid_no_uri');
  });

  it.each([true, false])('refuses a resumed session as resumed, authorized or not: %j', (authorized) => {
    const error = refusal({ isReused: true, authorized, authorizationError: 'CERT_HAS_EXPIRED' });
    expect(error.reason).toBe('resumed');
    expect(error.message).toBe('The client was refused: it resumed an earlier TLS session');
  });

  it('tells a peer without a certificate from one that went away', () => {
    expect(refusal({ chain: [] }).reason).toBe('no_client_cert');
    expect(refusal({ chain: [], destroyed: true }).reason).toBe('no_client_cert');
    expect(refusal({ chain: [], authorized: false }).reason).toBe('no_client_cert');
    expect(refusal({ chain: [], authorized: false, destroyed: true }).reason).toBe('reset');
    expect(refusal({ authorized: false, destroyed: true, authorizationError: 'CERT_REVOKED' }).reason).toBe('revoked');
  });

  it('C8: refuses a chain of ten certificates as chain_too_long, and takes eight with their root', () => {
    const made = [root];
    for (let depth = 0; depth < 8; depth++) made.unshift(makeAuthority({ subject: `i${depth}`, issuer: made[0]! }));
    const chain = (intermediates: readonly MadeCertificate[]) =>
      [leafOf({ issuer: intermediates[0]! }), ...intermediates].map(({ der }) => der);
    expect(verifyPeer(socketOf({ chain: chain(made.slice(1)) }), expectation()).path).toHaveLength(8);
    expect(refusal({ chain: chain(made) })).toMatchObject({
      reason: 'chain_too_long',
      message: 'The client was refused: its chain has more than 8 certificates',
    });
  });

  it('C23: refuses a leaf that cannot be read as untrusted, and passes over intermediates that cannot', () => {
    const broken = Buffer.from('broken');
    expect(refusal({ chain: [broken, issuer.der] })).toMatchObject({
      reason: 'untrusted',
      message: 'The client was refused: A certificate is not X.509',
    });
    expect(verifyPeer(socketOf({ chain: [leaf.der, broken, issuer.der] }), expectation()).spiffeId).toEqual(id);
  });

  it('lets the mistakes of a programmer through', () => {
    const broken = { domains: undefined } as unknown as TrustBundles;
    expect(() => verifyPeer(socketOf({}), expectation({ bundles: broken }))).toThrow(TypeError);
  });

  it('S18: takes a leaf without key usage only where it was told to', () => {
    const handshake = { chain: [leafOf({ keyUsage: 'absent' }).der, issuer.der] };
    expect(refusal(handshake).reason).toBe('svid_key_usage');
    expect(refusal(handshake, { acceptsAbsentKeyUsage: false }).reason).toBe('svid_key_usage');
    expect(verifyPeer(socketOf(handshake), expectation({ acceptsAbsentKeyUsage: true })).spiffeId).toEqual(id);
  });

  it('S20: has no roots for a trust domain without a bundle', () => {
    expect(refusal({}, { bundles: parseTrustBundles({ 'other.example': root.pem }) }).reason).toBe('trust_domain');
  });

  it('S22: refuses another identity than the expected one, and names the role', () => {
    const expectedId = spiffeId('spiffe://cluster.local/ns/shop/sa/other');
    const error = refusal({}, { expectedId, peerRole: 'server' });
    expect(error).toMatchObject({ reason: 'peer_identity' });
    expect(error.message).toBe(`The server was refused: it is ${id.uri}, expected ${expectedId.uri}`);
  });

  it('C28: refuses what has been revoked, and everybody where nobody knows who has', () => {
    const listed = createRevocations({ certificates: [{ serials: ['12AB'] }], identities: [], unknown: 'it is late' });
    expect(refusal({}, { revocations: listed })).toMatchObject({
      reason: 'revoked',
      message: 'The client was refused: the certificate 12AB has been revoked',
    });
    const unknown = createRevocations({ certificates: [], identities: [], unknown: 'it is late' });
    expect(refusal({}, { revocations: unknown, peerRole: 'server' })).toMatchObject({
      reason: 'revoked',
      message: 'The server was refused: it is late',
    });
  });
});

const renewed = makeAuthority({ subject: 'root', key: root.key, notAfterMs: now + 99 * hour });
const stranger = makeAuthority({ subject: 'stranger' });

describe('lapseOf', () => {
  const peer = verifyPeer(socketOf({}), expectation());
  const serials = { nothing: [], leaf: ['12AB'], other: ['12AC'] } as const;
  const revoking = (what: keyof typeof serials, unknown?: string) =>
    createRevocations({ certificates: [{ serials: serials[what] }], identities: [], unknown });
  const lapse = (roots: TrustBundles, nowMs = now, revocations = noRevocations, of: VerifiedPeer = peer) =>
    lapseOf(of, { bundles: roots, revocations, nowMs });

  it('says why in words', () => {
    expect(lapse(bundlesOf(stranger))).toEqual({
      reason: 'untrusted',
      why: 'no root of cluster.local vouches for it any more',
    });
    expect(lapse(bundles, now + hour + 5)).toEqual({ reason: 'expired', why: 'its certificate ended 5 ms ago' });
    expect(lapse(bundles, now, revoking('leaf'))).toEqual({
      reason: 'revoked',
      why: 'the certificate 12AB has been revoked',
    });
  });

  it('trusts the root in its own trust domain only', () => {
    expect(lapse(parseTrustBundles({ 'other.example': root.pem }))?.reason).toBe('untrusted');
  });

  it('takes a root that was issued anew for the same key, whatever the dates are by now', () => {
    expect(lapse(bundlesOf(renewed))).toBeUndefined();
    expect(lapse(bundlesOf(renewed), now + hour)?.reason).toBe('expired');
    expect(lapse(bundlesOf(renewed), now + 999 * hour)?.reason).toBe('expired');
  });

  it('R13: says nothing about a clock that went back before the beginning', () => {
    expect(lapse(bundles, now - 9 * hour)).toBeUndefined();
    expect(lapse(bundlesOf(renewed), now - 9 * hour)).toBeUndefined();
    expect(lapse(bundlesOf(stranger), now - 9 * hour)?.reason).toBe('untrusted');
  });

  it('looks at no certificate again while the root is there, whatever others there are', () => {
    const unreadable = { ...peer, path: [Buffer.from('broken')] };
    expect(lapse(bundlesOf(root, stranger), now, noRevocations, unreadable)).toBeUndefined();
    expect(lapse(bundlesOf(stranger, root), now, noRevocations, unreadable)).toBeUndefined();
    expect(() => lapse(bundlesOf(stranger), now, noRevocations, unreadable)).toThrow('A certificate is not X.509');
  });

  it('judges a path once under the same bundles, however often it is asked', () => {
    let times = 0;
    const counted = { ...peer };
    Object.defineProperty(counted, 'path', {
      get() {
        times += 1;
        return peer.path;
      },
    });
    for (const roots of [bundlesOf(renewed), bundlesOf(renewed, stranger), bundlesOf(stranger)])
      for (const nowMs of [now, now + 1_000, now + hour]) lapse(roots, nowMs, noRevocations, counted);
    expect(times).toBe(3);
  });

  it('asks a new root about the identity that was proved, and takes a leaf without key usage once more', () => {
    const lenient = verifyPeer(
      socketOf({ chain: [leafOf({ keyUsage: 'absent' }).der, issuer.der] }),
      expectation({ acceptsAbsentKeyUsage: true }),
    );
    expect(lapse(bundlesOf(renewed), now, noRevocations, lenient)).toBeUndefined();
    const claimed = { ...peer, spiffeId: spiffeId('spiffe://cluster.local/ns/shop/sa/other') };
    expect(lapse(bundlesOf(renewed), now, noRevocations, claimed)?.reason).toBe('untrusted');
    expect(lapse(bundlesOf(renewed), now, noRevocations, { ...peer, path: [] })?.reason).toBe('untrusted');
  });

  it('lasts exactly as long as a new handshake would be accepted, for the same reason', () => {
    const circumstances = fc.record({
      roots: fc.constantFrom([root], [renewed], [root, renewed], [stranger], [stranger, root], [stranger, renewed]),
      nowMs: fc.oneof(fc.integer({ min: now, max: now + 3 * hour }), fc.constantFrom(now + hour - 1, now + hour)),
      revoked: fc.constantFrom('nothing', 'leaf', 'other'),
      unknown: fc.constantFrom(undefined, 'it is late'),
    });
    fc.assert(
      fc.property(circumstances, ({ roots, nowMs, revoked, unknown }) => {
        const revocations = revoking(revoked, unknown);
        const isTrusted = roots.some((one) => one !== stranger);
        const reason = lapse(bundlesOf(...roots), nowMs, revocations)?.reason;
        const expected =
          revoked === 'leaf' ? 'revoked' : !isTrusted ? 'untrusted' : nowMs >= now + hour ? 'expired' : undefined;
        expect(reason).toBe(expected);
        const again = { bundles: bundlesOf(...roots), nowMs, revocations: revoking(revoked) };
        if (reason === undefined) expect(verifyPeer(socketOf({}), expectation(again)).spiffeId).toEqual(id);
        else if (reason !== 'revoked') expect(['untrusted', 'expired']).toContain(refusal({}, again).reason);
        else expect(refusal({}, again).reason).not.toBe('accepted');
      }),
    );
  });
});
