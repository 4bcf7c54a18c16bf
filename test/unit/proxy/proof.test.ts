import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Identity } from '../../../src/identity/identity.ts';
import { createRevocations } from '../../../src/identity/revocations.ts';
import type { TrustBundles } from '../../../src/identity/trust-bundle.ts';
import { keyingMaterial, proofFor, tunnelKeysOf } from '../../../src/identity/tunnel-proof.ts';
import type { Lapse, VerifiedPeer } from '../../../src/identity/verify-peer.ts';
import type { ClosedReason, Direction, ProofResult } from '../../../src/outcomes.ts';
import type { Observer } from '../../../src/proxy/account.ts';
import { createPeerBook } from '../../../src/proxy/peer-book.ts';
import type { Proof, ProvedTunnel } from '../../../src/proxy/proof.ts';
import { createProof } from '../../../src/proxy/proof.ts';
import { createProofs } from '../../../src/proxy/proofs.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { spiffeId } from '../../support/identities.ts';

const startMs = Date.parse('2030-05-01T12:00:00Z');
const hour = 3_600_000;
const webId = 'spiffe://cluster.local/ns/shop/sa/web';
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';

/** What a peer proved; without a path, so that nothing vouches for it but its root. */
function peerOf(peer: Partial<VerifiedPeer> = {}): VerifiedPeer {
  const defaults = { spiffeId: spiffeId(apiId), rootFingerprint: 'root', certificates: [], path: [] };
  return { ...defaults, notAfterMs: startMs + hour, ...peer } as unknown as VerifiedPeer;
}

interface TestTunnel extends ProvedTunnel {
  /** How often it was kept from new connections. */
  readonly retired: number;
}

function tunnelOf(peer: VerifiedPeer, direction: ProvedTunnel['direction'] = 'inbound'): TestTunnel {
  const keys = tunnelKeysOf(randomBytes(keyingMaterial.bytes));
  const local = { spiffeId: spiffeId(webId) } as Identity;
  let retired = 0;
  return {
    direction,
    peer,
    local,
    keys,
    retire() {
      retired += 1;
    },
    get retired() {
      return retired;
    },
  };
}

/** One proof, judged by hand. */
function scene({ graceMs = 0, peer = peerOf() }: { graceMs?: number; peer?: VerifiedPeer } = {}) {
  const clock = createFakeClock(startMs);
  const { log, lines } = captureLog();
  const peers = createPeerBook(clock);
  const tunnel = tunnelOf(peer);
  let closed = 0;
  const onClose = () => {
    closed += 1;
  };
  const proof = createProof(tunnel, { clock, log, peers }, { graceMs, order: 7, onClose });
  const cuts: ClosedReason[] = [];
  return {
    clock,
    lines,
    tunnel,
    proof,
    cuts,
    carry: () => proof.carry((reason) => cuts.push(reason)),
    judge: (reason: Lapse['reason'], nowMs = clock.now()) => proof.judge({ reason, why: 'a test says so' }, nowMs),
    newer: (newest: VerifiedPeer, order = 8): Proof =>
      createProof(tunnelOf(newest), { clock, log }, { graceMs, order, onClose }),
    openUnder: (root: string) => peers.byRoot().get(root)?.open,
    get closed() {
      return closed;
    },
  };
}

describe('a proof', () => {
  it('says who the peer is, between which ends, when that was proved, and until when it holds', () => {
    const { proof, tunnel } = scene({ graceMs: 5000 });
    expect({ ...proof }).toMatchObject({
      direction: 'inbound',
      peer: tunnel.peer,
      end: { keys: tunnel.keys, peerId: apiId, localId: webId, order: 7 },
      provedAtMs: startMs,
      endsAtMs: startMs + hour + 5000,
      carried: 0,
    });
  });

  it('counts what is carried until it has ended', () => {
    const { proof, carry } = scene();
    const ends = [carry(), carry()];
    expect(proof.carried).toBe(2);
    ends[0]?.();
    ends[0]?.();
    expect(proof.carried).toBe(1);
  });

  it('leaves everything as it is while it holds', () => {
    const { proof, tunnel, cuts, carry, lines } = scene();
    carry();
    proof.judge(undefined, startMs + 2 * hour);
    expect([cuts, tunnel.retired, lines]).toEqual([[], 0, []]);
  });

  it.each<[Lapse['reason'], ClosedReason]>([
    ['revoked', 'revoked'],
    ['untrusted', 'bundle_change'],
  ])('cuts what is carried at once when the peer is %s, whatever the grace', (reason, closed) => {
    const { tunnel, cuts, carry, judge, lines } = scene({ graceMs: Number.POSITIVE_INFINITY });
    carry();
    carry()();
    judge(reason);
    expect([cuts, tunnel.retired, lines]).toEqual([[closed], 1, []]);
  });

  it('cuts what is carried once, for the first reason, and what comes later for the same', () => {
    const { proof, tunnel, cuts, carry, judge } = scene();
    carry();
    judge('untrusted');
    judge('revoked');
    judge('expired', startMs + 2 * hour);
    expect([cuts, tunnel.retired]).toEqual([['bundle_change'], 1]);
    const carried = proof.carried;
    const end = carry();
    expect(cuts).toEqual(['bundle_change', 'bundle_change']);
    expect(proof.carried).toBe(carried);
    end();
    expect(proof.carried).toBe(carried);
  });
});

