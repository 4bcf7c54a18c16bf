import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { startMetricsServer } from '../../src/control-plane/metrics-server.ts';
import type { ExpositionFormat } from '../../src/metrics/exposition.ts';
import type { MetricsPage } from '../../src/metrics/scrape-server.ts';
import { startScrapeServer } from '../../src/metrics/scrape-server.ts';
import { pageSpacingMs, sharedPage } from '../../src/metrics/shared-page.ts';
import { sidecarMetrics } from '../support/metrics.ts';
import { ending } from '../support/sockets.ts';

let closing: (() => unknown)[];

beforeEach(() => {
  closing = [];
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
});

const loopback = { ip: '127.0.0.1', port: 0 };
const openMetrics = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
const prometheus = 'text/plain; version=0.0.4; charset=utf-8';
const fromPrometheus = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1';

async function ask(port: number, accept?: string, method = 'GET', agent?: Agent) {
  const headers = accept === undefined ? {} : { accept };
  const request = httpRequest({
    host: '127.0.0.1',
    port,
    path: '/metrics?x=1',
    method,
    headers,
    agent: agent ?? false,
  });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return Object.assign(response, { text });
}

describe.each<[string, (page: MetricsPage) => Promise<{ address: { port: number }; close(): unknown }>]>([
  ['a sidecar', (page) => startScrapeServer(loopback, page)],
  ['the control plane', (page) => startMetricsServer(page, loopback)],
])('/metrics of %s', (_, start) => {
  const serve = async (page: MetricsPage = sidecarMetrics()) => {
    const server = await start(page);
    closing.push(() => server.close());
    return server.address.port;
  };

  it('is OpenMetrics for a Prometheus and Prometheus text for whoever says nothing', async () => {
    const port = await serve();
    const forPrometheus = await ask(port, fromPrometheus);
    expect(forPrometheus.headers).toMatchObject({ 'content-type': openMetrics, vary: 'accept' });
    expect(forPrometheus.text).toMatch(
      /^# HELP remora_tls_handshakes .*\n# TYPE remora_tls_handshakes counter\n[\s\S]*\n# EOF\n$/,
    );
    const forCurl = await ask(port);
    expect(forCurl.headers).toMatchObject({ 'content-type': prometheus, vary: 'accept' });
    expect(forCurl.text).toMatch(
      /^# HELP remora_tls_handshakes_total .*\n# TYPE remora_tls_handshakes_total counter\n/,
    );
    expect(forCurl.text).not.toContain('# EOF');
  });

  it('is to each its own while scrapes of both formats run at once', async () => {
    const port = await serve();
    const wanted = Array.from({ length: 30 }, (_entry, index) => (index % 2 === 0 ? fromPrometheus : 'text/plain'));
    for (const [index, { headers, text }] of (await Promise.all(wanted.map((accept) => ask(port, accept)))).entries()) {
      expect(headers['content-type']).toBe(index % 2 === 0 ? openMetrics : prometheus);
      expect(text.endsWith('\n# EOF\n')).toBe(index % 2 === 0);
      expect(text).toContain(`# TYPE remora_bytes${index % 2 === 0 ? '' : '_total'} counter\n`);
    }
  });

  it('answers HEAD as GET, without the page', async () => {
    const port = await serve();
    const [get, head] = [await ask(port, fromPrometheus), await ask(port, fromPrometheus, 'HEAD')];
    expect(head.statusCode).toBe(200);
    expect(head.text).toBe('');
    expect(head.headers['content-type']).toBe(get.headers['content-type']);
    expect(head.headers['content-length']).toBe(get.headers['content-length']);
  });

  it('refuses what is neither GET nor HEAD', async () => {
    const answer = await ask(await serve(), undefined, 'POST');
    expect([answer.statusCode, answer.headers.allow]).toEqual([405, 'GET, HEAD']);
  });

  it('says in one sentence why there is no page, and has one at the next scrape', async () => {
    let problem: Error | undefined = new Error('The memory cannot be read');
    const port = await serve({ text: async () => (problem === undefined ? 'x 1\n' : Promise.reject(problem)) });
    const answer = await ask(port);
    expect([answer.statusCode, answer.text]).toEqual([500, 'The memory cannot be read\n']);
    problem = undefined;
    expect((await ask(port)).text).toBe('x 1\n');
  });

  it('A7: holds no more than 16 MiB for clients that take nothing: resets the first of them, and answers the next', async () => {
    const page = 'x'.repeat(7 * 1024 * 1024);
    const port = await serve({ text: async () => page });
    const slow: Socket[] = [];
    for (let index = 0; index < 5; index += 1) {
      const socket = connect({ host: '127.0.0.1', port });
      closing.push(() => socket.destroy());
      socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      await once(socket, 'readable');
      slow.push(socket);
    }
    expect((await ask(port)).text).toBe(page);
    // Only the last one and the answer that was taken had their place.
    expect(await Promise.all(slow.map(ending))).toEqual(['reset', 'reset', 'reset', 'reset', 'end']);
  });

  it('A6: makes the page at most every 50 ms for fifty scrapers, and answers each of them whole', async () => {
    let made = 0;
    const metrics = sidecarMetrics();
    const text = (format: ExpositionFormat) => {
      made += 1;
      return metrics.text(format);
    };
    const port = await serve(sharedPage(systemClock, { text }));
    const agents = [2, 3].map((last) => new Agent({ keepAlive: true, localAddress: `127.0.0.${last}` }));
    closing.push(() => agents.map((agent) => agent.destroy()));
    const begunMs = performance.now();
    const scraper = async (agent: Agent | undefined) => {
      for (let scrapes = 0; scrapes < 10; scrapes += 1) {
        const { headers, text: page } = await ask(port, fromPrometheus, 'GET', agent);
        expect(page.length).toBe(Number(headers['content-length']));
        expect(page.endsWith('\n# EOF\n')).toBe(true);
      }
    };
    await Promise.all(Array.from({ length: 50 }, (_entry, index) => scraper(agents[index % 2])));
    expect(made).toBeGreaterThanOrEqual(10);
    expect(made).toBeLessThanOrEqual((performance.now() - begunMs) / pageSpacingMs + 1);
  });

  it('A7: ends a client that sends its request byte by byte', async () => {
    const port = await serve();
    const socket = connect({ host: '127.0.0.1', port });
    closing.push(() => socket.destroy());
    const request = `GET /metrics HTTP/1.1\r\nhost: ${'x'.repeat(4000)}`;
    let sent = 0;
    const drip = setInterval(() => socket.write(request.charAt(sent++)), 100);
    closing.push(() => clearInterval(drip));
    await ending(socket);
    expect(sent).toBeLessThan(request.length);
    expect((await ask(port)).statusCode).toBe(200);
  }, 60_000);
});

it('cuts for a newcomer the client that does not take the metrics of an application', async () => {
  const large = 20 * 1024 * 1024;
  const page = { text: async () => 'a 1\n', after: async () => Buffer.alloc(large, '#\n') };
  const server = await startScrapeServer(loopback, page);
  closing.push(() => server.close());
  const slow = connect(server.address.port, '127.0.0.1');
  closing.push(() => slow.destroy());
  slow.write('GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await once(slow, 'readable');
  expect((await ask(server.address.port)).text).toHaveLength(large + 4);
  expect(await ending(slow)).toBe('reset');
});
