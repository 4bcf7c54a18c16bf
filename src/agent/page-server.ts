import { chmod, lstat, unlink } from 'node:fs/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { bindError } from '../bind-error.ts';
import type { Places } from '../connection-places.ts';
import { limitConnections } from '../connection-places.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';

/** Where pages are served. */
export type PageListener =
  | { readonly kind: 'tcp'; readonly address: Address }
  | { readonly kind: 'unix'; readonly path: string };

/** An answer; an object is sent as JSON, a string as plain text. */
export interface Page {
  readonly status: number;
  readonly body: string | object;
}

/** What a page may look at of what was asked. */
export interface PageRequest {
  readonly query: URLSearchParams;
}

export type PageHandler = (request: PageRequest) => Page | Promise<Page>;

export interface PageServerParts {
  readonly log: Log;
  /** By path, for GET. Reading them changes nothing. */
  readonly pages: Readonly<Record<string, PageHandler>>;
  /** By path, for POST without a body: what changes something. */
  readonly actions?: Readonly<Record<string, PageHandler>>;
  /** Whether a request may be answered at all; otherwise why not, in one sentence. */
  refuse?(request: IncomingMessage): string | undefined;
  /** Those of several servers; default: places of its own. */
  readonly places?: Places | undefined;
}

export interface PageServer {
  /** As bound; undefined for a unix socket. */
  readonly address: Address | undefined;
  /** Takes no new connections and ends those that are open. */
  close(): Promise<void>;
}

const maxHeaderBytes = 8 * 1024;
/** Deadlines of the request's headers, of the whole request, and of a connection on which nothing moves; milliseconds. */
const headersTimeoutMs = 5000;
const requestTimeoutMs = 10_000;
const idleTimeoutMs = 15_000;

/** Serves pages that can only be read. Throws `FailureError` or `PermissionError`, naming the address. */
export async function startPageServer(listener: PageListener, parts: PageServerParts): Promise<PageServer> {
  /** Whether each connection goes on after what was asked on it last. */
  const goesOn = new WeakMap<Socket, Promise<boolean>>();
  const server = createServer(
    {
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: idleTimeoutMs,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: maxHeaderBytes,
      insecureHTTPParser: false,
    },
    (request, response) => {
      response.on('error', () => undefined);
      const { socket } = request;
      // Several may come at once: one behind a refused one is not answered, so it must not be done either.
      const before = goesOn.get(socket) ?? Promise.resolve(true);
      const after = before.then((isOpen) => isOpen && answer(request, response, parts));
      goesOn.set(socket, after);
    },
  );
  limitConnections(server, parts.places);
  server.maxRequestsPerSocket = 1000;
  server.timeout = idleTimeoutMs;
  server.on('clientError', refuseMalformed);
  await bind(server, listener);
  server.on('error', (error) => parts.log.error({ detail: messageOf(error) }, 'Accepting failed'));
  const bound = server.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0;
  return {
    address: listener.kind === 'tcp' ? { ip: listener.address.ip, port } : undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Returns whether the connection goes on. */
async function answer(request: IncomingMessage, response: ServerResponse, parts: PageServerParts): Promise<boolean> {
  const { status, body } = await choose(request, parts);
  const isText = typeof body === 'string';
  response.statusCode = status;
  response.setHeader('content-type', isText ? 'text/plain; charset=utf-8' : 'application/json');
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-content-type-options', 'nosniff');
  response.setHeader('content-security-policy', "default-src 'none'");
  if (status === 405) response.setHeader('allow', allowedAt(pathOf(request), parts).join(', '));
  const isPage = pageStatuses.has(status);
  if (!isPage) {
    // What follows a refused request may be a body that nobody reads.
    response.setHeader('connection', 'close');
    response.once('finish', () => request.socket.destroySoon());
  }
  response.end(isText ? body : `${JSON.stringify(body, undefined, 2)}\n`);
  return isPage;
}

/** Those of pages; all others are refusals. */
const pageStatuses: ReadonlySet<number> = new Set([200, 202, 503]);

const pathOf = ({ url = '' }: IncomingMessage) => url.split('?', 1).join('');

/** Methods; empty where there is nothing. */
function allowedAt(path: string, { pages, actions = {} }: PageServerParts): readonly string[] {
  return [...(Object.hasOwn(pages, path) ? ['GET', 'HEAD'] : []), ...(Object.hasOwn(actions, path) ? ['POST'] : [])];
}

async function choose(request: IncomingMessage, parts: PageServerParts): Promise<Page> {
  const { pages, actions = {}, refuse, log } = parts;
  const { method = '', url = '' } = request;
  const path = pathOf(request);
  const refused = refuse?.(request);
  if (refused !== undefined) return { status: 403, body: `${refused}\n` };
  const allowed = allowedAt(path, parts);
  if (allowed.length === 0) {
    const known = [...new Set([...Object.keys(pages), ...Object.keys(actions)])];
    return { status: 404, body: `There is no such page, expected one of ${known.join(', ')}\n` };
  }
  const handler = (method === 'POST' ? actions : pages)[path];
  if (handler === undefined || !allowed.includes(method))
    return { status: 405, body: `Expected ${allowed.join(', ')} here\n` };
  if (hasBody(request)) return { status: 413, body: 'A page takes no body\n' };
  try {
    return await handler({ query: new URLSearchParams(url.slice(path.length + 1)) });
  } catch (error) {
    log.error({ path, detail: messageOf(error) }, 'Page failed');
    return { status: 500, body: 'The page could not be made; the log says why\n' };
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0;
}

const statusOfParser: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

function refuseMalformed(error: Error, socket: Socket): void {
  if (!socket.writable) return void socket.destroy();
  const status = statusOfParser[codeOf(error)] ?? '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () => socket.destroy());
}

async function bind(server: Server, listener: PageListener): Promise<void> {
  if (listener.kind === 'unix') await removeStaleSocket(listener.path);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const name = listener.kind === 'unix' ? listener.path : formatAddress(listener.address);
  server.once('error', (error) => reject(bindError(name, error)));
  const onListening = () => {
    server.removeAllListeners('error');
    resolve();
  };
  if (listener.kind === 'unix') server.listen(listener.path, onListening);
  // `ipv6Only`, because the IPv4 side has a listener of its own.
  else server.listen({ host: listener.address.ip, port: listener.address.port, ipv6Only: true }, onListening);
  await promise;
  if (listener.kind === 'unix') await chmod(listener.path, 0o600);
}

/** A socket that nobody listens on was left by a process that was killed. Anything but a socket stays where it is. */
async function removeStaleSocket(path: string): Promise<void> {
  const isSocket = await lstat(path).then(
    (found) => found.isSocket(),
    () => false,
  );
  if (isSocket && !(await isListenedOn(path))) await unlink(path).catch(() => undefined);
}

function isListenedOn(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path, () => resolve(true));
  socket.once('error', (error) => resolve(codeOf(error) !== 'ECONNREFUSED'));
  return promise.finally(() => socket.destroy());
}
