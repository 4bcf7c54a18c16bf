import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { gateRemedies } from '../../../src/outcomes.ts';
import type { Answer, FakeControlPlaneOptions } from '../../support/fake-control-plane.ts';
import { json, startFakeControlPlane } from '../../support/fake-control-plane.ts';
import type { FakeIssuer } from '../../support/fake-issuer.ts';
import { createFakeIssuer } from '../../support/fake-issuer.ts';
import { createTestAuthority } from '../../support/identities.ts';
import { ending } from '../../support/sockets.ts';
import { killPrograms, page } from './agent-program.ts';
import { useFolder } from './identity-files.ts';
import type { OutageMesh, Watched } from './outage-mesh.ts';
import { startOutageMesh } from './outage-mesh.ts';

/*
 * Goal: nobody notices a control plane that is away for less than the rest of an identity; beyond that everything is
 * refused, visibly, and heals by itself. Method: the real sidecar twice, with certificates of 10 s of a real control plane,
 * behind a gate that a test shuts in every way there is, or leads to a server that lies.
 */

useFolder();
let mesh: OutageMesh;
/** A connection that is open from the beginning to the end. */
let lasting: Socket;

beforeAll(async () => {
  mesh = await startOutageMesh();
  lasting = await mesh.dial();
});
afterAll(async () => {
  await mesh?.close();
  killPrograms();
});

async function echo(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  return String((await once(socket, 'data'))[0]);
}

async function ask(): Promise<string> {
  const socket = await mesh.dial();
  const answer = await echo(socket, 'hello');
  socket.destroy();
  return answer;
}

const isOutcome = ({ msg, source }: Readonly<Record<string, unknown>>) =>
  msg === 'Identity renewed' || source === 'control_plane';

/** Opens the gate again, and resolves when the first attempt of `agents` that began afterwards has succeeded. */
async function heal(...agents: readonly Watched[]): Promise<void> {
  const before = agents.map(({ lines }) => lines.length);
  const renewed = Promise.all(agents.map((agent) => agent.next({ msg: 'Identity renewed' })));
  await mesh.gate.set(mesh.honest);
  await renewed;
  agents.forEach(({ lines }, index) => {
    const outcomes = lines.slice(before[index]).filter(isOutcome);
    const failures = outcomes.slice(
      0,
      outcomes.findIndex(({ msg }) => msg === 'Identity renewed'),
    );
    // One may have begun before.
    expect(failures.length, JSON.stringify(failures)).toBeLessThanOrEqual(1);
  });
}

/** The gate leads to a server that answers requests for certificates so. */
const lies = (answer: Answer) => async () => {
  mesh.liar.answer = (request) =>
    request.path === '/v1/certificates' ? answer(request) : void request.response.writeHead(503).end();
  await mesh.gate.set({ kind: 'passes', port: Number(new URL(mesh.liar.url).port) });
};

/** It issues what was asked for, but for what the test changes. */
const forges = (change: (issuer: FakeIssuer) => void) => {
  const issuer = createFakeIssuer(createTestAuthority('cluster.local'), systemClock);
  issuer.lifetimeMs = 10_000;
  change(issuer);
  return lies(async (request) => json(await issuer.certificate(JSON.parse(request.body)))(request));
};

const anyReply = { certificateChain: 'PEM', trustBundles: { 'cluster.local': 'PEM' }, serverTime: '' };
const zipped: Answer = ({ response }) =>
  void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(JSON.stringify(anyReply)));
const slowly: Answer = async ({ response }) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  for (; !response.destroyed; await systemClock.sleep(1000)) response.write(' ');
};

/** The gate leads to a server that does not prove to be the control plane. */
const impostor = (options: FakeControlPlaneOptions) => async () => {
  const server = await startFakeControlPlane(options);
  impostors.push(server);
  await mesh.gate.set({ kind: 'passes', port: Number(new URL(server.url).port) });
};
const impostors: { readonly requests: readonly unknown[]; close(): Promise<void> }[] = [];
afterAll(() => Promise.all(impostors.map((server) => server.close())));

