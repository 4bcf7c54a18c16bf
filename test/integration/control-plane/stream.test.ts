import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StreamMessage } from '../../../src/control-api.ts';
import { heartbeatIntervalMs, maxReplyBytes, paths } from '../../../src/control-api.ts';
import type { ControlPlane, ControlPlaneSettings } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import { captureLog } from '../../support/captured-log.ts';
import { call, openStream, webPod } from '../../support/control-plane-client.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import type { FakeStore } from '../../support/registry-source.ts';
import { createFakeStore, meshedPod } from '../../support/registry-source.ts';

const anyPort = { ip: '127.0.0.1', port: 0 };
const settings: ControlPlaneSettings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort };
const [api, other] = ['10.0.0.1:80', '10.0.0.2:80'];

let clock: FakeClock;
let store: FakeStore;
let plane: ControlPlane;
beforeEach(async () => {
  clock = createFakeClock();
  store = createFakeStore(meshedPod('api', '10.0.0.1'));
  plane = await startControlPlane({ clock, store, log: captureLog().log }, settings);
});
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await plane.close();
});

const token = () => plane.mintToken(webPod);
const metricsText = async () => (await fetch(`http://127.0.0.1:${plane.metricsAddress.port}/metrics`)).text();
/** Resolves when the control plane knows that the reader has gone. */
const untilOpenStreams = async (count: number) => {
  while (!(await metricsText()).includes(`remora_ca_streams_open ${count}`)) await new Promise(setImmediate);
};
const versionsOf = (messages: readonly StreamMessage[]) =>
  messages.map((message) => (message.topic === 'heartbeat' ? undefined : ([message.epoch, message.version] as const)));
const destinationOf = (message: StreamMessage | undefined) => {
  if (message?.topic !== 'destination') throw new TypeError(`${message?.topic} is no destination`);
  return message.data;
};

