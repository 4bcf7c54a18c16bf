import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { adminPaths } from '../../src/admin-api.ts';
import { startAdminServer } from '../../src/agent/admin.ts';
import { systemClock } from '../../src/clock.ts';
import { paths } from '../../src/control-api.ts';
import { controlPlaneDefaults, startControlPlane } from '../../src/control-plane/control-plane.ts';
import { startMetricsServer } from '../../src/control-plane/metrics-server.ts';
import { createLog } from '../../src/log.ts';
import type { MetricsPage } from '../../src/metrics/scrape-server.ts';
import { startScrapeServer } from '../../src/metrics/scrape-server.ts';
import { adminParts } from '../support/admin-parts.ts';
import { call, webPod } from '../support/control-plane-client.ts';
import { sidecarMetrics } from '../support/metrics.ts';
import { createFakeStore, meshedPod } from '../support/registry-source.ts';

/* Requests that mean something else to another reader, on every port that answers plain HTTP, and on the API. */

const loopback = { ip: '127.0.0.1', port: 0 };
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  socket.write(text);
  let answer = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    answer += chunk;
  });
  await once(socket, 'close');
  return answer;
}

type Serve = (page: MetricsPage) => Promise<{ readonly address: { readonly port: number }; close(): unknown }>;

describe.each<[string, Serve]>([
  ['a sidecar', (page) => startScrapeServer(loopback, page)],
  ['the control plane', (page) => startMetricsServer(page, loopback)],
])('the metrics port of %s', (_, serve) => {
  const hidden = 'GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n';
  it.each([
    ['both framings', `content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`],
    ['two lengths', `content-length: 0\r\ncontent-length: ${hidden.length}\r\n\r\n${hidden}`],
    ['a coding that ends in none', `transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`],
    ['a length that is no number', `content-length: +0\r\n\r\n${hidden}`],
    ['a space before a colon', `content-length : 0\r\n\r\n${hidden}`],
    ['a folded header', `x: a\r\n b\r\n\r\n${hidden}`],
    ['line feeds alone', `x: a\n\n${hidden}`],
    ['the character zero', `x: a\0b\r\n\r\n${hidden}`],
  ])('A11: answers a request with %s with 400, and nothing that hides in it', async (_what, rest) => {
    const server = await serve(sidecarMetrics());
    closing.push(() => server.close());
    const answer = await raw(server.address.port, `POST /metrics HTTP/1.1\r\nhost: a\r\n${rest}`);
    expect(answer).not.toContain('remora_');
    expect(answer.match(/HTTP\/1\.1 \d+/g)?.at(-1)).toBe('HTTP/1.1 400');
  });
});

/** What everything inherits from. */
const inherited = () =>
  [Object, Array, Function, String, Map, Promise].map(({ prototype }) => Reflect.ownKeys(prototype));

const names = [
  '__proto__',
  '__proto__[polluted]',
  '__proto__.polluted',
  'constructor[prototype][polluted]',
  'constructor.prototype.polluted',
];

describe('A14: a name that everything inherits changes nothing', () => {
  it('in a query or a path of the admin pages', async () => {
    const before = inherited();
    const server = await startAdminServer({ kind: 'tcp', address: loopback }, adminParts());
    closing.push(() => server.close());
    const port = server.address?.port;
    for (const path of Object.values(adminPaths)) {
      for (const method of ['GET', 'POST']) {
        for (const name of names) {
          const url = `http://127.0.0.1:${port}${path}?${encodeURIComponent(name)}=1&${name}=1`;
          const response = await fetch(url, { method, headers: { connection: 'close' } });
          expect(await response.text()).not.toContain('polluted');
          expect(response.status).not.toBe(500);
        }
      }
    }
    for (const name of names) expect((await fetch(`http://127.0.0.1:${port}/${name}`)).status).toBe(404);
    expect(inherited()).toEqual(before);
  });

  it('in a body of the API of the control plane', async () => {
    const before = inherited();
    const settings = { ...controlPlaneDefaults, listen: loopback, metricsListen: loopback };
    const store = createFakeStore(meshedPod('api', '10.0.0.1'));
    const plane = await startControlPlane({ clock: systemClock, log: createLog('silent'), store }, settings);
    closing.push(() => plane.close());
    const token = await plane.mintToken(webPod);
    const evil = names.map((name) => `${JSON.stringify(name)}:{"polluted":1,"addresses":["10.0.0.1:80"]}`).join();
    const { stream: _ends, ...asked } = paths;
    for (const path of Object.values(asked)) {
      for (const body of [
        `{${evil}}`,
        `[{${evil}}]`,
        `{"addresses":{${evil}}}`,
        `{"addresses":["__proto__"],${evil}}`,
        '"__proto__"',
      ]) {
        const { status, text } = await call(plane, path, { token, body });
        expect([path, status < 500]).toEqual([path, true]);
        expect(text).not.toContain('polluted');
      }
    }
    // What such a name brings does not count as a field.
    expect((await call(plane, paths.destinations, { token, body: `{${evil}}` })).status).toBe(400);
    expect(inherited()).toEqual(before);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });
});
