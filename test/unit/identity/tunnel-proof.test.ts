import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TunnelEnd } from '../../../src/identity/tunnel-proof.ts';
import {
  decideAnswer,
  decideProof,
  keyingMaterial,
  proofFor,
  tunnelKeysOf,
} from '../../../src/identity/tunnel-proof.ts';

const webId = 'spiffe://cluster.local/ns/shop/sa/web';
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';

/** The two ends of a tunnel, as each sees it. */
interface BothEnds {
  readonly client: TunnelEnd;
  readonly server: TunnelEnd;
}

function tunnel(order: number, material: Uint8Array = randomBytes(keyingMaterial.bytes)): BothEnds {
  const keys = () => tunnelKeysOf(Buffer.from(material));
  return {
    client: { keys: keys(), peerId: apiId, localId: webId, order },
    server: { keys: keys(), peerId: webId, localId: apiId, order },
  };
}

describe('the proof of an older tunnel', () => {
  const old = tunnel(1);
  const fresh = tunnel(2);
  const proof = proofFor(old.client, fresh.client);

  it('N26: is accepted from whoever holds both, and its answer by the client', () => {
    const verdict = decideProof(old.server, fresh.server, proof);
    expect(verdict.kind).toBe('proved');
    if (verdict.kind !== 'proved') return;
    expect(decideAnswer(old.client, fresh.client, verdict.answer)).toEqual(verdict);
  });

  it('does not show what it was made of, nor does its name', () => {
    const { name, secret } = old.client.keys;
    for (const text of [proof, name]) expect(Buffer.from(text, 'base64url').includes(secret)).toBe(false);
    expect(name).not.toBe(proof);
  });

  it.each<[string, TunnelEnd | undefined, TunnelEnd, RegExp]>([
    ['of a tunnel that is not there', undefined, fresh.server, /^there is no such tunnel$/],
    ['of itself', old.server, { ...old.server, order: 2 }, /^a tunnel cannot prove itself$/],
    [
      'of the tunnel of another peer',
      { ...old.server, peerId: `${webId}2` },
      fresh.server,
      /^the other tunnel is of .*web2$/,
    ],
    [
      'to another identity of ours',
      { ...old.server, localId: `${apiId}2` },
      fresh.server,
      /^the other tunnel is to .*api2$/,
    ],
    [
      'of one that rests on this already',
      { ...old.server, order: 2 },
      fresh.server,
      /^the other tunnel rests on a newer proof already$/,
    ],
    [
      'of one that rests on a newer one',
      { ...old.server, order: 3 },
      fresh.server,
      /^the other tunnel rests on a newer proof already$/,
    ],
    ['by another tunnel', old.server, tunnel(2).server, /^it does not show that it holds the other tunnel$/],
    ['of another tunnel', tunnel(1).server, fresh.server, /^it does not show that it holds the other tunnel$/],
  ])('N26: is refused when it is %s, and so is its answer', (_what, older, newer, why) => {
    expect(decideProof(older, newer, proof)).toEqual({ kind: 'refused', why: expect.stringMatching(why) });
    if (older === undefined) return;
    const answer = decideProof(old.server, fresh.server, proof);
    if (answer.kind !== 'proved') throw new Error(answer.why);
    expect(decideAnswer(older, newer, answer.answer)).toEqual({ kind: 'refused', why: expect.stringMatching(why) });
  });

  it('N26: is not its own answer, nor is an answer a proof', () => {
    expect(decideAnswer(old.client, fresh.client, proof).kind).toBe('refused');
    const verdict = decideProof(old.server, fresh.server, proof);
    expect(verdict.kind === 'proved' && decideProof(old.server, fresh.server, verdict.answer).kind).toBe('refused');
  });

  it('N26: is refused with any other text, of whatever length', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.base64String(), fc.uint8Array({ minLength: 32, maxLength: 32 })),
        (given) => {
          const text = typeof given === 'string' ? given : Buffer.from(given).toString('base64url');
          fc.pre(text !== proof);
          return decideProof(old.server, fresh.server, text).kind === 'refused';
        },
      ),
    );
  });

  it('N26: holds for exactly the pair that it was made for, whatever the material', () => {
    const material = fc.uint8Array({ minLength: keyingMaterial.bytes, maxLength: keyingMaterial.bytes });
    fc.assert(
      fc.property(material, material, material, (first, second, third) => {
        fc.pre(new Set([first, second, third].map((one) => Buffer.from(one).toString('hex', 0, 32))).size === 3);
        const [a, b, c] = [tunnel(1, first), tunnel(2, second), tunnel(3, third)];
        const text = proofFor(a.client, b.client);
        const isSameSecret = (x: Uint8Array, y: Uint8Array) =>
          Buffer.from(x.slice(32)).equals(Buffer.from(y.slice(32)));
        expect(decideProof(a.server, b.server, text).kind).toBe('proved');
        if (!isSameSecret(second, third)) expect(decideProof(a.server, c.server, text).kind).toBe('refused');
        if (!isSameSecret(first, second)) expect(decideProof(b.server, c.server, text).kind).toBe('refused');
      }),
    );
  });
});

describe('a proof, whoever sends it for whichever tunnels', () => {
  const ids = fc.constantFrom(webId, apiId, 'spiffe://cluster.local/ns/shop/sa/third');
  const tunnels = fc
    .record({ order: fc.integer({ min: 0, max: 2 }), clientId: ids, serverId: ids, material: fc.constantFrom(1, 2, 3) })
    .map(({ order, clientId, serverId, material }) => {
      const { client, server } = tunnel(order, Buffer.alloc(keyingMaterial.bytes, material));
      return {
        client: { ...client, localId: clientId, peerId: serverId },
        server: { ...server, localId: serverId, peerId: clientId },
      };
    });

  it('N26: is accepted exactly when identities and order are right and it was made for these two tunnels', () => {
    fc.assert(
      fc.property(tunnels, tunnels, tunnels, tunnels, (older, newer, madeFor, madeOn) => {
        const isFit =
          older.server.keys.name !== newer.server.keys.name &&
          older.server.peerId === newer.server.peerId &&
          older.server.localId === newer.server.localId &&
          older.server.order < newer.server.order;
        const isHeld =
          madeFor.client.keys.name === older.client.keys.name && madeOn.client.keys.name === newer.client.keys.name;
        const verdict = decideProof(older.server, newer.server, proofFor(madeFor.client, madeOn.client));
        expect(verdict.kind).toBe(isFit && isHeld ? 'proved' : 'refused');
        if (verdict.kind === 'proved')
          expect(decideAnswer(older.client, newer.client, verdict.answer)).toEqual(verdict);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('keying material', () => {
  it('must have the length that was asked for', () => {
    const refusal = new TypeError('Expected 64 bytes of material');
    for (const length of [0, 63, 65]) expect(() => tunnelKeysOf(Buffer.alloc(length))).toThrow(refusal);
  });
});
