import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, RequestListener } from 'node:http';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { appMetricsLimits, createAppMetrics } from '../../../src/agent/app-metrics/app-metrics.ts';
import { reservedFamily } from '../../../src/agent/app-metrics/exposition.ts';
import { maxAppMetricsBytes } from '../../../src/agent/app-metrics/fetch.ts';
import { metricsPages } from '../../../src/metrics/families.ts';
import { startScrapeServer } from '../../../src/metrics/scrape-server.ts';
import type { SidecarMetrics } from '../../../src/metrics/sidecar-metrics.ts';
import { applicationScrapeFailures, applicationScrapeResults } from '../../../src/outcomes.ts';
import { version } from '../../../src/version.ts';
import type { BrokenApplication } from '../../support/broken-application.ts';
import { listenAsApplication } from '../../support/broken-application.ts';
import { captureLog } from '../../support/captured-log.ts';
import type { FakeClock } from '../../support/fake-clock.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { sidecarMetrics } from '../../support/metrics.ts';

/** Only a test of a deadline moves it: nothing else may depend on time. */
let clock: FakeClock;
let closing: (() => unknown)[];

beforeEach(() => {
  clock = createFakeClock();
  closing = [];
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
});

const listen = (server: Server, host?: string) => listenAsApplication(server, closing, host);

