import { once } from 'node:events';
import type { Http2Session, ServerHttp2Stream } from 'node:http2';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/clock.ts';
import { systemClock } from '../../../src/clock.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const authority = createTestAuthority('cluster.local');
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** Another implementation of HBONE, which answers CONNECT and does that with other requests. */
async function anotherImplementation(onOther: (stream: ServerHttp2Stream) => void): Promise<number> {
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
    if (headers[':method'] !== 'CONNECT') return onOther(stream);
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  server.on('session', (session) => cleanups.push(() => session.destroy()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const identity = () => createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'web' });

/** The deadline of a request, which nothing else has. */
const openTimeoutMs = 10_001;
const unhurried: Clock = { ...systemClock, random: () => 0 };

/** A sidecar that calls it, and proves its tunnels without waiting. */
async function caller(hbonePort: number, clock: Clock = unhurried): Promise<RunningDataPlane> {
  const web = await runDataPlane({
    identity: identity(),
    declared: [{ target: { ip: '127.0.0.1', port: 80 }, peer: apiId }],
    hbonePort,
    clock,
    adjust: (settings) => ({ ...settings, tunnels: { ...settings.tunnels, openTimeoutMs } }),
  });
  cleanups.push(() => web.stop());
  return web;
}

function rotate(web: RunningDataPlane): void {
  web.identity = identity();
  web.identityChanged(web.identity);
}

describe('a tunnel to another implementation', () => {
  it('is asked for a proof in vain, says when it ends, and carries on until then', async () => {
    const web = await caller(
      await anotherImplementation((stream) => stream.respond({ ':status': 404 }, { endStream: true })),
    );
    const client = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0 });
    client.on('error', () => undefined);
    cleanups.push(() => client.destroy());
    const answer = async (word: string) => {
      client.write(word);
      return String((await once(client, 'data'))[0]);
    };
    expect(await answer('before')).toBe('before');
    const asked = web.observation(({ event, args }) => event === 'proofRenewed' && args[1] === 'not_supported');
    rotate(web);
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

  it('is not asked twice on a tunnel on which no answer came: it may have been accepted there', async () => {
    const asked: (Http2Session | undefined)[] = [];
    const again = Promise.withResolvers<void>();
    const port = await anotherImplementation((stream) => {
      asked.push(stream.session);
      if (asked.length === 2) again.resolve();
    });
    let isOver = false;
    const after: Clock['after'] = (delayMs, callback) =>
      systemClock.after(isOver && delayMs === openTimeoutMs ? 0 : delayMs, callback);
    const web = await caller(port, { ...unhurried, after });
    const client = connect({ host: '127.0.0.1', port: web.addresses.declared[0]?.port ?? 0 });
    client.on('error', () => undefined);
    cleanups.push(() => client.destroy());
    client.write('a word');
    await once(client, 'data');
    isOver = true;
    rotate(web);
    await again.promise;
    expect(new Set(asked).size).toBe(2);
  });
});