describe('a stream', () => {
  it('begins with the full state of every topic and of every address', async () => {
    const stream = await openStream(plane, await token(), [api, other, api]);
    const messages = await stream.take(5);
    expect(messages.map(({ topic }) => topic)).toEqual([
      'trust-bundles',
      'revocations',
      'policy',
      'destination',
      'destination',
    ]);
    expect(messages).toMatchObject([
      { data: { 'cluster.local': plane.rootPem } },
      { data: { certificates: [], identities: [] } },
      { data: { mode: 'PERMISSIVE' } },
      { data: { address: api, known: true, endpoints: [{ spiffeId: 'spiffe://cluster.local/ns/shop/sa/api' }] } },
      { data: { address: other, known: false, endpoints: [] } },
    ]);
    expect(stream.response.headers['content-type']).toBe('application/x-ndjson');
  });

  it('then says what changed, and nothing else, in growing versions of one epoch', async () => {
    const stream = await openStream(plane, await token(), [api, other]);
    const first = await stream.take(5);
    store.set(`${meshedPod('api', '10.0.0.1')}---\n${meshedPod('new', '10.0.0.2')}`);
    const [appeared] = await stream.take(1);
    expect(destinationOf(appeared)).toMatchObject({ address: other, known: true });
    store.set(meshedPod('api2', '10.0.0.1'));
    const gone = await stream.take(2);
    expect(gone.map((message) => destinationOf(message))).toMatchObject([
      { address: api, endpoints: [{ spiffeId: 'spiffe://cluster.local/ns/shop/sa/api2' }] },
      { address: other, known: false },
    ]);
    const versions = versionsOf([...first, appeared!, ...gone]);
    expect(new Set(versions.map((one) => one?.[0])).size).toBe(1);
    expect(versions.map((one) => one?.[1])).toEqual([1, 1, 1, 1, 1, 2, 3, 3]);
  });

  it('says nothing when the registry changes elsewhere', async () => {
    const stream = await openStream(plane, await token(), [api]);
    await stream.take(4);
    store.set(`${meshedPod('api', '10.0.0.1')}---\n${meshedPod('new', '10.0.0.9')}`);
    await clock.advance(heartbeatIntervalMs);
    expect(await stream.take(1)).toEqual([{ topic: 'heartbeat' }]);
  });

  it('has another epoch in another run', async () => {
    const again = await startControlPlane({ clock, store, log: captureLog().log }, settings);
    const streams = [await openStream(plane, await token()), await openStream(again, await again.mintToken(webPod))];
    const epochs = await Promise.all(streams.map(async (stream) => versionsOf(await stream.take(1))[0]?.[0]));
    expect(new Set(epochs).size).toBe(2);
    await again.close();
  });

  it('beats every 15 s', async () => {
    const stream = await openStream(plane, await token());
    await stream.take(3);
    await clock.advance(heartbeatIntervalMs - 1);
    await clock.advance(1);
    await clock.advance(heartbeatIntervalMs);
    expect(await stream.take(2)).toEqual([{ topic: 'heartbeat' }, { topic: 'heartbeat' }]);
  });

  it('ends cleanly when its token expires, not before', async () => {
    const stream = await openStream(plane, await plane.mintToken({ ...webPod, lifetimeMs: 60_000 }));
    await stream.take(3);
    await clock.advance(59_000);
    expect(await stream.take(3)).toHaveLength(3);
    await clock.advance(1_000);
    expect((await stream.rest()).every(({ topic }) => topic === 'heartbeat')).toBe(true);
  });

  it('ends cleanly when the control plane stops', async () => {
    const stream = await openStream(plane, await token());
    await stream.take(3);
    const closed = plane.close();
    expect(await stream.rest()).toEqual([]);
    await closed;
    await expect(call(plane, paths.health)).rejects.toThrow(/ECONNREFUSED/);
  });

  it.each([
    ['a stream', paths.stream, '{"destinations":[]}', /^HTTP\/1\.1 503 .*"reason":"stopping"/s],
    ['another call', paths.destinations, '{"addresses":[]}', /^HTTP\/1\.1 200 /],
  ])('that was being asked for when the control plane stopped: %s', async (_, path, body, answer) => {
    const socket = connectTls({
      host: '127.0.0.1',
      port: plane.apiAddress.port,
      ca: plane.rootPem,
      servername: 'localhost',
    });
    sockets.push(socket);
    await once(socket, 'secureConnect');
    const request = `POST ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${await token()}\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`;
    socket.write(request);
    const [goOn] = (await once(socket, 'data')) as [Buffer];
    expect(goOn.toString()).toMatch(/^HTTP\/1\.1 100 /);
    const closed = Promise.all([plane.close(), once(socket, 'close')]);
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.write(body);
    await closed;
    expect(text).toMatch(answer);
  });

  it('is counted while it is open, and forgotten when its reader leaves', async () => {
    const stream = await openStream(plane, await token());
    await untilOpenStreams(1);
    stream.destroy();
    await untilOpenStreams(0);
  });

  it('X17: leaves no timer behind', async () => {
    const before = clock.pending;
    const streams = await Promise.all(Array.from({ length: 5 }, async () => openStream(plane, await token())));
    expect(clock.pending).toBe(before + 10);
    for (const stream of streams) stream.destroy();
    await untilOpenStreams(0);
    expect(clock.pending).toBe(before);
  });

  it('is refused to a pod that has eight of them, and to nobody else', async () => {
    const mine = await token();
    const streams = await Promise.all(Array.from({ length: 8 }, () => openStream(plane, mine)));
    const reply = await call(plane, paths.stream, { token: mine, body: { destinations: [] } });
    expect(reply).toMatchObject({ status: 429, json: { reason: 'too_many_streams' } });
    expect(reply.headers['retry-after']).toBe('10');
    (await openStream(plane, await plane.mintToken({ ...webPod, pod: 'web-1' }))).destroy();
    streams[0]!.destroy();
    await untilOpenStreams(7);
    await openStream(plane, mine);
  });

  it.each([
    ['more than 1,000 addresses', { destinations: Array.from({ length: 1001 }, (_, index) => `10.0.0.1:${index}`) }],
    ['an address of more than 64 characters', { destinations: ['x'.repeat(65)] }],
    ['no addresses', {}],
  ])('is refused with %s', async (_, body) => {
    expect(await call(plane, paths.stream, { token: await token(), body })).toMatchObject({
      status: 400,
      json: { reason: 'bad_request' },
    });
  });
});

describe('a Service whose endpoints depend on who asks', () => {
  const local = '10.96.0.1:80';
  const on = (node: string, name: string, ip: string, labels?: string) =>
    meshedPod(name, ip, labels).replace('spec: {', `spec: {nodeName: ${node}, `);
  const serviceYaml =
    'apiVersion: v1\nkind: Service\nmetadata: {name: logs, namespace: shop}\nspec: {clusterIP: 10.96.0.1, internalTrafficPolicy: Local, selector: {app: logs}, ports: [{port: 80}]}\n';
  const registry = (...more: readonly string[]) =>
    [
      on('n1', 'web-0', '10.0.0.1'),
      on('n1', 'logs-1', '10.0.1.1', 'app: logs'),
      on('n2', 'logs-2', '10.0.1.2', 'app: logs'),
      serviceYaml,
      ...more,
    ].join('---\n');
  const endpointsOf = (message: StreamMessage | undefined) =>
    destinationOf(message).endpoints.map(({ address }) => address);

  it('is told to each pod as it is on its node, and asked for in one request the same', async () => {
    store.set(registry(on('n2', 'web-1', '10.0.0.2')));
    const tokens = await Promise.all(['web-0', 'web-1', 'web-2'].map((pod) => plane.mintToken({ ...webPod, pod })));
    const streams = await Promise.all(tokens.map((one) => openStream(plane, one, [local])));
    const lines = await Promise.all(streams.map(async (stream) => (await stream.take(4))[3]));
    expect(lines.map(endpointsOf)).toEqual([['10.0.1.1:80'], ['10.0.1.2:80'], []]);
    const replies = await Promise.all(
      tokens.map((one) => call(plane, paths.destinations, { token: one, body: { addresses: [local], node: 'n1' } })),
    );
    expect(replies.map(({ json }) => (json as { destinations: unknown[] }).destinations[0])).toEqual(
      lines.map(destinationOf),
    );
  });

  it('is told again when the node of the asking pod is known, or an endpoint of it changes, and not for others', async () => {
    store.set(registry());
    const stream = await openStream(plane, await plane.mintToken({ ...webPod, pod: 'web-1' }), [local]);
    expect(endpointsOf((await stream.take(4))[3])).toEqual([]);
    store.set(registry(on('n2', 'web-1', '10.0.0.2')));
    expect((await stream.take(1)).map(endpointsOf)).toEqual([['10.0.1.2:80']]);
    store.set(registry(on('n2', 'web-1', '10.0.0.2'), on('n1', 'logs-3', '10.0.1.3', 'app: logs')));
    store.set(registry(on('n2', 'web-1', '10.0.0.2'), on('n2', 'logs-4', '10.0.1.4', 'app: logs')));
    expect((await stream.take(1)).map(endpointsOf)).toEqual([['10.0.1.2:80', '10.0.1.4:80']]);
  });
});

