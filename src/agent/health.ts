import type { Address } from '../addresses.ts';
import type { Readiness } from '../lifecycle.ts';
import type { Page, PageServer, PageServerParts } from './page-server.ts';
import { startPageServer } from './page-server.ts';

export interface HealthParts extends Pick<PageServerParts, 'log' | 'places'> {
  readonly readiness: Pick<Readiness, 'closed'>;
}

/**
 * Serves `/healthz/ready` (200, or 503 with each closed gate in plain words) and `/livez` (200 as long as the process
 * answers at all). Throws `FailureError` or `PermissionError`, naming the address.
 */
export function startHealthServer(address: Address, { readiness, log, places }: HealthParts): Promise<PageServer> {
  return startPageServer(
    { kind: 'tcp', address },
    {
      log,
      places,
      pages: { '/healthz/ready': () => readyPage(readiness), '/livez': () => ({ status: 200, body: 'live\n' }) },
    },
  );
}

/** The same words as the admin page shows. */
export function readyPage(readiness: Pick<Readiness, 'closed'>): Page {
  const closed = [...readiness.closed()];
  if (closed.length === 0) return { status: 200, body: 'ready\n' };
  return { status: 503, body: closed.map(([gate, why]) => `${gate}: ${why}\n`).join('') };
}
