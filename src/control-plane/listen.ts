import type { Server } from 'node:net';
import type { Address } from '../addresses.ts';
import { formatAddress } from '../addresses.ts';
import { bindError } from '../bind-error.ts';

/** Where a server listens; without `ip` on every address of both families. Port 0 takes a free one. */
export interface ListenAddress {
  readonly ip?: string | undefined;
  readonly port: number;
}

/** Binds, and resolves with the address that was bound. Throws `FailureError` or `PermissionError` naming it. */
export async function listen(server: Server, { ip, port }: ListenAddress): Promise<Address> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ ...(ip !== undefined && { host: ip }), port, backlog: 1024 }, resolve);
  try {
    await promise;
  } catch (error) {
    throw bindError(formatAddress({ ip: ip ?? '*', port }), error);
  } finally {
    server.off('error', reject);
  }
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new TypeError('a TCP server has an address');
  return { ip: bound.address, port: bound.port };
}
