import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { connect as connectTls } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ApiServer } from '../../../src/control-plane/api-server.ts';
import { startApiServer } from '../../../src/control-plane/api-server.ts';
import { createAuthority, createRoot } from '../../../src/control-plane/authority.ts';
import type { ControlPlane, ControlPlaneSettings } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { keepServingCertificate } from '../../../src/control-plane/serving-certificate.ts';
import type { WebhookParts } from '../../../src/control-plane/webhook.ts';
import { createWebhook, maxAdmissionBytes, webhookLimits } from '../../../src/control-plane/webhook.ts';
import type { PlaceLimits } from '../../../src/control-plane/webhook-places.ts';
import type { AdmissionReply } from '../../../src/injector/admission.ts';
import { answerAdmission } from '../../../src/injector/admission.ts';
import { injectionSettings, patchedBy, recordedReview } from '../../support/admission.ts';
import type { CapturedLog } from '../../support/captured-log.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { ApiReply, ApiRequest } from '../../support/control-plane-client.ts';
import { call } from '../../support/control-plane-client.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

/*
 * The webhook as an API server reaches it: TLS 1.3, the root as the only anchor, the name of the Service. Then callers that
 * an API server never is.
 */

const anyPort = { ip: '127.0.0.1', port: 0 };
const serviceName = 'remora-control-plane.remora-system.svc';
const hourMs = 3_600_000;
const settings: ControlPlaneSettings = {
  ...controlPlaneDefaults,
  listen: anyPort,
  metricsListen: anyPort,
  servingNames: [serviceName],
  webhook: { listen: anyPort, injection: injectionSettings },
};

let clock: FakeClock;
let captured: CapturedLog;
let plane: ControlPlane;
const sockets: Socket[] = [];
beforeEach(async () => {
  // Clients take the real time: the first certificate and the one that follows it are both valid now.
  clock = createFakeClock(Date.now() - 13 * hourMs);
  captured = captureLog();
  plane = await startControlPlane({ clock, log: captured.log }, settings);
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await plane.close();
});

const webhook = () => ({ apiAddress: plane.webhookAddress!, rootPem: plane.rootPem, servername: serviceName });
const post = (body: unknown, options: ApiRequest = {}) => call(webhook(), '/inject?timeout=10s', { body, ...options });
const reasonOf = ({ status, json }: ApiReply) => ({ status, reason: (json as { reason?: string }).reason });
const replyOf = (reply: ApiReply) => {
  expect(reply.headers['content-type']).toBe('application/json');
  return reply.json as AdmissionReply;
};
const metricsText = async () => {
  const { ip, port } = plane.metricsAddress;
  return (await fetch(`http://${ip}:${port}/metrics`)).text();
};

interface Trusted {
  readonly address: { readonly ip: string; readonly port: number };
  readonly rootPem: string;
}

async function handshake({ address, rootPem }: Trusted, more: ConnectionOptions = {}): Promise<TLSSocket> {
  const options = { host: address.ip, port: address.port, ca: rootPem, servername: serviceName, ...more };
  const socket = connectTls(options);
  sockets.push(socket.on('error', () => undefined));
  await once(socket, 'secureConnect');
  return socket;
}
const dial = (more?: ConnectionOptions) => handshake({ address: plane.webhookAddress!, rootPem: plane.rootPem }, more);

/** Sends a request over a connection that is open, and reads until the whole answer is there. */
async function requestOn(socket: TLSSocket, text: string): Promise<string> {
  let answer = '';
  const { promise, resolve } = Promise.withResolvers<void>();
  const read = (chunk: Buffer) => {
    answer += chunk.toString();
    const [head = '', body] = answer.split('\r\n\r\n');
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (body !== undefined && body.length >= length) resolve();
  };
  socket.on('data', read);
  socket.once('close', resolve);
  socket.write(text);
  await promise;
  socket.off('data', read).off('close', resolve);
  return answer;
}
const health = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n';

