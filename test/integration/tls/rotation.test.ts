import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Identity } from '../../../src/identity/identity.ts';
import { noRevocations } from '../../../src/identity/revocations.ts';
import type { MutualTls } from '../../../src/proxy/transport/tls.ts';
import { acceptMutualTls, originateMutualTls } from '../../../src/proxy/transport/tls.ts';
import { bundlesOf, createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { createWire } from '../../support/wire.ts';

/*
 * Goal: a handshake has one identity from its first byte to its verdict. Method: the client hears nothing of the server
 * until the server, or the client, has rotated to an identity of another root; either mixture would refuse the peer.
 */

const before = createTestAuthority('cluster.local', { intermediates: 1 });
const after = createTestAuthority('cluster.local', { intermediates: 1 });
const identity = (serviceAccount: string, authority = before, generation = 1) =>
  createTestIdentity(authority, { namespace: 'shop', serviceAccount, generation, bundles: bundlesOf(authority) });
const judging = { nowMs: Date.now, revocations: () => noRevocations };

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** The identities in use; whoever begins a handshake takes one. */
interface Sides {
  web: Identity;
  api: Identity;
}

/** A handshake of `web` with `api`, in the middle of which `rotate` is called. */
async function handshake(sides: Sides, rotate: () => void): Promise<readonly [web: MutualTls, api: MutualTls]> {
  const signal = new AbortController().signal;
  const accepted = Promise.withResolvers<MutualTls>();
  const server = createServer((raw) => {
    cleanups.push(() => raw.destroy());
    acceptMutualTls(raw, sides.api, judging, 'tunnel', signal).then(accepted.resolve, accepted.reject);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const wire = await createWire((server.address() as AddressInfo).port);
  cleanups.push(
    () => server.close(),
    () => wire.close(),
  );
  const raw: Socket = connect(wire.port, '127.0.0.1');
  cleanups.push(() => raw.destroy());
  await once(raw, 'connect');
  while (wire.links.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const [link] = wire.links;
  link?.hold();
  const asked = link?.request();
  const originated = originateMutualTls(raw, sides.web, sides.api.spiffeId, judging, 'tunnel', signal);
  await asked;
  rotate();
  link?.release();
  return Promise.all([originated, accepted.promise]);
}

describe('R17: a rotation in the middle of a handshake', () => {
  it.each(['web', 'api'] as const)(
    'R17: of %s changes nothing in it, and the next one has all of the new identity',
    async (name) => {
      const sides: Sides = { web: identity('web'), api: identity('api') };
      const old = { ...sides };
      const [web, api] = await handshake(sides, () => {
        sides[name] = identity(name, after, 2);
      });
      expect(web.local).toBe(old.web);
      expect(api.local).toBe(old.api);
      expect(web.peer.serial).toBe(old.api.leaf.serialNumber);
      expect(api.peer.serial).toBe(old.web.leaf.serialNumber);
      await expect(handshake(sides, () => undefined)).rejects.toMatchObject({
        reason: expect.stringMatching(/untrusted|reset/),
      });
      const other = name === 'web' ? 'api' : 'web';
      sides[other] = identity(other, after, 2);
      const [next] = await handshake(sides, () => undefined);
      expect(next.peer.serial).toBe(sides.api.leaf.serialNumber);
    },
  );
});
