import { chmod, mkdtemp, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:net';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import type { Clock } from '../clock.ts';
import { ConfigurationError, FailureError } from '../errors.ts';
import type { Log } from '../log.ts';
import { writeError } from './atomic-file.ts';
import type { Route } from './router.ts';
import { createRouter } from './router.ts';

/** The admin API of the control plane: plain HTTP over a unix socket, for whoever may write to the file. */
export interface AdminServer {
  /** At once, and the file is gone. */
  close(): Promise<void>;
}

/** What one client, or all together, may take; times in milliseconds. */
const limits = { connections: 16, headersMs: 5_000, requestMs: 10_000, keepAliveMs: 5_000 } as const;

/** `sun_path` of unix(7), without its final NUL. */
const maxSocketPathBytes = 107;

/** Throws `FailureError` when somebody answers at `path`: two control planes with one state would write over each other. */
export async function refuseSecond(path: string): Promise<void> {
  if (await isAnswered(path))
    throw new FailureError(`A control plane that runs already has ${path}, expected one for each state directory`);
}

/**
 * Answers at `path`, a socket that only this user may use; takes the place of one that a killed process left behind. Throws
 * `ConfigurationError` for a path that is too long for a socket, and as writing does.
 */
export async function startAdminServer(
  parts: { readonly clock: Clock; readonly log: Log },
  routes: ReadonlyMap<string, Route>,
  path: string,
): Promise<AdminServer> {
  const server = createServer(
    {
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: 1_000,
    },
    createRouter(parts, routes),
  );
  server.maxConnections = limits.connections;
  await bindPrivately(server, path);
  return {
    async close() {
      await rm(path, { force: true });
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

/** In a folder that nobody else may enter, and put in its place when its mode is right: the umask is not ours to change. */
async function bindPrivately(server: Server, path: string): Promise<void> {
  const prefix = join(dirname(path), '.admin-');
  // mkdtemp(3) adds six characters.
  const spareBytes = maxSocketPathBytes - Math.max(Buffer.byteLength(path), Buffer.byteLength(`${prefix}123456/s`));
  if (spareBytes < 0)
    throw new ConfigurationError(
      `${path} is ${-spareBytes} bytes too long for a socket, expected a place of it with --admin-socket`,
    );
  let folder: string | undefined;
  try {
    folder = await mkdtemp(prefix);
    const draft = join(folder, 's');
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject).listen(draft, resolve);
    await promise.finally(() => server.off('error', reject));
    await chmod(draft, 0o600);
    await rename(draft, path);
  } catch (error) {
    server.close();
    throw writeError(path, error);
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}

function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
