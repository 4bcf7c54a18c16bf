import type { X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { CertificatesPage, ShownCertificate } from '../admin-api.ts';
import { adminPaths } from '../admin-api.ts';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { Identity } from '../identity/identity.ts';
import type { Readiness } from '../lifecycle.ts';
import { renewalReasons } from '../outcomes.ts';
import { readyPage } from './health.ts';
import type { RenewalState } from './identity-sources/source.ts';
import type { Page, PageListener, PageServer, PageServerParts } from './page-server.ts';
import { startPageServer } from './page-server.ts';

export interface AdminParts extends Pick<PageServerParts, 'log' | 'places'> {
  readonly clock: Clock;
  readonly readiness: Pick<Readiness, 'closed'>;
  /** Undefined before the first identity. */
  identity(): { readonly current: Identity; readonly renewal: RenewalState } | undefined;
  /** The connections that are carried now, as they are to be shown. */
  connections(): readonly object[];
}

export type AdminServer = PageServer;

/**
 * Serves the admin pages, which change nothing and show no key, to whoever is on this host: a request that a browser
 * makes for another site is refused by its Host and Origin. Throws `FailureError` or `PermissionError`.
 */
export function startAdminServer(listener: PageListener, parts: AdminParts): Promise<AdminServer> {
  const { clock, log, places, readiness, identity, connections } = parts;
  return startPageServer(listener, {
    log,
    places,
    refuse: refuseForeign,
    pages: {
      [adminPaths.certificates]: () => certificatesReply(identity(), clock.now()),
      [adminPaths.ready]: () => readyPage(readiness),
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

function certificatesReply(held: ReturnType<AdminParts['identity']>, nowMs: number): Page {
  if (held === undefined) return { status: 503, body: 'There is no certificate yet\n' };
  return { status: 200, body: certificatesPageOf(held.current, held.renewal, nowMs) };
}

function certificatesPageOf(identity: Identity, renewal: RenewalState, nowMs: number): CertificatesPage {
  const { nextAttemptMs, lastFailure, clockSkewMs } = renewal;
  const domains = [...identity.bundles.domains];
  return {
    spiffeId: identity.spiffeId.uri,
    generation: identity.generation,
    isExpired: identity.notAfterMs <= nowMs,
    notBefore: timestamp(identity.notBeforeMs),
    notAfter: timestamp(identity.notAfterMs),
    chain: identity.chain.map(shown),
    nextRenewal: nextAttemptMs === undefined ? null : timestamp(nextAttemptMs),
    lastFailure: lastFailure === undefined ? null : shownFailure(lastFailure),
    clockSkewSeconds: clockSkewMs === undefined ? null : clockSkewMs / 1000,
    trustBundles: Object.fromEntries(
      domains.map(([domain, anchors]) => [domain, anchors.map(({ certificate }) => shown(certificate))]),
    ),
  };
}

function shownFailure({
  reason,
  message,
  atMs,
}: NonNullable<RenewalState['lastFailure']>): CertificatesPage['lastFailure'] {
  return { reason, ...renewalReasons[reason], message, at: timestamp(atMs) };
}

function shown(certificate: X509Certificate): ShownCertificate {
  return {
    subject: certificate.subject ?? '',
    issuer: certificate.issuer ?? '',
    serial: certificate.serialNumber,
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    pem: certificate.toString(),
  };
}