const spacingMs = appMetricsLimits.spacingSeconds * 1000;
const text = { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' };
const httpApp = (listener: RequestListener, host?: string): Promise<BrokenApplication> =>
  listen(createServer(listener), host);
const appOf = (page: string | Uint8Array, headers: Record<string, string> = text): Promise<BrokenApplication> =>
  httpApp((_request, response) => response.writeHead(200, headers).end(page));
/** Answers each connection with bytes of its own, and keeps it open unless it ends it. */
const tcpApp = (onSocket: (socket: Socket) => void): Promise<BrokenApplication> => listen(createTcpServer(onSocket));

interface Sidecar {
  readonly port: number;
  readonly metrics: SidecarMetrics;
  readonly lines: ReturnType<typeof captureLog>['lines'];
}

async function sidecar(app: { readonly port: number }, path = '/metrics', ip = '127.0.0.1'): Promise<Sidecar> {
  const { log, lines } = captureLog();
  const metrics = sidecarMetrics();
  const place = { port: app.port, path };
  const page = { text: metrics.text, ...createAppMetrics({ clock, log, place, counter: metrics }) };
  const server = await startScrapeServer({ ip, port: 0 }, page);
  closing.push(() => server.close());
  return { port: server.address.port, metrics, lines };
}

interface Scraped {
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

function scrape(port: number, headers: Record<string, string> = {}, host = '127.0.0.1') {
  const request = httpRequest({ host, port, path: '/metrics?x=1', headers, agent: false });
  const answered = (async (): Promise<Scraped> => {
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    expect(response.statusCode).toBe(200);
    return { headers: response.headers, text: Buffer.concat(chunks).toString() };
  })();
  return Object.assign(answered, { destroy: () => request.destroy() });
}

/** The names of our families, in the order of the page. */
const ours = Object.keys(metricsPages.sidecar.families);
const familiesOf = (page: string) => [...page.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name);
const results = (page: string) =>
  Object.fromEntries(
    [...page.matchAll(/^remora_application_scrapes_total\{result="(\w+)"\} (\d+)$/gm)].map(([, name, count]) => [
      name,
      Number(count),
    ]),
  );

/** Our own page, whole, and nothing else. */
function expectOursAlone(scraped: Scraped, result: string): void {
  expect(familiesOf(scraped.text)).toEqual(ours);
  expect(results(scraped.text)).toEqual({ [result]: 1 });
  expect(scraped.text.endsWith('\n')).toBe(true);
  expect(scraped.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
}

const page =
  '# HELP app_requests_total Requests\n# TYPE app_requests_total counter\napp_requests_total{code="200"} 7\n';

it('has families with names that no application may take', () => {
  for (const name of ours) expect(name).toMatch(reservedFamily);
});

describe('the metrics of an application', () => {
  it('follow ours, byte for byte', async () => {
    const given = `${page}# a comment\n\napp_up 1 1395066363000\n# EOF\napp_last{a="é"} NaN\n`;
    const { port } = await sidecar(await appOf(given));
    const scraped = await scrape(port);
    expect(scraped.text.endsWith(`\n${given}`)).toBe(true);
    expect(familiesOf(scraped.text)).toEqual([...ours, 'app_requests_total']);
    expect(results(scraped.text)).toEqual({ success: 1 });
    expect(scraped.headers['content-length']).toBe(String(Buffer.byteLength(scraped.text)));
  });

  it('are in Prometheus text, also for whoever would rather have OpenMetrics', async () => {
    const { port } = await sidecar(await appOf(page));
    const accept = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3';
    const scraped = await scrape(port, { accept });
    expect(scraped.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(scraped.text.endsWith(page)).toBe(true);
    expect(scraped.text).not.toContain('# EOF');
  });

  it('are asked for with nothing of whoever scrapes, nor the time that it says it waits', async () => {
    const seen: IncomingMessage[] = [];
    const app = await httpApp((request, response) => {
      seen.push(request);
      response.writeHead(200, text).end(page);
    });
    const { port } = await sidecar(app, '/actuator/prometheus?a=b');
    const secrets = { authorization: 'Bearer secret', cookie: 'a=b', 'accept-encoding': 'gzip', 'x-other': 'c' };
    for (const seconds of ['20', '0.3']) {
      await scrape(port, { ...secrets, 'x-prometheus-scrape-timeout-seconds': seconds });
      await clock.advance(spacingMs);
    }
    expect(seen.map(({ method, url }) => [method, url])).toEqual(Array(2).fill(['GET', '/actuator/prometheus?a=b']));
    const expected = {
      host: `127.0.0.1:${app.port}`,
      'user-agent': `remora/${version}`,
      accept: 'text/plain;version=0.0.4',
      'accept-encoding': 'identity',
      'x-prometheus-scrape-timeout-seconds': String(appMetricsLimits.toldSeconds),
      connection: 'close',
    };
    expect(seen.map(({ headers }) => headers)).toEqual([expected, expected]);
  });

  it('may lack the last line feed, the content type and a length', async () => {
    const bare = await tcpApp((socket) => socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\napp_up 1')));
    const scraped = await scrape((await sidecar(bare)).port);
    expect(scraped.text.endsWith('\napp_up 1\n')).toBe(true);
  });

  it('may be empty', async () => {
    const scraped = await scrape((await sidecar(await appOf(''))).port);
    expect(familiesOf(scraped.text)).toEqual(ours);
    expect(results(scraped.text)).toEqual({ success: 1 });
  });

  it('may be as large as the limit, in pieces of any size', async () => {
    const line = `app_up{a="${'é'.repeat(40)}"} 1\n`;
    const large = line.repeat(Math.floor(maxAppMetricsBytes / Buffer.byteLength(line)));
    const app = await httpApp((_request, response) => {
      response.writeHead(200, text);
      const bytes = Buffer.from(large);
      for (let at = 0; at < bytes.length; at += 100_003) response.write(bytes.subarray(at, at + 100_003));
      response.end();
    });
    const scraped = await scrape((await sidecar(app)).port);
    expect(results(scraped.text)).toEqual({ success: 1 });
    expect(scraped.text.endsWith(large)).toBe(true);
  });

  it('are found on loopback alone, and on the address that was scraped alone', async () => {
    const onLoopback = await appOf(page);
    expect(
      results((await scrape((await sidecar(onLoopback, '/metrics', '127.0.0.2')).port, {}, '127.0.0.2')).text),
    ).toEqual({ success: 1 });
    const onAddress = await httpApp((_request, response) => response.writeHead(200, text).end(page), '127.0.0.2');
    expect(
      results((await scrape((await sidecar(onAddress, '/metrics', '127.0.0.2')).port, {}, '127.0.0.2')).text),
    ).toEqual({ success: 1 });
    const onIpv6 = await httpApp((_request, response) => response.writeHead(200, text).end(page), '::1');
    expect(results((await scrape((await sidecar(onIpv6)).port)).text)).toEqual({ success: 1 });
  });

  it('are fetched once for all who come before the answer, and anew for who comes later', async () => {
    let requests = 0;
    const asked = Promise.withResolvers<() => void>();
    const app = await httpApp((_request, response) => {
      requests += 1;
      const answer = () => response.writeHead(200, text).end(`app_requests ${requests}\n`);
      if (requests === 1) asked.resolve(answer);
      else answer();
    });
    const { port, metrics } = await sidecar(app);
    const together = [scrape(port), scrape(port), scrape(port)];
    const answer = await asked.promise;
    // All three are in: each has been told of by its own count only afterwards, so ask for what is not merged meanwhile.
    await Promise.all(Array.from({ length: 3 }, () => notFound(port)));
    answer();
    for (const { text: got } of await Promise.all(together)) expect(got).toMatch(/\napp_requests 1\n$/);
    await clock.advance(spacingMs);
    expect((await scrape(port)).text).toMatch(/\napp_requests 2\n$/);
    expect(results(await metrics.text('prometheus'))).toEqual({ success: 4 });
    expect(requests).toBe(2);
  });

  it('are fetched once in a second however many ask, and each who asks sooner shares the next', async () => {
    let requests = 0;
    const app = await httpApp((_request, response) => {
      requests += 1;
      response.writeHead(200, text).end(`app_requests ${requests}\n`);
    });
    const { port } = await sidecar(app);
    await scrape(port);
    const early = scrape(port);
    await notFound(port);
    await clock.advance(spacingMs - 1);
    const late = scrape(port);
    await notFound(port);
    expect(requests).toBe(1);
    await clock.advance(1);
    for (const { text: got } of await Promise.all([early, late])) expect(got).toMatch(/\napp_requests 2\n$/);
    expect(requests).toBe(2);
  });

  it('wait for their turn with nobody who has gone', async () => {
    const { port } = await sidecar(await appOf(page));
    await scrape(port);
    const impatient = scrape(port, { 'x-prometheus-scrape-timeout-seconds': '0.5' });
    await notFound(port);
    await clock.advance(spacingMs - 1);
    expect((await impatient).text.endsWith(page)).toBe(false);
    expect(clock.pending).toBe(0);
    await clock.advance(1);
    expect((await scrape(port)).text.endsWith(page)).toBe(true);
  });

  it('leave no connection open', async () => {
    const app = await appOf(page);
    await scrape((await sidecar(app)).port);
    await Promise.all(app.sockets.map((socket) => socket.closed || once(socket, 'close')));
  });
});

/** A round trip through the same server. */
async function notFound(port: number): Promise<void> {
  const request = httpRequest({ host: '127.0.0.1', port, path: '/', agent: false }).end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'end');
}

const raw = (bytes: string) => tcpApp((socket) => void socket.once('data', () => socket.end(bytes)));

describe('an application whose metrics are broken does not break ours', () => {
  it.each<[string, keyof typeof applicationScrapeFailures, () => Promise<{ port: number }>]>([
    ['answers 500', 'status', () => httpApp((_request, response) => response.writeHead(500).end('secret'))],
    ['answers 204', 'status', () => httpApp((_request, response) => response.writeHead(204).end())],
    ['wants authorization', 'status', () => httpApp((_request, response) => response.writeHead(401).end())],
    [
      'redirects',
      'status',
      () =>
        httpApp((request, response) =>
          response.writeHead(request.url === '/' ? 200 : 302, { location: '/' }).end(page),
        ),
    ],
    ['answers HTML', 'content_type', () => appOf('<html></html>', { 'content-type': 'text/html' })],
    [
      'answers OpenMetrics',
      'content_type',
      () => appOf(`${page}# EOF\n`, { 'content-type': 'application/openmetrics-text; version=1.0.0' }),
    ],
    ['answers protobuf', 'content_type', () => appOf('', { 'content-type': 'application/vnd.google.protobuf' })],
    ['compresses', 'content_type', () => appOf(gzipSync(page), { ...text, 'content-encoding': 'gzip' })],
    ['compresses and does not say so', 'invalid', () => appOf(gzipSync(page))],
    [
      'says that it is larger than the limit',
      'too_large',
      () => appOf('', { ...text, 'content-length': String(maxAppMetricsBytes + 1) }),
    ],
    [
      'never ends',
      'too_large',
      () =>
        httpApp((_request, response) => {
          const more = () => {
            while (response.write('app_up 1\n'.repeat(7000)));
          };
          response.writeHead(200, text).on('drain', more);
          more();
        }),
    ],
    ['is not in UTF-8', 'invalid', () => appOf(Buffer.from('app_up{a="\xff"} 1\n', 'latin1'))],
    ['breaks the grammar', 'invalid', () => appOf(`${page}app up 1\n`)],
    ['breaks it in its last line', 'invalid', () => appOf(`${page}app_up`)],
    ['describes a family twice', 'invalid', () => appOf(page.repeat(2))],
    ['has exemplars', 'invalid', () => appOf('app_bucket{le="1"} 1 # {trace_id="x"} 0.5\n')],
    ['has a family of ours', 'reserved', () => appOf('# TYPE remora_ready gauge\nremora_ready{gate="policy"} 0\n')],
    ['has a series of ours', 'reserved', () => appOf('istio_tcp_sent_bytes_total 1\n')],
    ['closes at once', 'unreachable', () => tcpApp((socket) => void socket.destroy())],
    ['resets', 'unreachable', () => tcpApp((socket) => void socket.once('data', () => socket.resetAndDestroy()))],
    ['closes in its headers', 'unreachable', () => raw('HTTP/1.1 200 OK\r\nContent-Type: te')],
    [
      'closes in its body',
      'unreachable',
      () => raw(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n${page}`),
    ],
    [
      'closes between chunks',
      'unreachable',
      () => raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\napp_up 1\n\r\n'),
    ],
    ['does not speak HTTP', 'unreachable', () => raw('SSH-2.0-OpenSSH_9.6\r\n')],
    ['has headers without end', 'unreachable', () => raw(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(100_000)}\r\n\r\n`)],
    [
      'is two answers in one',
      'unreachable',
      () => raw('HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\napp_up 1\n'),
    ],
    ['is not there', 'unreachable', async () => ({ port: await freePort() })],
  ])('when it %s', async (_what, result, start) => {
    const { port, lines } = await sidecar(await start(), '/metrics?password=secret');
    expectOursAlone(await scrape(port), result);
    const { happened, remedy } = applicationScrapeFailures[result];
    expect(lines).toEqual([
      expect.objectContaining({
        level: 'warn',
        msg: happened,
        remedy,
        result,
        appMetrics: expect.stringMatching(/^\d+\/metrics$/),
      }),
    ]);
    expect(JSON.stringify(lines)).not.toContain('secret');
  });

  it('when it hangs: ours come before the scrape ends', async () => {
    const asked = Promise.withResolvers<void>();
    const app = await tcpApp((socket) => void socket.once('data', () => asked.resolve()));
    const scraped = scrape((await sidecar(app)).port, { 'x-prometheus-scrape-timeout-seconds': '5' });
    await asked.promise;
    await clock.advance(4500);
    expectOursAlone(await scraped, 'timeout');
    await Promise.all(app.sockets.map((socket) => socket.closed || once(socket, 'close')));
  });

  it('when it dribbles', async () => {
    const begun = Promise.withResolvers<void>();
    const app = await httpApp((_request, response) => {
      response.writeHead(200, text);
      response.write('app_up 1\n', () => begun.resolve());
    });
    const scraped = scrape((await sidecar(app)).port);
    await begun.promise;
    await clock.advance(appMetricsLimits.timeoutSeconds * appMetricsLimits.share * 1000);
    expectOursAlone(await scraped, 'timeout');
  });

  it.each([
    ['100000', 27_000],
    ['1', 900],
    ['1e9', 9000],
    ['-1', 9000],
    ['NaN', 9000],
    ['5, 6', 9000],
  ])('and waits for it only so long when a scrape says that it waits %s seconds', async (given, waitedMs) => {
    const asked = Promise.withResolvers<void>();
    const app = await tcpApp((socket) => void socket.once('data', () => asked.resolve()));
    let isAnswered = false;
    const scraped = scrape((await sidecar(app)).port, { 'x-prometheus-scrape-timeout-seconds': given }).finally(() => {
      isAnswered = true;
    });
    await asked.promise;
    await clock.advance(waitedMs - 1);
    expect(isAnswered).toBe(false);
    await clock.advance(1);
    expectOursAlone(await scraped, 'timeout');
  });

  it('and a scrape with little patience ends it for no other', async () => {
    const asked = Promise.withResolvers<() => void>();
    const app = await httpApp((_request, response) => asked.resolve(() => response.writeHead(200, text).end(page)));
    const { port } = await sidecar(app);
    const hasty = scrape(port, { 'x-prometheus-scrape-timeout-seconds': '1' });
    const answer = await asked.promise;
    const patient = scrape(port, { 'x-prometheus-scrape-timeout-seconds': '10' });
    await notFound(port);
    await clock.advance(900);
    expectOursAlone(await hasty, 'timeout');
    answer();
    expect((await patient).text.endsWith(page)).toBe(true);
  });

  it('and a scrape that goes away takes its request along and is not counted', async () => {
    const asked = Promise.withResolvers<Socket>();
    const app = await httpApp((request) => asked.resolve(request.socket));
    const { port, metrics, lines } = await sidecar(app);
    const scraped = scrape(port);
    const socket = await asked.promise;
    const closed = once(socket, 'close');
    scraped.destroy();
    await expect(scraped).rejects.toThrow();
    await closed;
    expect(results(await metrics.text('prometheus'))).toEqual({});
    expect(lines).toEqual([]);
  });

  it('and is told of once a minute for each way in which it fails', async () => {
    const { port, lines } = await sidecar(await httpApp((_request, response) => response.writeHead(500).end()));
    for (let count = 0; count < 5; count++) {
      await scrape(port);
      await clock.advance(spacingMs);
    }
    expect(lines).toHaveLength(1);
    await clock.advance(60_000);
    await scrape(port);
    expect(lines).toHaveLength(2);
  });

  it('and merges again as soon as it is well', async () => {
    let isWell = false;
    const app = await httpApp((_request, response) => response.writeHead(isWell ? 200 : 500, text).end(page));
    const { port } = await sidecar(app);
    expectOursAlone(await scrape(port), 'status');
    isWell = true;
    await clock.advance(spacingMs);
    expect((await scrape(port)).text.endsWith(page)).toBe(true);
  });
});

it('counts by the list of results', () => {
  expect(metricsPages.sidecar.families.remora_application_scrapes_total.labels.result).toMatchObject({
    values: applicationScrapeResults,
  });
});

async function freePort(): Promise<number> {
  const server = createTcpServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