describe('a slow reader', () => {
  /** Opens a stream and reads nothing of it; 1,000 destinations are more than the kernel holds for it. */
  const stall = async () => {
    const pods = Array.from({ length: 200 }, (_, index) => meshedPod(`pod-${index}`, `10.1.0.${index}`));
    store.set([...pods, serviceYaml].join('---\n'));
    const socket = connectTls({
      host: '127.0.0.1',
      port: plane.apiAddress.port,
      ca: plane.rootPem,
      servername: 'localhost',
    });
    await once(socket, 'secureConnect');
    sockets.push(socket.pause());
    const body = JSON.stringify({ destinations: Array.from({ length: 1000 }, (_, port) => `10.96.0.1:${port + 1}`) });
    socket.write(
      `POST ${paths.stream} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${await token()}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await untilOpenStreams(1);
    return socket;
  };
  const ports = Array.from({ length: 1000 }, (_, index) => `{name: p${index + 1}, port: ${index + 1}}`);
  const serviceYaml = `apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [${ports}]}\n`;

  it('gets the latest state of what it missed, once', async () => {
    const socket = await stall();
    for (let change = 0; change < 20; change++)
      store.set(`${meshedPod(`change-${change}`, '10.2.0.1')}---\n${serviceYaml}`);
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    const last = '10.96.0.1:1000';
    socket.resume();
    while (!text.includes(`"address":"${last}"`)) await once(socket, 'data');
    expect(text).not.toMatch(/change-[0-9]\b/);
    expect(text.split(`"data":{"address":"${last}"`)).toHaveLength(2);
    expect(text.slice(text.lastIndexOf(last))).toContain('sa/change-19"');
  });

  it('is dropped when it reads nothing for a minute', async () => {
    await stall();
    await clock.advance(4 * heartbeatIntervalMs);
    await untilOpenStreams(0);
  });
});

describe('POST /v1/destinations', () => {
  const ask = async (addresses: readonly unknown[]) =>
    call(plane, paths.destinations, { token: await token(), body: { addresses } });

  it('answers what is behind each address, in order', async () => {
    expect((await ask([other, api])).json).toEqual({
      destinations: [
        { address: other, ttlSeconds: 300, known: false, endpoints: [] },
        {
          address: api,
          ttlSeconds: 300,
          known: true,
          endpoints: [
            {
              address: api,
              spiffeId: 'spiffe://cluster.local/ns/shop/sa/api',
              transport: 'hbone',
              ready: true,
              terminating: false,
            },
          ],
        },
      ],
    });
  });

  it('refuses a question whose answer no sidecar would read, and answers each part of it', async () => {
    const pods = Array.from({ length: 3000 }, (_, index) => {
      const ready = index % 3 === 0 ? 'True' : 'False';
      return meshedPod(`p${index}`, `10.3.${index >> 8}.${index & 255}`).replace(
        'status: {',
        `status: {conditions: [{type: Ready, status: "${ready}"}], `,
      );
    });
    store.set(
      `${pods.join('---\n')}---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}\n`,
    );
    expect(await ask(Array.from({ length: 3 }, () => '10.96.0.1:80'))).toMatchObject({
      status: 400,
      json: { reason: 'reply_too_large' },
    });
    const reply = await ask(['10.96.0.1:80']);
    expect(Buffer.byteLength(reply.text)).toBeLessThan(maxReplyBytes);
    const { endpoints } = (reply.json as { destinations: { endpoints: { ready: boolean }[] }[] }).destinations[0]!;
    expect(endpoints.length).toBeGreaterThan(500);
    expect(endpoints.every(({ ready }) => ready)).toBe(true);
  });
});
