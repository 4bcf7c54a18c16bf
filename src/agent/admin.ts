import type { IncomingMessage } from 'node:http';
import type { ShownFailure } from '../admin-api.ts';
import { adminPaths } from '../admin-api.ts';
import type { Clock } from '../clock.ts';
import type { Identity } from '../identity/identity.ts';
import type { Revocations } from '../identity/revocations.ts';
import type { Readiness } from '../lifecycle.ts';
import { certificatesPageOf } from './certificates-page.ts';
import { readyPage } from './health.ts';
import type { RenewalState } from './identity-sources/source.ts';
import type { Page, PageListener, PageServer, PageServerParts } from './page-server.ts';
import { startPageServer } from './page-server.ts';
import type { PeerCounts } from './root-use.ts';

export interface AdminParts extends Pick<PageServerParts, 'log' | 'places'> {
  readonly clock: Clock;
  readonly readiness: Pick<Readiness, 'closed'>;
  /** Undefined before the first identity. */
  identity(): { readonly current: Identity; readonly renewal: RenewalState } | undefined;
  readonly peers: PeerCounts;
  readonly revocations: { current(): Revocations };
  /** The connections that are carried now, as they are to be shown. */
  connections(): readonly object[];
  /** Connections that failed lately, the latest first. */
  readonly failures: { all(): readonly ShownFailure[]; find(id: string): ShownFailure | undefined };
}

export type AdminServer = PageServer;

/**
 * Serves the admin pages, which change nothing and show no key, to whoever is on this host: a request that a browser
 * makes for another site is refused by its Host and Origin. Throws `FailureError` or `PermissionError`.
 */
export function startAdminServer(listener: PageListener, parts: AdminParts): Promise<AdminServer> {
  const { log, places, readiness, connections, failures } = parts;
  return startPageServer(listener, {
    log,
    places,
    refuse: refuseForeign,
    pages: {
      [adminPaths.certificates]: () => certificatesReply(parts.identity(), parts),
      [adminPaths.ready]: () => readyPage(readiness),
      [adminPaths.handshakes]: () => ({
        status: 200,
        body: { handshakes: failures.all().filter(({ outcome }) => outcome === 'handshake') },
      }),
      [adminPaths.connections]: () => ({ status: 200, body: { connections: connections() } }),
    },
  });
}

const localHost = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

/** DNS rebinding gives a foreign name our address, but it cannot change the Host that the browser sends. */
function refuseForeign({ headers, headersDistinct }: IncomingMessage): string | undefined {
  // All of them: `headers` would show the first of two.
  if (!localHost.test(headersDistinct.host?.join() ?? '')) {
    return 'The Host header is not localhost, 127.0.0.1 or [::1]';
  }
  const { origin } = headers;
  if (origin !== undefined && !(origin.startsWith('http://') && localHost.test(origin.slice('http://'.length)))) {
    return 'The request comes from a page of another site';
  }
  return headers['sec-fetch-site'] === 'cross-site' ? 'The request comes from a page of another site' : undefined;
}

function certificatesReply(held: ReturnType<AdminParts['identity']>, parts: AdminParts): Page {
  if (held === undefined) return { status: 503, body: 'There is no certificate yet\n' };
  const { clock, peers, revocations } = parts;
  return {
    status: 200,
    body: certificatesPageOf({ ...held, peers, revocations: revocations.current(), nowMs: clock.now() }),
  };
}
