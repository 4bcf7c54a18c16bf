import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { Address } from '../addresses.ts';
import type { Clock } from '../clock.ts';
import type { ListenAddress } from './listen.ts';
import { listen } from './listen.ts';
import type { ServingCertificate } from './serving-certificate.ts';

/** What one client, or all together, may take of the server; times in milliseconds. */
export const apiLimits = {
  connections: 4096,
  handshakeMs: 10_000,
  headersMs: 10_000,
  /** Until the whole body has arrived; a stream's reply may take as long as it likes. */
  requestMs: 20_000,
  keepAliveMs: 65_000,
  headerBytes: 16 * 1024,
  /** After `close`, before what is still open is cut. */
  drainMs: 5_000,
} as const;

export interface ApiServer {
  readonly address: Address;
  /** No new connection; resolves when the requests under way have ended, or were cut after the drain deadline. Idempotent. */
  close(): Promise<void>;
}

export type ApiLimits = Readonly<Record<keyof typeof apiLimits, number>>;

/** HTTPS, TLS 1.3 only. Throws `FailureError` or `PermissionError` when the address cannot be bound. */
export async function startApiServer(
  {
    clock,
    serving,
    api,
  }: { readonly clock: Clock; readonly serving: ServingCertificate; readonly api: RequestListener },
  address: ListenAddress,
  limits: ApiLimits = apiLimits,
): Promise<ApiServer> {
  const tlsOptions = { minVersion: 'TLSv1.3' } as const satisfies SecureContextOptions;
  const server = createServer(
    {
      ...tlsOptions,
      ...serving.current,
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: limits.handshakeMs,
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.keepAliveMs,
      maxHeaderSize: limits.headerBytes,
      connectionsCheckingInterval: Math.min(1_000, limits.headersMs),
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    },
    api,
  );
  server.maxConnections = limits.connections;
  // Also those that have not finished their handshake: HTTP knows nothing of them.
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
  });
  let closing: Promise<void> | undefined;
  // A connection that was busy when the server closed would otherwise be kept for a next request.
  server.on('request', (request, response) => {
    response.once('finish', () => {
      if (closing !== undefined) request.socket.end();
    });
  });
  serving.onRenewal((pair) => server.setSecureContext({ ...tlsOptions, ...pair }));

  const bound = await listen(server, address);
  const close = async () => {
    const cut = clock.after(limits.drainMs, () => {
      for (const socket of sockets) socket.destroy();
    });
    await new Promise<void>((resolve) => server.close(() => resolve()));
    cut.cancel();
  };
  return {
    address: bound,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
