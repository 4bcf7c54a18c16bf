import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const authority = createTestAuthority('cluster.local');
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** Another implementation of HBONE, which answers CONNECT and nothing else. */
async function anotherImplementation(): Promise<number> {
  const { key, chainPem } = authority.issue({ id: apiId });
  const server = createSecureServer({
    key: key.export({ type: 'pkcs8', format: 'pem' }),
    cert: chainPem,
    ca: authority.bundlePem,
    requestCert: true,
    ALPNProtocols: ['h2'],
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    if (headers[':method'] !== 'CONNECT') return void stream.respond({ ':status': 404 }, { endStream: true });
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  server.on('session', (session) => cleanups.push(() => session.destroy()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

describe('a tunnel to another implementation', () => {
  it('is asked for a proof in vain, says when it ends, and carries on until then', async () => {
    const identity = () => createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' });
    const web = await runDataPlane({
      identity: identity(),
      declared: [{ target: { ip: '127.0.0.1', port: 80 }, peer: apiId }],
      hbonePort: await anotherImplementation(),
      clock: { ...systemClock, random: () => 0 },
    });
    cleanups.push(() => web.stop());
    const client = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0 });
    client.on('error', () => undefined);
    cleanups.push(() => client.destroy());
    const answer = async (word: string) => {
      client.write(word);
      return String((await once(client, 'data'))[0]);
    };
    expect(await answer('before')).toBe('before');
    const asked = web.observation(({ event, args }) => event === 'proofRenewed' && args[1] === 'not_supported');
    web.identity = identity();
    web.identityChanged(web.identity);
    await asked;
    const msg = 'A tunnel could not be proved anew; its connections end unless that changes';
    const [connection] = web.accounts.live();
    expect(await web.line({ msg })).toMatchObject({
      result: 'not_supported',
      peerId: apiId,
      connections: 1,
      ends: new Date(connection?.proof?.endsAtMs ?? 0).toISOString(),
    });
    expect(await answer('after')).toBe('after');
  });
});