describe('an API server', () => {
  it('W3: gets the patch of a new pod over TLS 1.3, from the name of the Service', async () => {
    const socket = await dial({ minVersion: 'TLSv1.3' });
    expect([socket.authorized, socket.getProtocol()]).toEqual([true, 'TLSv1.3']);
    const review = recordedReview('create-replicaset');
    const { response } = replyOf(await post(review));
    expect(response).toMatchObject({ uid: review.request.uid, allowed: true, patchType: 'JSONPatch' });
    const once = patchedBy(replyOf(await post(review)), review.request.object);
    expect(once.spec.initContainers).toHaveLength(2);
  });

  it('W4: gets no second patch for a pod that it reviews again', async () => {
    const review = recordedReview('create-replicaset');
    review.request.object = patchedBy(replyOf(await post(review)), review.request.object);
    expect(replyOf(await post(review)).response).toEqual({ uid: review.request.uid, allowed: true });
  });

  it('T1: gets nothing below TLS 1.3', async () => {
    await expect(dial({ maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/);
  });

  it('W15: gets the same in a dry run, and everything else is allowed as it is', async () => {
    const [real, dry] = [recordedReview('create-bare-pod'), recordedReview('create-dry-run')];
    expect(replyOf(await post(dry)).response.patch).toBe(replyOf(await post(real)).response.patch);
    for (const name of ['update', 'delete', 'connect', 'update-ephemeral-containers', 'create-deployment']) {
      const review = recordedReview(name);
      expect(replyOf(await post(review)).response).toEqual({ uid: review.request.uid, allowed: true });
    }
  });

  it('may send a pod as large as any, and not a byte more than the limit', async () => {
    const review = recordedReview('create-bare-pod');
    review.request.object.metadata.annotations = { large: 'x'.repeat(3 * 1024 * 1024) };
    expect(replyOf(await post(review)).response.allowed).toBe(true);
    const json = JSON.stringify(recordedReview('create-bare-pod'));
    expect((await post(json.padEnd(maxAdmissionBytes))).status).toBe(200);
    expect(reasonOf(await post(json.padEnd(maxAdmissionBytes + 1)))).toEqual({ status: 413, reason: 'too_large' });
  });

  it('sends many over one connection', async () => {
    const socket = await dial();
    const body = JSON.stringify(recordedReview('create-bare-pod'));
    const text = `POST /inject HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    for (let round = 0; round < 3; round++) expect(await requestOn(socket, text)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('makes one line in the log for each decision, which names the pod and holds nothing of it', async () => {
    await post(recordedReview('create-replicaset'));
    expect(await captured.next('Pod reviewed')).toMatchObject({
      level: 'info',
      outcome: 'injected',
      namespace: 'shop',
      workload: 'web',
    });
    await post(recordedReview('create-conflict'));
    const refused = await captured.next('Pod reviewed');
    expect(refused).toMatchObject({ level: 'warn', outcome: 'refused', reason: 'problems', workload: 'web' });
    await post(recordedReview('create-dry-run'));
    expect(await captured.next('Pod reviewed')).toMatchObject({ outcome: 'injected', dryRun: true });
    expect(captured.text()).not.toMatch(/99999|example\.com|8080/);
  });

  it('is counted by result, and the time of its answer is measured', async () => {
    const text = await metricsText();
    for (const result of ['injected', 'skipped', 'refused', 'failed'])
      expect(text).toContain(`remora_injector_requests_total{result="${result}"} 0`);
    for (const name of ['create-replicaset', 'create-opted-out', 'create-conflict', 'v1beta1'])
      await post(recordedReview(name));
    await post('{');
    const after = await metricsText();
    for (const [result, count] of Object.entries({ injected: 1, skipped: 1, refused: 1, failed: 2 }))
      expect(after).toContain(`remora_injector_requests_total{result="${result}"} ${count}`);
    expect(after).toContain('remora_injector_duration_seconds_count 5');
  });
});

describe('a caller that is none', () => {
  it.each<[string, unknown, Record<string, string>, number, string]>([
    ['an empty body', '', {}, 400, 'bad_json'],
    ['no JSON', '{"kind":', {}, 400, 'bad_json'],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22]), {}, 400, 'bad_json'],
    ['a form', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type'],
    ['YAML', 'a: b', { 'content-type': 'application/yaml' }, 415, 'unsupported_media_type'],
    [
      'a small body that grows when it is unpacked',
      gzipSync(Buffer.alloc(50_000_000)),
      { 'content-encoding': 'gzip' },
      415,
      'unsupported_media_type',
    ],
    ['10 MB', Buffer.alloc(10_000_000, 0x20), {}, 413, 'too_large'],
    ['10 MB of unknown length', Buffer.alloc(10_000_000, 0x20), { 'transfer-encoding': 'chunked' }, 413, 'too_large'],
  ])('W1: is refused and the webhook goes on: %s', async (_, body, headers, status, reason) => {
    expect(reasonOf(await post(body, { headers }))).toEqual({ status, reason });
    expect((await post(recordedReview('create-bare-pod'))).status).toBe(200);
  });

  it.each([
    ['lists in lists', '['.repeat(2_000_000)],
    ['closed lists in lists', '['.repeat(1_000_000) + ']'.repeat(1_000_000)],
    ['a pod of lists in lists', nested(500_000)],
    ['a million lists', `[${'[],'.repeat(1_000_000)}[]]`],
  ])('W1: is refused and the webhook goes on: %s', async (_, body) => {
    expect(reasonOf(await post(body))).toEqual({ status: 400, reason: 'bad_request' });
    expect((await post(recordedReview('create-bare-pod'))).status).toBe(200);
    expect(captured.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('W2: gets an AdmissionReview with its uid and status 400 when it sends another version', async () => {
    const reply = await post(recordedReview('v1beta1'));
    expect(reply.status).toBe(400);
    expect(replyOf(reply).response).toMatchObject({ uid: '99990000-aaaa-4bbb-8ccc-ddddeeeeffff', allowed: false });
  });

  it('W14: learns at every other path and by every other method that there is nothing', async () => {
    expect(reasonOf(await call(webhook(), '/inject'))).toEqual({ status: 405, reason: 'method_not_allowed' });
    for (const path of ['/', '/v1/certificates', '/v1/bundle', '/metrics', '/inject/'])
      expect(reasonOf(await call(webhook(), path, { body: {} }))).toEqual({ status: 404, reason: 'not_found' });
    expect((await call(webhook(), '/healthz')).json).toEqual({ status: 'ok' });
  });

  it('W14: gets the same patch with and without credentials, and nothing of another pod', async () => {
    await post(recordedReview('create-statefulset'));
    const [open, named] = [
      await post(recordedReview('create-bare-pod')),
      await post(recordedReview('create-bare-pod'), { token: 'a.b.c' }),
    ];
    expect(named.text).toBe(open.text);
    expect(open.text).not.toContain('db-0');
  });

  it('cannot fill the disk: no more than a hundred lines a second', async () => {
    const socket = await dial();
    const text = `POST /inject HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}`;
    for (let round = 0; round < 120; round++) await requestOn(socket, text);
    await clock.advance(1_000);
    await requestOn(socket, text);
    const lines = captured.lines.filter(({ msg }) => msg === 'Pod reviewed');
    expect(lines).toHaveLength(101);
    expect(lines[100]).toMatchObject({ outcome: 'failed', suppressed: 20 });
  });
});

describe('too many at once', () => {
  /** A webhook alone, with few places and a deadline that is short. */
  async function startWebhook(limits: PlaceLimits, requestMs = 5_000, admit?: WebhookParts['admit']) {
    const root = createRoot('cluster.local', clock.now());
    const lifetimes = { trustDomain: 'cluster.local', lifetimeMs: 1e6, minimumLifetimeMs: 1e4 };
    const authority = createAuthority({ root }, clock, lifetimes);
    const { log } = captured;
    const serving = keepServingCertificate({ authority, clock, log }, [serviceName]);
    const results: string[] = [];
    const metrics = { admissionDecided: (result: string) => void results.push(result) };
    const parts = { clock, log, metrics, admit: admit ?? ((one) => answerAdmission(one, injectionSettings)) };
    const api = createWebhook(parts, limits);
    const server: ApiServer = await startApiServer({ clock, serving, api }, anyPort, {
      ...webhookLimits,
      headersMs: Math.min(requestMs, webhookLimits.headersMs),
      requestMs,
    });
    const own = { apiAddress: server.address, rootPem: authority.rootPem, servername: serviceName };
    return {
      server,
      results,
      post: (body: unknown) => call(own, '/inject', { body }),
      dial: () => handshake({ address: server.address, rootPem: authority.rootPem }),
    };
  }
  /** Resolves when the server has read the headers of a request whose body never comes. */
  const stall = async (socket: TLSSocket, bytes: number) => {
    const head = `POST /inject HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: ${bytes}\r\n\r\n`;
    const answered = once(socket, 'data') as Promise<[Buffer]>;
    socket.write(head);
    expect((await answered)[0].toString()).toMatch(/^HTTP\/1\.1 100 /);
  };
  const busy = { status: 429, reason: 'too_many_requests' };

  it('W12: are told to come again in a second, and find a place when another has left', async () => {
    const { server, results, ...few } = await startWebhook({ requests: 4, bytes: 1024 ** 2 });
    const stalled = [await few.dial(), await few.dial()];
    for (const socket of stalled) await stall(socket, 100);
    const refused = await few.post(recordedReview('create-bare-pod'));
    expect(reasonOf(refused)).toEqual(busy);
    expect(refused.headers['retry-after']).toBe('1');
    expect(results).toEqual(['failed']);
    stalled[0]!.destroy();
    await once(stalled[0]!, 'close');
    while (results.length < 2) await new Promise(setImmediate);
    expect((await few.post(recordedReview('create-bare-pod'))).status).toBe(200);
    stalled[1]!.destroy();
    await server.close();
  });

  it('W12: announce no more bytes than there is memory for', async () => {
    const { server, ...few } = await startWebhook({ requests: 100, bytes: 128 * 1024 });
    const stalled = await few.dial();
    await stall(stalled, 64 * 1024);
    expect(reasonOf(await few.post(recordedReview('create-bare-pod')))).toEqual(busy);
    stalled.destroy();
    await server.close();
  });

  it('W12: hold their places no longer than the deadline of a body', async () => {
    const { server, results, ...few } = await startWebhook({ requests: 2, bytes: 1024 ** 2 }, 300);
    const stalled = await few.dial();
    await stall(stalled, 100);
    expect(reasonOf(await few.post(recordedReview('create-bare-pod')))).toEqual(busy);
    const [answer] = (await once(stalled, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 408 /);
    while (results.length < 2) await new Promise(setImmediate);
    expect((await few.post(recordedReview('create-bare-pod'))).status).toBe(200);
    await server.close();
  });

  it('end a failure of ours with 500 and a line in the log, and the next one is answered', async () => {
    let isBroken = true;
    const { server, results, ...few } = await startWebhook({ requests: 4, bytes: 1024 ** 2 }, 5_000, (review) => {
      if (isBroken) throw new TypeError('a mistake');
      return answerAdmission(review, injectionSettings);
    });
    const reply = await few.post(recordedReview('create-bare-pod'));
    expect(reasonOf(reply)).toEqual({ status: 500, reason: 'internal' });
    expect(reply.text).not.toContain('mistake');
    expect(await captured.next('A request failed')).toMatchObject({ why: 'a mistake' });
    isBroken = false;
    expect((await few.post(recordedReview('create-bare-pod'))).status).toBe(200);
    expect(results).toEqual(['failed', 'injected']);
    await server.close();
  });
});

describe('the certificate', () => {
  it('W13: is renewed on the same port, of both servers, while an old connection goes on', async () => {
    const api = { address: plane.apiAddress, rootPem: plane.rootPem };
    const serialOf = (socket: TLSSocket) => socket.getPeerCertificate().serialNumber;
    const before = await dial();
    expect(serialOf(await handshake(api))).toBe(serialOf(before));
    await clock.advance(13 * hourMs);
    const after = await dial();
    expect(after.authorized).toBe(true);
    expect(serialOf(after)).not.toBe(serialOf(before));
    expect(serialOf(await handshake(api))).toBe(serialOf(after));
    expect(await requestOn(before, health)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('is for the names that it is given, and for no other', async () => {
    await expect(dial({ servername: 'remora-control-plane.other.svc' })).rejects.toThrow(/does not match/);
  });
});

describe('a control plane', () => {
  it('without settings of the injector has no webhook', async () => {
    const without = await startControlPlane({ clock, log: captured.log }, { ...settings, webhook: undefined });
    expect(without.webhookAddress).toBeUndefined();
    const { ip, port } = without.metricsAddress;
    expect(await (await fetch(`http://${ip}:${port}/metrics`)).text()).not.toContain('requests_total{');
    await without.close();
  });

  it('K9: that finds the port of the webhook taken leaves nothing open', async () => {
    const taken = { ...settings, webhook: { injection: injectionSettings, listen: plane.webhookAddress! } };
    await expect(startControlPlane({ clock, log: captured.log }, taken)).rejects.toMatchObject({ exitCode: 1 });
  });

  it('closes the webhook with itself', async () => {
    const { webhookAddress } = plane;
    await plane.close();
    await expect(handshake({ address: webhookAddress!, rootPem: plane.rootPem })).rejects.toThrow(/ECONNREFUSED/);
  });
});

/** An AdmissionReview that is right, of a pod of lists. */
function nested(depth: number): string {
  const review = recordedReview('create-bare-pod');
  review.request.object = 'HERE';
  return JSON.stringify(review).replace('"HERE"', '['.repeat(depth) + ']'.repeat(depth));
}