const shut =
  (way: 'refuses' | 'swallows', open: 'reset' | 'silenced' = 'reset') =>
  () =>
    mesh.gate.set({ kind: way }, open);
const port = () => ('port' in mesh.honest ? mesh.honest.port : 0);
const resets = (afterBytes: number) => () => mesh.gate.set({ kind: 'resets', port: port(), afterBytes });

const troubles: readonly (readonly [what: string, reason: string, begin: () => Promise<void>])[] = [
  ['R2: is down', 'unreachable', shut('refuses')],
  ['R5: accepts and never answers', 'timeout', shut('swallows')],
  ['R5: falls silent on connections that are open', 'timeout', shut('swallows', 'silenced')],
  ['R5: sends a byte a second of its handshake', 'timeout', () => mesh.gate.set({ kind: 'trickles', port: port() })],
  ['R5: sends a byte a second of its answer', 'timeout', lies(slowly)],
  ...[1, 1000].map((bytes) => [`R5: resets at byte ${bytes}`, 'unreachable', resets(bytes)] as const),
  ['R6: has a certificate of another root', 'server_untrusted', impostor({})],
  [
    'R6: has a certificate of another name',
    'server_untrusted',
    impostor({ certificate: { sans: [{ dns: 'other' }] } }),
  ],
  ['R7: redirects', 'bad_json', lies(json({}, 307, { location: 'https://localhost/v1/certificates' }))],
  ['R8: answers 401', 'http_401', lies(json({}, 401))],
  ['R8: answers 403', 'http_403', lies(json({}, 403))],
  ['R8: answers 429', 'http_429', lies(json({}, 429, { 'retry-after': '1' }))],
  ['R8: answers 503', 'http_5xx', lies(json({}, 503, { 'retry-after': '1000000000' }))],
  ['P1: answers with half a document', 'bad_json', lies(({ response }) => void response.end('{"certificateChain"'))],
  ['P1: answers without end', 'too_large', lies(({ response }) => void response.end(Buffer.alloc(300_000, 32)))],
  ['P2: answers in gzip', 'bad_json', lies(zipped)],
  ['P5: issues for another identity', 'wrong_identity', forges((issuer) => Object.assign(issuer, { id: 'ns/a/sa/b' }))],
  [
    'P7: issues below a root that it does not name',
    'chain_invalid',
    forges((issuer) =>
      Object.assign(issuer, { bundles: { 'cluster.local': createTestAuthority('cluster.local').bundlePem } }),
    ),
  ],
  ['P9: issues what has ended', 'already_expired', forges((issuer) => Object.assign(issuer, { lifetimeMs: -1000 }))],
  ['R11: issues for a second', 'ttl_too_short', forges((issuer) => Object.assign(issuer, { lifetimeMs: 1000 }))],
  [
    'B1: issues below a root that it does not name, and names none at all',
    'chain_invalid',
    forges((issuer) => Object.assign(issuer, { bundles: { 'cluster.local': '' } })),
  ],
  [
    'B2: issues below a root that it does not name, and names a broken one',
    'chain_invalid',
    forges((issuer) => {
      issuer.bundles = { 'cluster.local': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' };
    }),
  ],
];

it('R2: a partition in the middle of the stream delays renewals by a deadline each, and by nothing when it is over', async () => {
  const { web, api } = mesh;
  const failed = Promise.all([web, api].map((agent) => agent.next({ source: 'control_plane', reason: 'timeout' })));
  await mesh.gate.set({ kind: 'swallows' }, 'silenced');
  await failed;
  await heal(web, api);
  expect(await ask()).toBe('hello');
  expect(await echo(lasting, 'still here')).toBe('still here');
});

describe('shorter than the rest of the identity', () => {
  it.each(troubles)('%s: traffic never notices, and the metrics say %s', async (_, reason, begin) => {
    const { web, api } = mesh;
    const failures = `remora_certificate_renewals_total{source="control_plane",result="failure",reason="${reason}"}`;
    const before = (await web.metric(failures)) ?? 0;
    const failed = web.next({ source: 'control_plane', reason });
    await begin();
    await failed;
    expect(await ask()).toBe('hello');
    expect(await echo(lasting, 'still here')).toBe('still here');
    expect(await web.metric(failures)).toBeGreaterThan(before);
    expect(await web.metric('remora_identity_time_to_outage_seconds')).toBeGreaterThan(0);
    expect((await page(web.ports.health, '/healthz/ready')).status).toBe(200);
    await heal(web, api);
    for (const { requests } of impostors) expect(requests).toEqual([]);
  });
});

/** How a new connection to the port of tunnels ends that begins a handshake. */
function knock(agent: Watched): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port: agent.ports.hbone });
  socket.write('\x16');
  return ending(socket);
}

