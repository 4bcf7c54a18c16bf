import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startHealthServer } from '../../src/agent/health.ts';
import { createPlaces, limitConnections, pagePlaces } from '../../src/connection-places.ts';
import { startMetricsServer } from '../../src/control-plane/metrics-server.ts';
import { createReadiness } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';
import { startScrapeServer } from '../../src/metrics/scrape-server.ts';
import { ending } from '../support/sockets.ts';

let closing: (() => unknown)[];

/** Both ends of every connection, because both are in this process. */
const openSockets = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;

beforeEach(() => {
  closing = [];
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
  await expect.poll(() => openSockets()).toBe(0);
});

const loopback = { ip: '127.0.0.1', port: 0 };
const neighbour = '127.0.0.2';

/** A page that is answered when the test says so, and each request for it. */
function gatedPage() {
  const { promise, resolve } = Promise.withResolvers<string>();
  const asked = vi.fn<() => void>();
  const text = () => {
    asked();
    return promise;
  };
  return { page: { text }, asked, answer: resolve };
}

const quick = { text: async () => 'metrics\n' };

async function health() {
  const server = await startHealthServer(loopback, { readiness: createReadiness([]), log: createLog('silent') });
  closing.push(() => server.close());
  return server.address?.port ?? 0;
}

async function scrape(page = quick) {
  const server = await startScrapeServer(loopback, page, {
    answer(request, response) {
      const isProbe = request.url === '/app-health/web/livez';
      if (isProbe) response.end('ok\n');
      return isProbe;
    },
  });
  closing.push(() => server.close());
  return server.address.port;
}

async function controlPlane(page = quick) {
  const server = await startMetricsServer(page, loopback);
  closing.push(() => server.close());
  return server.address.port;
}

/** As a kubelet does it: a connection of its own. Rejects when there is no answer. */
async function ask(port: number, path: string, localAddress = '127.0.0.1', agent?: Agent): Promise<string> {
  const request = httpRequest({ host: '127.0.0.1', port, path, localAddress, agent: agent ?? false });
  request.end();
  const [response] = await once(request, 'response');
  let body = '';
  for await (const chunk of response) body += chunk;
  return `${response.statusCode} ${body}`;
}

interface Client {
  readonly socket: Socket;
  /** That of the server. */
  readonly closed: Promise<unknown>;
}

/** Resolves once connected; with `path` once its first answer has come, after which it stays. */
async function client(port: number, localAddress: string, path?: string): Promise<Client> {
  const socket = connect({ host: '127.0.0.1', port, localAddress });
  const closed = new Promise((resolve) => socket.on('error', () => undefined).once('close', resolve));
  closing.push(() => socket.destroy());
  await once(socket, 'connect');
  if (path === undefined) {
    socket.resume();
  } else {
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
    await Promise.race([once(socket, 'data'), closed]);
  }
  return { socket, closed };
}

const open = (clients: readonly Client[]) => clients.filter(({ socket }) => !socket.destroyed).length;

describe.each([
  ['health', health, '/livez', '200 live\n'],
  ['metrics', scrape, '/metrics', '200 metrics\n'],
  ['probes of applications on the metrics port', scrape, '/app-health/web/livez', '200 ok\n'],
  ['metrics of the control plane', controlPlane, '/healthz', '200 ok\n'],
])('%s', (_, start, path, expected) => {
  it('A15: answers each probe while a neighbour holds 200 keep-alive and 200 silent connections', async () => {
    const port = await start();
    const clients: Client[] = [];
    for (let index = 0; index < 400; index += 1) {
      clients.push(await client(port, neighbour, index < 200 ? path : undefined));
      if (index % 10 === 0) expect(await ask(port, path)).toBe(expected);
    }
    const extra = clients.slice(0, -pagePlaces.perAddress);
    await Promise.all(extra.map(({ closed }) => closed));
    expect(open(clients)).toBe(pagePlaces.perAddress);
    for (let index = 0; index < 20; index += 1) expect(await ask(port, path)).toBe(expected);

    for (const { socket } of clients) socket.destroy();
    await expect.poll(() => openSockets()).toBe(0);
    expect(await ask(port, path, neighbour)).toBe(expected);
  });

  it('A15: keeps the idle connection of one client while ten neighbours take all they get', async () => {
    const port = await start();
    const first = await client(port, '127.0.0.1', path);
    const clients: Client[] = [];
    for (let index = 0; index < 400; index += 1) {
      clients.push(await client(port, `127.0.0.${2 + (index % 10)}`));
      if (index % 10 === 0) expect(await ask(port, path)).toBe(expected);
    }
    await expect.poll(() => open(clients)).toBe(pagePlaces.all - 1);
    first.socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
    const [answer] = await once(first.socket, 'data');
    expect(String(answer)).toContain('200 OK');
  });
});

