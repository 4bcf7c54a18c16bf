import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { bindError } from '../bind-error.ts';
import type { Places } from '../connection-places.ts';
import { limitConnections } from '../connection-places.ts';
import { messageOf } from '../errors.ts';
import type { ExpositionFormat } from './exposition.ts';
import { contentTypes } from './exposition.ts';
import type { HeldAnswers } from './held-answers.ts';
import { createHeldAnswers } from './held-answers.ts';
import { formatFor } from './negotiation.ts';

/** What a Prometheus reads. */
export interface MetricsPage {
  /** All of it, as it is now. */
  text(format: ExpositionFormat): Promise<string | Buffer>;
  /** More families for this one answer, in Prometheus text: where there may be some, no other format is answered. Never rejects. */
  after?(request: IncomingMessage, response: ServerResponse): Promise<Uint8Array>;
}

export interface ScrapeServer {
  readonly address: Address;
  close(): void;
}

/** What else is answered on the port. */
export interface OtherPages {
  /** Answers and returns true, or leaves the request alone and returns false. */
  answer(request: IncomingMessage, response: ServerResponse): boolean;
}

/** For a client that takes nothing of its metrics; a probe may be silent for longer. Milliseconds. */
const takeTimeoutMs = 10_000;

/** Serves `GET /metrics`, and `others` where it has an answer. Throws `FailureError` naming the address when it cannot be bound. */
export async function startScrapeServer(
  address: Address,
  page: MetricsPage,
  others: OtherPages = { answer: () => false },
  places?: Places,
): Promise<ScrapeServer> {
  const held = createHeldAnswers();
  const server = createServer(
    { headersTimeout: 5_000, requestTimeout: 10_000, keepAliveTimeout: 60_000, connectionsCheckingInterval: 5_000 },
    (request, response) => {
      const path = request.url?.split('?')[0];
      if (path !== '/metrics' && others.answer(request, response)) return;
      if (path !== '/metrics') return void response.writeHead(404).end('Not found, expected /metrics\n');
      // Pipelined: each answer behind one that nobody takes would be held whole, and one connection could ask for 400 MiB.
      if (response.socket === null) return void request.socket.resetAndDestroy();
      answerScrape(page, held, request, response);
    },
  );
  limitConnections(server, places);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (error) => reject(bindError(formatAddress(address), error)));
  server.listen({ host: address.ip, port: address.port, ipv6Only: true }, resolve);
  await promise;
  // Out of descriptors and the like: the next accept takes what waits. Unheard, it would end the process.
  server.on('error', () => undefined);
  const bound = server.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : address.port;
  return {
    address: { ip: address.ip, port },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Answers in the format that the client accepts. */
export function answerScrape(
  page: MetricsPage,
  held: HeldAnswers,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return void response.writeHead(405, { allow: 'GET, HEAD' }).end('Method not allowed, expected GET\n');
  const format = page.after === undefined ? formatFor(request.headers.accept) : 'prometheus';
  const make = async () => {
    const after = (await page.after?.(request, response)) ?? new Uint8Array();
    const made = await page.text(format);
    const text = typeof made === 'string' ? Buffer.from(made) : made;
    const length = text.length + after.length;
    // The client has gone meanwhile: to write to it would be an error that nobody hears.
    if (response.destroyed) return;
    held.hold(response, text, after);
    response.setTimeout(takeTimeoutMs);
    response.writeHead(200, { 'content-type': contentTypes[format], 'content-length': length, vary: 'accept' });
    response.write(text);
    response.end(after);
  };
  make().catch((error: unknown) => response.writeHead(500).end(`${messageOf(error)}\n`));
}