describe('longer than the rest of the identity', () => {
  it('R3: refuses everything as identity_expired, is not ready and stays up, and heals when the control plane returns', async () => {
    const { web, api } = mesh;
    const lapsed = Promise.all([web, api].map((agent) => agent.next({ msg: 'Not ready', gate: 'identity' })));
    await mesh.gate.set({ kind: 'refuses' });
    const why = /Our own certificate expired at \d{4}-\S+Z$/;
    for (const { detail, remedy } of await lapsed)
      expect({ detail, remedy }).toEqual({ detail: expect.stringMatching(why), remedy: gateRemedies.identity });
    const denied = { outcome: 'denied', reason: 'identity_expired' };
    const [outbound, inbound] = [
      web.next({ ...denied, direction: 'outbound' }),
      api.next({ ...denied, direction: 'inbound' }),
    ];
    expect(await ending(await mesh.dial())).toBe('reset');
    expect(await knock(api)).toBe('reset');
    await Promise.all([outbound, inbound]);
    for (const agent of [web, api]) {
      const { status, text } = await page(agent.ports.health, '/healthz/ready');
      expect({ status, text: text.trim() }).toEqual({ status: 503, text: expect.stringMatching(why) });
      expect((await page(agent.ports.health, '/livez')).status).toBe(200);
      expect(await agent.metric('remora_identity_time_to_outage_seconds')).toBe(0);
    }
    // What was open has its grace.
    expect(await echo(lasting, 'still here')).toBe('still here');
    // It is back at its address, and yet does not answer.
    const late = web.next({ source: 'control_plane', reason: 'timeout' });
    await mesh.gate.set({ kind: 'swallows' });
    await late;
    const ready = Promise.all([web, api].map((agent) => agent.next({ msg: 'Ready' })));
    await heal(web, api);
    await ready;
    expect(await ask()).toBe('hello');
    expect([web.process.exitCode, api.process.exitCode]).toEqual([null, null]);
    expect(await web.metric('remora_identity_time_to_outage_seconds')).toBeGreaterThan(0);
  }, 120_000);

  it('R16: a sidecar that stood still until its identity had ended renews when it goes on, and shows the old one to nobody', async () => {
    const { web, api } = mesh;
    const seen = api.lines.length;
    await web.next({ msg: 'Identity renewed' });
    const end = Date.parse(String(web.lines.findLast(({ msg }) => msg === 'Identity renewed')?.notAfter));
    web.process.kill('SIGSTOP');
    await expect.poll(() => Date.now(), { timeout: 60_000 }).toBeGreaterThan(end);
    // The kernel takes it, and it waits for the sidecar.
    const waiting = await mesh.dial();
    waiting.write('hello');
    const renewed = web.next({ msg: 'Identity renewed' });
    const settled = new Promise<string>((resolve) => {
      waiting.once('data', (answer) => resolve(String(answer)));
      waiting.once('close', () => resolve('reset'));
    });
    web.process.kill('SIGCONT');
    await renewed;
    expect(['hello', 'reset']).toContain(await settled);
    expect(await ask()).toBe('hello');
    const shown = api.lines.slice(seen).filter(({ reason }) => reason === 'expired');
    expect(shown).toEqual([]);
  }, 120_000);
});