describe('a proof whose certificate has ended', () => {
  const endMs = startMs + hour;

  it('cuts at once without a grace', () => {
    const { tunnel, cuts, carry, judge, lines } = scene();
    carry();
    judge('expired', endMs);
    expect([cuts, tunnel.retired, lines]).toEqual([['peer_certificate_expired'], 1, []]);
  });

  it('cuts at the end of its grace, and takes nothing new on the tunnel from its own end on', () => {
    const { tunnel, cuts, carry, judge } = scene({ graceMs: 5000 });
    carry();
    judge('expired', endMs + 4999);
    expect([cuts, tunnel.retired]).toEqual([[], 1]);
    judge('expired', endMs + 5000);
    expect(cuts).toEqual(['peer_certificate_expired']);
  });

  it('never cuts under a grace without end, and says so', () => {
    const { proof, tunnel, cuts, carry, judge, lines } = scene({ graceMs: Number.POSITIVE_INFINITY });
    carry();
    judge('expired', endMs + 100_000 * hour);
    expect([cuts, tunnel.retired, proof.endsAtMs]).toEqual([[], 1, Number.POSITIVE_INFINITY]);
    expect(lines).toMatchObject([{ level: 'warn', ends: 'never' }]);
  });

  it('is cut during its grace when the peer is revoked', () => {
    const { cuts, carry, judge } = scene({ graceMs: Number.POSITIVE_INFINITY });
    carry();
    judge('expired', endMs);
    judge('revoked', endMs + 1);
    expect(cuts).toEqual(['revoked']);
  });

  it('is told of once, as soon as something is carried on the strength of it', () => {
    const { carry, judge, lines } = scene({ graceMs: 5000 });
    judge('expired', endMs);
    expect(lines).toEqual([]);
    carry();
    carry();
    for (const afterMs of [1, 2, 3]) judge('expired', endMs + afterMs);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({
      level: 'warn',
      msg: 'The certificate of a peer has ended and was not proved anew',
      direction: 'inbound',
      peerId: apiId,
      connections: 2,
      notAfter: '2030-05-01T13:00:00.000Z',
      ends: '2030-05-01T13:00:05.000Z',
    });
  });

  it('is told of again when what proved it anew has ended as well', () => {
    const { proof, carry, judge, newer, lines } = scene({ graceMs: 5000 });
    carry();
    judge('expired', endMs);
    proof.renewBy(newer(peerOf({ notAfterMs: endMs + hour })));
    judge('expired', endMs + hour);
    judge('expired', endMs + hour);
    expect(lines.map(({ notAfter }) => notAfter)).toEqual(['2030-05-01T13:00:00.000Z', '2030-05-01T14:00:00.000Z']);
  });
});

