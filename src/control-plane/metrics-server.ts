import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { Address } from '../addresses.ts';
import { limitConnections } from '../connection-places.ts';
import { createHeldAnswers } from '../metrics/held-answers.ts';
import type { MetricsPage } from '../metrics/scrape-server.ts';
import { answerScrape } from '../metrics/scrape-server.ts';
import type { ListenAddress } from './listen.ts';
import { listen } from './listen.ts';

export interface MetricsServer {
  readonly address: Address;
  /** At once: a scrape that is cut is tried again. */
  close(): Promise<void>;
}

/** For a client that takes nothing of its answer; milliseconds. */
const takeTimeoutMs = 10_000;

/** Plain HTTP: `/metrics` for Prometheus, `/healthz` for probes. Throws as `listen` does. */
export async function startMetricsServer(page: MetricsPage, address: ListenAddress): Promise<MetricsServer> {
  const held = createHeldAnswers();
  const server = createServer(
    { headersTimeout: 5_000, requestTimeout: 10_000, keepAliveTimeout: 60_000, connectionsCheckingInterval: 1_000 },
    (request, response) => {
      const path = request.url?.split('?', 1)[0] ?? '';
      response.on('error', () => undefined);
      // Pipelined: each answer behind one that nobody takes would be held whole, and one connection could ask for 400 MiB.
      if (response.socket === null) return void request.socket.resetAndDestroy();
      if (path === '/metrics') answerScrape(page, held, request, response);
      else if (path === '/healthz') answerHealth(request, response);
      else response.writeHead(404).end('Not found, expected /metrics or /healthz\n');
    },
  );
  limitConnections(server);
  server.timeout = takeTimeoutMs;
  return {
    address: await listen(server, address),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answerHealth({ method }: IncomingMessage, response: ServerResponse): void {
  if (method === 'GET' || method === 'HEAD') response.writeHead(200, { 'content-type': 'text/plain' }).end('ok\n');
  else response.writeHead(405, { allow: 'GET, HEAD' }).end('Method not allowed, expected GET\n');
}
