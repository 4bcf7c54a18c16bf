import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { AuthorizationPolicy, PolicyState } from '../../../src/control-api.ts';
import { closedReasons } from '../../../src/outcomes.ts';
import { createSlots } from '../../../src/proxy/slots.ts';
import type { DataPlaneOptions, RunningDataPlane } from '../../support/data-plane.ts';
import { runDataPlane } from '../../support/data-plane.ts';
import { createTestAuthority, createTestIdentity } from '../../support/identities.ts';
import { ending, readAll } from '../../support/sockets.ts';

/*
 * Goal: a connection lasts as long as it is permitted, whichever way it came, and what is permitted is not disturbed by any
 * change. Method: sidecars in this process, an application behind one of them, and policies that are changed under way.
 */

const authority = createTestAuthority('cluster.local', { intermediates: 1 });
const idOf = (name: string) => `spiffe://cluster.local/ns/shop/sa/${name}`;
const identityOf = (name: string) => createTestIdentity(authority, { namespace: 'shop', serviceAccount: name });
const floor = { minimumMode: 'DISABLE', allowedPeers: undefined } as const;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const policyOf = (name: string, action: AuthorizationPolicy['action'], id: string): AuthorizationPolicy => ({
  name: `shop/${name}`,
  action,
  rules: [{ from: [{ principals: [id.slice('spiffe://'.length)] }] }],
});
const permissive: PolicyState = { mode: 'PERMISSIVE' };
const under = (...authorization: AuthorizationPolicy[]): PolicyState => ({ ...permissive, authorization });

interface Application {
  readonly port: number;
  readonly sockets: Socket[];
  /** What has come in, over all connections. */
  received(): number;
  next(): Promise<Socket>;
}

async function application(onConnection: (socket: Socket) => void = () => undefined): Promise<Application> {
  const sockets: Socket[] = [];
  let received = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
    cleanups.push(() => socket.destroy());
    onConnection(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanups.push(() => server.close());
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    received: () => received,
    next: async () => ((await once(server, 'connection')) as [Socket])[0],
  };
}

/** The sidecar of the application, for tunnels and for what is captured. */
async function sidecarOf({ port }: Application, parts: DataPlaneOptions['parts'] = {}): Promise<RunningDataPlane> {
  const here = { ip: '127.0.0.1', port };
  const plane = await runDataPlane({
    identity: identityOf('api'),
    deliveries: [here],
    parts: { originalDestination: () => here, ...parts },
    adjust: (all) => ({
      ...all,
      listen: { ...all.listen, inbound: [{ ip: '127.0.0.1', port: 0 }] },
      inbound: { ...all.inbound, floor },
    }),
  });
  plane.policy = permissive;
  cleanups.push(() => plane.stop());
  return plane;
}

function becomes(plane: RunningDataPlane, policy: PolicyState | undefined): void {
  plane.policy = policy;
  plane.policyChanged();
}

type Way = 'tunnel' | 'direct' | 'plaintext';

interface Client {
  readonly socket: Socket;
  /** Its sidecar, where it has one. */
  readonly plane?: RunningDataPlane;
}

/** A connection of `name` to the application behind `api`. */
async function dial(way: Way, name: string, api: RunningDataPlane, { port }: Application): Promise<Client> {
  const captured = { host: '127.0.0.1', port: api.addresses.inbound[0]?.port ?? 0 };
  if (way === 'plaintext') return { socket: watched(connect({ ...captured, allowHalfOpen: true })) };
  const identity = identityOf(name);
  if (way === 'direct') {
    const key = identity.key.export({ type: 'pkcs8', format: 'pem' });
    const options = { ...captured, key, cert: identity.chainPem, ALPNProtocols: ['istio'], rejectUnauthorized: false };
    return { socket: watched(tls.connect(options)) };
  }
  const plane = await runDataPlane({
    identity,
    declared: [{ target: { ip: '127.0.0.1', port }, peer: idOf('api') }],
    hbonePort: api.addresses.hbone[0]?.port ?? 0,
  });
  cleanups.push(() => plane.stop());
  const listener = { host: '127.0.0.1', port: plane.addresses.declared[0]?.port ?? 0, allowHalfOpen: true };
  return { socket: watched(connect(listener)), plane };
}

function watched(socket: Socket): Socket {
  cleanups.push(() => socket.destroy());
  return socket.on('error', () => undefined);
}

const echo = (socket: Socket) => void socket.pipe(socket);

async function answers(socket: Socket): Promise<boolean> {
  const word = Buffer.from(randomBytes(4).toString('hex'));
  const answer = once(socket, 'data') as Promise<[Buffer]>;
  socket.write(word);
  return (await answer)[0].equals(word);
}