describe('a proof that a newer tunnel has renewed', () => {
  it('rests on what that one proved, and is still about its own tunnel', async () => {
    const { clock, proof, tunnel, newer } = scene({ graceMs: 5000 });
    await clock.advance(1000);
    const newest = peerOf({ notAfterMs: startMs + 3 * hour, serial: 'AB' });
    proof.renewBy(newer(newest, 9));
    expect({ ...proof }).toMatchObject({
      peer: newest,
      end: { keys: tunnel.keys, peerId: apiId, localId: webId, order: 9 },
      provedAtMs: startMs + 1000,
      endsAtMs: startMs + 3 * hour + 5000,
    });
  });

  it('carries on past the end of the first certificate, until the end of the newer one', () => {
    const { proof, cuts, carry, judge, newer } = scene({ graceMs: 5000 });
    carry();
    judge('expired', startMs + hour);
    proof.renewBy(newer(peerOf({ notAfterMs: startMs + 3 * hour })));
    judge('expired', startMs + 3 * hour + 4999);
    expect([cuts, proof.carried]).toEqual([[], 1]);
    judge('expired', startMs + 3 * hour + 5000);
    expect(cuts).toEqual(['peer_certificate_expired']);
  });

  it('is in the book under the root of the newer one alone, until it is closed', () => {
    const { proof, newer, openUnder } = scene();
    expect([openUnder('root'), openUnder('next')]).toEqual([1, undefined]);
    proof.renewBy(newer(peerOf({ rootFingerprint: 'next' })));
    expect([openUnder('root'), openUnder('next')]).toEqual([0, 1]);
    proof.close();
    expect([openUnder('root'), openUnder('next')]).toEqual([0, 0]);
  });

  it('changes nothing any more when the tunnel has ended meanwhile', () => {
    const ended = scene();
    ended.proof.close();
    expect([ended.closed, ended.openUnder('root')]).toEqual([1, 0]);
    ended.proof.renewBy(ended.newer(peerOf({ rootFingerprint: 'next' })));
    expect([ended.openUnder('root'), ended.openUnder('next')]).toEqual([0, undefined]);
    expect(ended.proof).toMatchObject({ peer: ended.tunnel.peer, end: { order: 7 } });
  });

  it('needs no book', () => {
    const { newer } = scene();
    const proof = newer(peerOf());
    proof.renewBy(newer(peerOf({ rootFingerprint: 'next' }), 9));
    proof.close();
    expect(proof.peer.rootFingerprint).toBe('next');
  });
});

/** The proofs of several tunnels, judged by the clock. */
function board(graceMs = 0) {
  const clock = createFakeClock(startMs);
  const { log, lines } = captureLog();
  const bundles = (...roots: string[]) =>
    ({
      domains: new Map([['cluster.local', roots.map((fingerprint) => ({ fingerprint }))]]),
    }) as unknown as TrustBundles;
  let trusted = bundles('root', 'next');
  let revoked: string[] = [];
  let looks = 0;
  const results: string[] = [];
  const parts = {
    clock,
    log,
    observer: {
      proofRenewed: (direction: Direction, result: ProofResult) => results.push(`${direction} ${result}`),
    } as unknown as Observer,
    identity: { current: () => ({ bundles: trusted }) as Identity },
    revocations: {
      current() {
        looks += 1;
        return createRevocations({ certificates: [], identities: revoked });
      },
    },
  };
  const proofs = createProofs(parts, graceMs);
  return {
    clock,
    proofs,
    open(peer: Partial<VerifiedPeer> = {}, direction: ProvedTunnel['direction'] = 'inbound') {
      const tunnel = tunnelOf(peerOf(peer), direction);
      const proof = proofs.open(tunnel);
      const cuts: ClosedReason[] = [];
      proof.carry((reason) => cuts.push(reason));
      return { tunnel, proof, cuts };
    },
    trust(...roots: string[]) {
      trusted = bundles(...roots);
    },
    revoke(...ids: string[]) {
      revoked = ids;
    },
    looks: () => looks,
    results,
    lines,
  };
}

