import { once } from 'node:events';
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import type { TunnelEnd } from '../../../src/identity/tunnel-proof.ts';
import { keyingMaterial, proofFor, tunnelKeysOf } from '../../../src/identity/tunnel-proof.ts';
import type { RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const apiId = 'spiffe://cluster.local/ns/shop/sa/api';
const hourMs = 3_600_000;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** A sidecar that serves tunnels, and knows each by the end of its peer's certificate. */
async function server(clock = systemClock): Promise<RunningDataPlane> {
  const api = await runDataPlane({
    identity: createTestIdentity(authority, { namespace: 'shop', serviceAccount: 'api' }),
    clock,
  });
  cleanups.push(() => api.stop());
  return api;
}

/** A tunnel that somebody made with all that he has. */
interface Visitor {
  readonly end: TunnelEnd;
  /** Sends this proof of the tunnel `old`, or the right one, and resolves with the status and the headers of the answer. */
  prove(old: TunnelEnd, proof?: string): Promise<Answer>;
  /** Asks for a connection. */
  connect(): Promise<Answer>;
}

type Answer = IncomingHttpHeaders & { ':status'?: number };

let order = 0;

async function visit(api: RunningDataPlane, serviceAccount: string, lifetimeMs = hourMs): Promise<Visitor> {
  const peerId = `spiffe://cluster.local/ns/shop/sa/${serviceAccount}`;
  const notAfterMs = systemClock.now() + lifetimeMs;
  const { key, chainPem } = authority.issue({ id: peerId, notAfterMs });
  const secured = tls.connect({
    socket: connect(api.addresses.hbone[0]?.port ?? 0, '127.0.0.1'),
    key: key.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: chainPem,
    ca: authority.bundlePem,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  secured.on('error', () => undefined);
  await once(secured, 'secureConnect');
  const session = connectHttp2('https://api.invalid', { createConnection: () => secured });
  session.on('error', () => undefined);
  cleanups.push(() => session.destroy());
  await once(session, 'remoteSettings');
  const material = secured.exportKeyingMaterial(keyingMaterial.bytes, keyingMaterial.label, Buffer.alloc(0));
  const end: TunnelEnd = { keys: tunnelKeysOf(material), peerId: apiId, localId: peerId, order: ++order };
  return {
    end,
    prove: (old, proof = proofFor(old, end)) =>
      answerTo(session, { ...proofRequest, 'remora-tunnel': old.keys.name, 'remora-proof': proof }),
    connect: () => answerTo(session, { ':method': 'CONNECT', ':authority': '127.0.0.1:80' }),
  };
}

const proofRequest = { ':method': 'POST', ':path': '/remora/v1/tunnel-proof' };

async function answerTo(session: ClientHttp2Session, headers: Record<string, string>) {
  const stream = session.request(headers, { endStream: true });
  stream.on('error', () => undefined);
  const [answer] = (await once(stream, 'response')) as [Answer];
  stream.resume();
  return answer;
}

const renewals = (api: RunningDataPlane) =>
  api.observed.filter(({ event }) => event === 'proofRenewed').map(({ args }) => args[1]);

describe('whoever proves a tunnel anew', () => {
  it('N26: is believed when he holds both ends and is the same workload', async () => {
    const api = await server();
    const old = await visit(api, 'web');
    const fresh = await visit(api, 'web', 2 * hourMs);
    expect(await fresh.prove(old.end)).toMatchObject({ ':status': 200 });
    expect(renewals(api)).toEqual(['renewed']);
  });

  it('N26: gains nothing with a proof that he overheard and sends on a tunnel of his own', async () => {
    const api = await server();
    const old = await visit(api, 'web');
    const fresh = await visit(api, 'web');
    const overheard = proofFor(old.end, fresh.end);
    const thief = await visit(api, 'web');
    expect(await thief.prove(old.end, overheard)).toMatchObject({ ':status': 404 });
    expect(renewals(api)).toEqual(['refused']);
  });

  it('N26: gains nothing with the new tunnel alone: the name of the old one is not enough', async () => {
    const api = await server();
    const old = await visit(api, 'web');
    const thief = await visit(api, 'web', 2 * hourMs);
    const guess = { ...old.end, keys: { ...old.end.keys, secret: Buffer.alloc(32) } };
    expect(await thief.prove(guess)).toMatchObject({ ':status': 404 });
    expect(await thief.prove(old.end, '')).toMatchObject({ ':status': 404 });
    expect(await thief.prove({ ...guess, keys: { ...guess.keys, name: '' } })).toMatchObject({ ':status': 404 });
    expect(renewals(api)).toEqual(['refused', 'refused', 'refused']);
  });

  it('N26: gains nothing with the old tunnel alone: whoever has no certificate for it any more is another workload', async () => {
    const api = await server();
    const old = await visit(api, 'web');
    const other = await visit(api, 'intruder', 2 * hourMs);
    // He holds the old tunnel in full, as one who has stolen its keys does.
    expect(await other.prove(old.end)).toMatchObject({ ':status': 404 });
    expect(renewals(api)).toEqual(['refused']);
  });

  it('N26: cannot let a tunnel prove itself, nor an older tunnel a newer one', async () => {
    const api = await server();
    const old = await visit(api, 'web');
    const fresh = await visit(api, 'web');
    expect(await old.prove(old.end)).toMatchObject({ ':status': 404 });
    expect(await old.prove(fresh.end)).toMatchObject({ ':status': 404 });
    expect(await fresh.prove(old.end)).toMatchObject({ ':status': 200 });
    // Sent again it says what is so already.
    expect(await fresh.prove(old.end)).toMatchObject({ ':status': 404 });
    expect(renewals(api)).toEqual(['refused', 'refused', 'renewed', 'refused']);
  });

  it('N26: cannot set a tunnel back to a proof that ends sooner, by a tunnel between the two', async () => {
    const api = await server();
    const old = await visit(api, 'web');
    const between = await visit(api, 'web');
    const newest = await visit(api, 'web', 2 * hourMs);
    expect(await newest.prove(old.end)).toMatchObject({ ':status': 200 });
    expect(await between.prove(old.end)).toMatchObject({ ':status': 404 });
  });

  it('N26: is answered after the end of the certificate of the one who is asked, who carries nothing new', async () => {
    let nowMs = systemClock.now();
    const api = await server({ ...systemClock, now: () => nowMs });
    const lifetimeMs = 1000 * hourMs;
    const old = await visit(api, 'web', lifetimeMs);
    const fresh = await visit(api, 'web', lifetimeMs);
    nowMs = api.identity.notAfterMs;
    expect(await fresh.prove(old.end)).toMatchObject({ ':status': 200 });
    expect(await fresh.connect()).toMatchObject({ ':status': 403, 'remora-reason': 'identity_expired' });
  });

  it('N26: learns nothing from a refusal, whatever was wrong', async () => {
    const api = await server();
    const old = await visit(api, 'web');
    const other = await visit(api, 'intruder');
    const strip = ({ date: _date, ...headers }: Record<string, unknown>) => headers;
    const refusals = [
      await other.prove(old.end),
      await other.prove(old.end, 'x'.repeat(4_000)),
      await other.prove({ ...old.end, keys: { ...old.end.keys, name: 'nobody' } }),
      await other.prove(other.end),
    ];
    for (const refusal of refusals) expect(strip(refusal)).toEqual(strip(refusals[0] ?? {}));
  });
});