const ways = ['tunnel', 'direct', 'plaintext'] as const;
const whoOf = (way: Way) => (way === 'plaintext' ? 'a peer without identity' : idOf('web'));
const denyAll: AuthorizationPolicy = { name: 'shop/deny', action: 'DENY', rules: [{}] };

describe.each(ways)('what came by %s', (way) => {
  it('is cut by a tightened policy, with its name and why, and not before', async () => {
    const app = await application(echo);
    const api = await sidecarOf(app);
    const { socket } = await dial(way, 'web', api, app);
    expect(await answers(socket)).toBe(true);
    becomes(api, under(policyOf('deny', 'DENY', idOf('somebody-else'))));
    expect(await answers(socket)).toBe(true);
    const ended = ending(socket);
    becomes(api, under(denyAll));
    expect(await ended).toBe('reset');
    expect(await ending(app.sockets[0] as Socket)).toBe('reset');
    expect(await api.line({ reason: 'policy_change' })).toMatchObject({
      outcome: 'closed',
      direction: 'inbound',
      transport: way === 'tunnel' ? 'hbone' : way,
      policy: 'shop/deny',
      detail: `The AuthorizationPolicy shop/deny denies ${whoOf(way)}`,
      msg: closedReasons.policy_change.happened,
      remedy: closedReasons.policy_change.remedy,
      bytesReceived: 16,
    });
    expect(api.failures.all()[0]).toMatchObject({ reason: 'policy_change', policy: 'shop/deny' });
    while (api.parts.connections.inUse > 0) await setImmediate();
  });

  it('is cut where it is allowed no more, and the policy that allowed it is not named', async () => {
    const app = await application(echo);
    const api = await sidecarOf(app);
    becomes(api, under({ ...denyAll, name: 'shop/all', action: 'ALLOW' }));
    const { socket } = await dial(way, 'web', api, app);
    expect(await answers(socket)).toBe(true);
    const [live] = api.accounts.live();
    expect(live?.facts.decision).toMatchObject({ policy: 'shop/all' });
    const ended = ending(socket);
    becomes(api, under(policyOf('some', 'ALLOW', idOf('somebody-else'))));
    expect(await ended).toBe('reset');
    const line = await api.line({ reason: 'policy_change' });
    expect(line).toMatchObject({ detail: `AuthorizationPolicies allow some, and none of them ${whoOf(way)}` });
    expect(line).not.toHaveProperty('policy');
  });

  it('G8: is refused when the policy is tightened while the application is dialled, which sees no byte and a reset', async () => {
    const app = await application();
    const slots = createSlots(10);
    const tryTake = () => {
      // The last that is done before the application is dialled.
      becomes(api, under(denyAll));
      return slots.tryTake();
    };
    const api = await sidecarOf(app, { connections: { ...slots, tryTake } });
    const dialled = app.next();
    const { socket } = await dial(way, 'web', api, app);
    socket.write('to nobody');
    const delivered = await dialled;
    expect(await ending(delivered)).toBe('reset');
    expect(await api.line({ reason: 'policy_deny', direction: 'inbound' })).toMatchObject({
      outcome: 'denied',
      policy: 'shop/deny',
      detail: `The AuthorizationPolicy shop/deny denies ${whoOf(way)}`,
    });
    expect(await ending(socket)).toBe('reset');
    while (slots.inUse > 0) await setImmediate();
    expect([app.received(), app.sockets.length]).toEqual([0, 1]);
  });

  it('G6: is refused as policy_error, and cut, by a policy that cannot be enforced, which its line names', async () => {
    const app = await application(echo);
    const api = await sidecarOf(app);
    const { socket } = await dial(way, 'web', api, app);
    expect(await answers(socket)).toBe(true);
    const ended = ending(socket);
    becomes(api, under({ ...denyAll, name: 'shop/broken', rules: [], problem: 'CUSTOM is not supported' }));
    expect(await ended).toBe('reset');
    expect(await api.line({ reason: 'policy_change' })).toMatchObject({ policy: 'shop/broken' });
    const next = await dial(way, 'web', api, app);
    next.socket.write('to nobody');
    expect(await ending(next.socket)).toBe('reset');
    expect(await api.line({ reason: 'policy_error' })).toMatchObject({ outcome: 'denied', policy: 'shop/broken' });
    expect(app.sockets).toHaveLength(1);
  });

  it('G23: goes on under a policy that is not understood, which lets in nobody new', async () => {
    const app = await application(echo);
    const api = await sidecarOf(app);
    const { socket } = await dial(way, 'web', api, app);
    expect(await answers(socket)).toBe(true);
    becomes(api, undefined);
    expect(await answers(socket)).toBe(true);
    const next = await dial(way, 'web', api, app);
    expect(await ending(next.socket)).toBe('reset');
    expect(await api.line({ reason: 'policy_unavailable' })).toMatchObject({ outcome: 'denied' });
    becomes(api, permissive);
    expect(await answers(socket)).toBe(true);
    expect(app.sockets).toHaveLength(1);
  });

  it('has in its line who audits it, and what policies on trial would have done to it', async () => {
    const app = await application((socket) => void socket.end('hello'));
    const api = await sidecarOf(app);
    const audit = (n: number) => ({ ...denyAll, name: `shop/audit-${n}`, action: 'AUDIT' as const });
    const audits = Array.from({ length: 12 }, (_, n) => audit(n));
    becomes(api, under(...audits, { ...denyAll, name: 'shop/trial', isDryRun: true }));
    const { socket } = await dial(way, 'web', api, app);
    expect(String(await readAll(socket))).toBe('hello');
    socket.end();
    expect(await api.line({ reason: 'eof', direction: 'inbound' })).toMatchObject({
      audited: audits.slice(0, 10).map(({ name }) => name),
      auditedCount: 12,
      dryRun: { verdict: 'denied', reason: 'policy_deny', policy: 'shop/trial' },
    });
    const judged = api.observed.filter(({ event }) => event === 'connectionJudged');
    expect(judged.map(({ args }) => args[1])).toEqual(['allowed']);
  });
});