describe.each([
  ['sidecar', scrape],
  ['control plane', controlPlane],
])('a scrape of the %s that is under way', (_, start) => {
  it('A15: is not cut by any number of connections', async () => {
    const { page, asked, answer } = gatedPage();
    const port = await start(page);
    const scrapes = Array.from({ length: pagePlaces.perAddress }, () => ask(port, '/metrics'));
    await expect.poll(() => asked).toHaveBeenCalledTimes(pagePlaces.perAddress);
    await expect(ask(port, '/metrics')).rejects.toThrow('socket hang up');
    for (let index = 0; index < 400; index += 1) await client(port, `127.0.0.${2 + (index % 10)}`);
    answer('metrics\n');
    for (const answered of scrapes) expect(await answered).toBe('200 metrics\n');
  });
});

describe.each([
  ['sidecar', scrape],
  ['control plane', controlPlane],
])('many scrapes of the %s in one connection', (_, start) => {
  it('A15: end it after the first, so that answers that nobody takes do not pile up in memory', async () => {
    const { page, asked, answer } = gatedPage();
    const port = await start(page);
    const { socket } = await client(port, neighbour);
    const ended = ending(socket);
    socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(1000));
    expect(await ended).toBe('reset');
    expect(asked).toHaveBeenCalledTimes(1);
    answer('metrics\n');
    expect(await ask(port, '/metrics')).toBe('200 metrics\n');
  });
});

/** With room for four connections, two of each address. */
async function small(listener: RequestListener, places = createPlaces({ all: 4, perAddress: 2 })): Promise<number> {
  const server = createServer(listener);
  limitConnections(server, places);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(
    () => server.close(),
    () => server.closeAllConnections(),
  );
  return (server.address() as AddressInfo).port;
}

it('A15: gives a newcomer on one port the place of a connection on another, when both share their places', async () => {
  const places = createPlaces({ all: 4, perAddress: 4 });
  const listener: RequestListener = (_, response) => response.end('ok');
  const [one, other] = [await small(listener, places), await small(listener, places)];
  const clients: Client[] = [];
  for (let index = 0; index < 20; index += 1) clients.push(await client(index % 2 ? one : other, neighbour, '/'));
  await expect.poll(() => open(clients)).toBe(4);
  for (const port of [one, other]) expect(await ask(port, '/')).toBe('200 ok');
  await expect.poll(() => open(clients)).toBeLessThan(4);
});

it('A15: closes the connection that has waited longest, which is not the oldest when that has asked since', async () => {
  const port = await small((_, response) => void response.end('ok'));
  const [oldest, silent] = [await client(port, neighbour, '/'), await client(port, neighbour)];
  oldest.socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  await once(oldest.socket, 'data');
  await client(port, neighbour, '/');
  await silent.closed;
  expect(oldest.socket.destroyed).toBe(false);
});

describe('an answer that is not taken', () => {
  const large = 'x'.repeat(32 * 1024 * 1024);

  it('A15: gives its place and is cut by a reset, so that it does not look whole', async () => {
    const port = await small((request, response) => void response.end(request.url === '/large' ? large : 'ok\n'));
    const slow: Socket[] = [];
    for (const address of [neighbour, neighbour, '127.0.0.3', '127.0.0.3']) {
      const { socket } = await client(port, address, '/large');
      slow.push(socket.pause());
    }
    for (let index = 0; index < 10; index += 1) expect(await ask(port, '/')).toBe('200 ok\n');
    expect(await Promise.all(slow.slice(0, 1).map(ending))).toEqual(['reset']);
  });

  it('A7: ends at its deadline on the metrics port, and a probe in a connection that served metrics does not', async () => {
    const text = async () => large;
    const { promise: healthy, resolve: becomeHealthy } = Promise.withResolvers<void>();
    const server = await startScrapeServer(
      loopback,
      { text },
      {
        answer(request, response) {
          const isProbe = request.url === '/app-health/web/livez';
          if (isProbe) healthy.then(() => response.end('ok'));
          return isProbe;
        },
      },
    );
    closing.push(() => server.close());
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    closing.push(() => agent.destroy());
    await ask(server.address.port, '/metrics', undefined, agent);
    const probe = ask(server.address.port, '/app-health/web/livez', undefined, agent);

    const { socket } = await client(server.address.port, neighbour, '/metrics');
    const slowOpen = openSockets();
    socket.pause();
    await vi.waitFor(() => expect(openSockets()).toBe(slowOpen - 1), { timeout: 50_000, interval: 200 });
    becomeHealthy();
    expect(await probe).toBe('200 ok');
  });
});