describe('the proofs of all tunnels', () => {
  it('are counted in the order of their handshakes', () => {
    const { open } = board();
    expect([open(), open({}, 'outbound'), open()].map(({ proof }) => proof.end.order)).toEqual([1, 2, 3]);
  });

  it('are proved anew by the name of an inbound tunnel, until it has ended', () => {
    const { proofs, open, results, lines } = board();
    const [inbound, outbound, ended, fresh] = [open(), open({}, 'outbound'), open(), open({ serial: 'BB' })];
    const prove = ({ proof }: { readonly proof: Proof }) =>
      proofs.proveOlder({ tunnel: proof.end.keys.name, proof: proofFor(proof.end, fresh.proof.end) }, fresh.proof);
    ended.proof.close();
    expect([inbound, outbound, ended].map((old) => typeof prove(old))).toEqual(['string', 'undefined', 'undefined']);
    expect([inbound, outbound].map(({ proof }) => proof.peer.serial)).toEqual(['BB', undefined]);
    expect(results).toEqual(['inbound renewed', 'inbound refused', 'inbound refused']);
    const refused = { level: 'debug', peerId: apiId, detail: 'there is no such tunnel' };
    expect(lines).toMatchObject([refused, refused]);
  });

  it('are not proved anew where they are of a direct connection, whoever holds it', () => {
    const { proofs, open, results } = board();
    const direct = proofs.open({ ...tunnelOf(peerOf()), isProvable: false });
    const fresh = open();
    const proof = proofFor(direct.end, fresh.proof.end);
    expect(proofs.proveOlder({ tunnel: direct.end.keys.name, proof }, fresh.proof)).toBeUndefined();
    expect(results).toEqual(['inbound refused']);
  });

  it('are judged when they are opened: what has changed during the handshake counts', () => {
    const { open, revoke } = board();
    revoke(apiId);
    const { tunnel, cuts } = open();
    expect([tunnel.retired, cuts]).toEqual([1, ['revoked']]);
  });

  it('are not proved anew by a peer whose own proof does not hold', () => {
    const { proofs, open, revoke } = board();
    const [old, fresh] = [open(), open({ serial: 'BB' })];
    const request = { tunnel: old.tunnel.keys.name, proof: proofFor(old.proof.end, fresh.proof.end) };
    revoke(apiId);
    expect(proofs.lapseOf(fresh.proof.peer)?.reason).toBe('revoked');
    expect(proofs.proveOlder(request, fresh.proof)).toBeUndefined();
    revoke();
    expect(proofs.lapseOf(fresh.proof.peer)).toBeUndefined();
    expect(proofs.proveOlder(request, fresh.proof)).toBeDefined();
  });

  it('are cut when their certificates end, each at its own time', async () => {
    const { clock, open } = board();
    const [first, second] = [open({ notAfterMs: startMs + 10_000 }), open({ notAfterMs: startMs + 12_000 })];
    await clock.advance(9_999);
    expect([first.cuts, second.cuts]).toEqual([[], []]);
    await clock.advance(1);
    expect([first.cuts, second.cuts]).toEqual([['peer_certificate_expired'], []]);
    await clock.advance(2_000);
    expect([first.cuts, second.cuts]).toEqual([['peer_certificate_expired'], ['peer_certificate_expired']]);
  });

  it('are cut so much later as the grace says', async () => {
    const { clock, open } = board(3000);
    const { tunnel, cuts } = open({ notAfterMs: startMs + 10_000 });
    await clock.advance(12_999);
    expect([cuts, tunnel.retired > 0]).toEqual([[], true]);
    await clock.advance(1);
    expect(cuts).toEqual(['peer_certificate_expired']);
  });

  it('are cut within a second when the wall clock is set, or the machine was suspended', async () => {
    const { clock, open } = board();
    const { cuts } = open();
    await clock.advance(10);
    clock.stepWall(hour);
    await clock.advance(1000);
    expect(cuts).toEqual(['peer_certificate_expired']);
  });

  it('are held against bundles and revocations when these change, and not every second', async () => {
    const { clock, proofs, open, trust, revoke, looks } = board();
    const [old, other] = [open(), open({ rootFingerprint: 'next', spiffeId: spiffeId(webId) })];
    const looked = looks();
    await clock.advance(5_000);
    expect(looks()).toBe(looked);
    trust('next');
    proofs.recheck();
    expect([old.cuts, other.cuts]).toEqual([['bundle_change'], []]);
    revoke(webId);
    proofs.recheck();
    expect([old.cuts, other.cuts]).toEqual([['bundle_change'], ['revoked']]);
  });

  it('are left alone once their tunnel has ended', async () => {
    const { clock, proofs, open, trust } = board();
    const { tunnel, proof, cuts } = open();
    proof.close();
    trust();
    proofs.recheck();
    await clock.advance(2 * hour);
    expect([cuts, tunnel.retired]).toEqual([[], 0]);
  });

  it('are judged until they are closed', async () => {
    const { clock, proofs, open } = board();
    const { cuts } = open();
    await clock.advance(5000);
    proofs.close();
    expect(clock.pending).toBe(0);
    await clock.advance(2 * hour);
    expect(cuts).toEqual([]);
  });
});