describe('plaintext', () => {
  it('is cut when its port becomes STRICT, and tunnels are not', async () => {
    const app = await application(echo);
    const api = await sidecarOf(app);
    const plain = await dial('plaintext', 'legacy', api, app);
    const tunnelled = await dial('tunnel', 'web', api, app);
    for (const { socket } of [plain, tunnelled]) expect(await answers(socket)).toBe(true);
    const ended = ending(plain.socket);
    becomes(api, { ...permissive, ports: [{ port: app.port, mode: 'STRICT', setBy: 'shop/api' }] });
    expect(await ended).toBe('reset');
    const line = await api.line({ reason: 'policy_change' });
    expect(line).toMatchObject({
      security: 'plaintext',
      detail: `Port ${app.port} is STRICT and the peer has no identity`,
    });
    expect(line).not.toHaveProperty('policy');
    expect(await answers(tunnelled.socket)).toBe(true);
  });
});

describe('the log of the other side', () => {
  it('has the same id and the reason, and never the name of a policy', async () => {
    const app = await application(echo);
    const api = await sidecarOf(app);
    const first = await dial('tunnel', 'web', api, app);
    expect(await answers(first.socket)).toBe(true);
    const ended = ending(first.socket);
    becomes(api, under(policyOf('secret-plan', 'DENY', idOf('web'))));
    expect(await ended).toBe('reset');
    const cut = await api.line({ reason: 'policy_change' });
    expect(await first.plane?.line({ id: cut.id as string })).toMatchObject({ outcome: 'closed', reason: 'reset' });
    const next = await dial('tunnel', 'web', api, app);
    expect(await ending(next.socket)).toBe('reset');
    const refused = await api.line({ reason: 'policy_deny' });
    expect(refused).toMatchObject({ policy: 'shop/secret-plan', peerId: idOf('web') });
    const theirs = await next.plane?.line({ id: refused.id as string });
    expect(theirs).toMatchObject({ reason: 'peer_refused', otherReason: 'policy_deny' });
    for (const plane of [first.plane, next.plane]) expect(JSON.stringify(plane?.lines)).not.toContain('secret-plan');
  });
});

describe('what is permitted', () => {
  it('is carried on byte by byte, whatever happens to the policy', async () => {
    const blob = randomBytes(4 * 1024 * 1024);
    const rounds = 8;
    const app = await application((socket) => {
      void (async () => {
        for (let n = 0; n < rounds; n += 1) {
          if (!socket.write(blob)) await once(socket, 'drain');
          becomes(api, policies[n % policies.length]);
        }
        socket.end();
      })();
    });
    const api = await sidecarOf(app);
    const web = idOf('web');
    const policies = [
      under(policyOf('deny', 'DENY', idOf('other'))),
      under(policyOf('allow', 'ALLOW', web)),
      { ...under(policyOf('audit', 'AUDIT', web)), mode: 'STRICT' as const },
      undefined,
      under({ ...policyOf('trial', 'DENY', web), isDryRun: true }),
      { mode: 'DISABLE' as const },
    ];
    const { socket } = await dial('tunnel', 'web', api, app);
    const received = createHash('sha256')
      .update(await readAll(socket))
      .digest('hex');
    const sent = createHash('sha256');
    for (let n = 0; n < rounds; n += 1) sent.update(blob);
    expect(received).toBe(sent.digest('hex'));
    socket.end();
    expect(await api.line({ reason: 'eof' })).toMatchObject({ bytesReceived: rounds * blob.length });
  });
});
