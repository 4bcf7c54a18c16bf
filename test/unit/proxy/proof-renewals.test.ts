import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Identity } from '../../../src/identity/identity.ts';
import type { TunnelEnd } from '../../../src/identity/tunnel-proof.ts';
import { decideProof, keyingMaterial, tunnelKeysOf } from '../../../src/identity/tunnel-proof.ts';
import type { ProofResult } from '../../../src/outcomes.ts';
import type { Observer } from '../../../src/proxy/account.ts';
import type { Proof } from '../../../src/proxy/proof.ts';
import { startProofRenewals } from '../../../src/proxy/transport/hbone/proof-renewals.ts';
import type { Tunnel } from '../../../src/proxy/transport/hbone/tunnel.ts';
import type { ProofReply, ProofRequest } from '../../../src/proxy/transport/hbone/wire.ts';
import { captureLog } from '../../support/captured-log.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const webId = 'spiffe://cluster.local/ns/shop/sa/web';
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const hourMs = 3_600_000;

/** A client whose tunnels go to a server that numbers them in an order of its own. */
function scene() {
  const clock = createFakeClock();
  const results: ProofResult[] = [];
  const { log, lines } = captureLog();
  const identityNamed = (fingerprint256: string) =>
    ({ leaf: { fingerprint256 }, notAfterMs: clock.now() + 2 * hourMs }) as unknown as Identity;
  let identity = identityNamed('first');
  const served = new Map<string, TunnelEnd>();
  const tunnels: Tunnel[] = [];
  let proofs = 0;

  /** The client counts its own; `thereAs` is the number that the server gives to it. */
  const makeTunnel = (thereAs: number, serial: string): Tunnel => {
    const keys = tunnelKeysOf(randomBytes(keyingMaterial.bytes));
    let end: TunnelEnd = { keys, peerId: apiId, localId: webId, order: tunnels.length + 1 };
    let peer = { spiffeId: { uri: apiId }, serial, notAfterMs: clock.now() + hourMs };
    served.set(keys.name, { keys, peerId: webId, localId: apiId, order: thereAs });
    const proof = {
      get end() {
        return end;
      },
      get peer() {
        return peer;
      },
      direction: 'outbound',
      provedAtMs: clock.now(),
      endsAtMs: clock.now() + hourMs,
      carried: 1,
      renewBy(newer: Proof) {
        end = { ...end, order: newer.end.order };
        peer = newer.peer as unknown as typeof peer;
      },
    } as unknown as Proof;
    const tunnel = {
      key: { address: { ip: '10.0.0.7', port: 15008 } },
      mutualTls: { local: identity },
      proof,
      streams: () => 1,
      async prove(request: ProofRequest): Promise<ProofReply> {
        proofs += 1;
        const here = served.get(keys.name);
        if (here === undefined) throw new Error('The server does not know this tunnel');
        const verdict = decideProof(served.get(request.tunnel), here, request.proof);
        return verdict.kind === 'proved' ? { kind: 'answer', answer: verdict.answer } : { kind: 'not_proved' };
      },
    } as unknown as Tunnel;
    tunnels.push(tunnel);
    return tunnel;
  };

  let lapsed = '';
  /** What the pool makes next. */
  const next: (() => Tunnel)[] = [];
  const renewals = startProofRenewals(
    {
      clock,
      log,
      identity: { current: () => identity },
      proofs: {
        lapseOf: ({ serial }) => (serial === lapsed ? { reason: 'revoked', why: 'a test says so' } : undefined),
      },
      observer: {
        proofRenewed: (_direction: string, result: ProofResult) => results.push(result),
      } as unknown as Observer,
    },
    {
      tunnels: () => tunnels.slice(0, 1),
      async newerThan(_key, order) {
        const known = tunnels.find(({ proof }) => proof.end.order > order);
        if (known !== undefined) return known;
        const make = next.shift();
        if (make === undefined) throw new Error('The pool makes no more');
        return make();
      },
    },
  );
  return {
    clock,
    results,
    lines,
    renewals,
    makeTunnel,
    next,
    proofsAsked: () => proofs,
    revoke(serial: string) {
      lapsed = serial;
    },
    rotate() {
      identity = identityNamed('second');
      renewals.rotated();
    },
  };
}

describe('the renewal of proofs', () => {
  it('makes one more tunnel when the peer takes the newer one for the older', async () => {
    const { clock, results, makeTunnel, next, rotate, renewals } = scene();
    makeTunnel(5, 'AA');
    next.push(
      () => makeTunnel(4, 'BB'),
      () => makeTunnel(6, 'BB'),
    );
    rotate();
    await clock.advance(10_000);
    expect(results).toEqual(['renewed']);
    renewals.close();
  });

  it('makes one more only once for a peer that knows no older tunnel', async () => {
    const { clock, results, lines, makeTunnel, next, rotate, proofsAsked, renewals } = scene();
    makeTunnel(5, 'AA');
    next.push(
      () => makeTunnel(1, 'BB'),
      () => makeTunnel(2, 'BB'),
    );
    rotate();
    await clock.advance(10_000);
    expect(results[0]).toBe('refused');
    const asked = proofsAsked();
    const before = results.length;
    await clock.advance(60_000);
    expect(results.slice(before).every((result) => result === 'refused')).toBe(true);
    // One question for each further attempt, and none that the pool had to make a tunnel for.
    expect(proofsAsked() - asked).toBe(results.length - before);
    expect(lines.filter(({ result }) => result === 'refused')).toHaveLength(1);
    renewals.close();
  });

  it('rests on no newer certificate that was revoked while the peer was asked, and asks for another', async () => {
    const { clock, results, makeTunnel, next, revoke, rotate, proofsAsked, renewals } = scene();
    const old = makeTunnel(1, 'AA');
    next.push(
      () => makeTunnel(2, 'BB'),
      () => makeTunnel(3, 'CC'),
    );
    revoke('BB');
    rotate();
    await clock.advance(10_000);
    expect(results).toEqual(['renewed']);
    expect([old.proof.peer.serial, proofsAsked()]).toEqual(['CC', 2]);
    renewals.close();
  });

  it('asks no more once it is closed', async () => {
    const { clock, results, makeTunnel, rotate, renewals } = scene();
    makeTunnel(1, 'AA');
    rotate();
    renewals.close();
    await clock.advance(hourMs);
    expect(results).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});
