import { createServer } from 'node:http';
import type { Address } from '../addresses.ts';
import { limitConnections } from '../connection-places.ts';
import { messageOf } from '../errors.ts';
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
export async function startMetricsServer(
  page: { readonly contentType: string; text(): Promise<string> },
  address: ListenAddress,
): Promise<MetricsServer> {
  const pages: Readonly<Record<string, { readonly contentType: string; text(): Promise<string> }>> = {
    '/metrics': page,
    '/healthz': { contentType: 'text/plain', text: async () => 'ok\n' },
  };
  const server = createServer(
    { headersTimeout: 5_000, requestTimeout: 10_000, keepAliveTimeout: 60_000, connectionsCheckingInterval: 1_000 },
    (request, response) => {
      const path = request.url?.split('?', 1)[0] ?? '';
      const found = Object.hasOwn(pages, path) ? pages[path] : undefined;
      response.on('error', () => undefined);
      if (found === undefined) return void response.writeHead(404).end('Not found, expected /metrics or /healthz\n');
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        return void response.writeHead(405, { allow: 'GET, HEAD' }).end('Method not allowed, expected GET\n');
      }
      // Pipelined: each answer behind one that nobody takes would be held whole, and one connection could ask for 400 MiB.
      if (response.socket === null) return void request.socket.resetAndDestroy();
      found.text().then(
        (text) => response.writeHead(200, { 'content-type': found.contentType }).end(text),
        (error: unknown) => response.writeHead(500).end(`${messageOf(error)}\n`),
      );
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
