import { readMetricsPage, sampleValue, sumOf, sumsBy } from './metrics-page.ts';

/** What one sidecar says of itself on its metrics page. */
export interface SidecarFacts {
  /** Handshakes that it began and that it accepted, both with a verified peer, and those that failed at its end. */
  readonly handshakes: { readonly begun: number; readonly accepted: number; readonly failed: number };
  readonly connections: { readonly total: number; readonly open: number };
  /** New certificates after the first. */
  readonly renewals: number;
  /** Wall time; undefined before the first certificate. */
  readonly certificateEndsMs: number | undefined;
  /** How often it refused, by reason: handshakes that failed and connections that it denied. */
  readonly refusals: Readonly<Record<string, number>>;
}

/** What a sidecar's metrics page says. */
export function sidecarFacts(page: string): SidecarFacts {
  const samples = readMetricsPage(page);
  const handshakes = 'remora_tls_handshakes_total';
  const certificates = sumOf(samples, 'remora_certificate_renewals_total', { result: 'success' });
  const endsSeconds = sampleValue(samples, 'remora_certificate_not_after_timestamp_seconds', { kind: 'workload' });
  return {
    handshakes: {
      begun: sumOf(samples, handshakes, { direction: 'outbound', result: 'success' }),
      accepted: sumOf(samples, handshakes, { direction: 'inbound', result: 'success' }),
      failed: sumOf(samples, handshakes, { result: 'failure' }),
    },
    connections: { total: sumOf(samples, 'remora_connections_total'), open: sumOf(samples, 'remora_connections_open') },
    renewals: Math.max(0, certificates - 1),
    certificateEndsMs: endsSeconds === undefined ? undefined : endsSeconds * 1000,
    refusals: addCounts([
      sumsBy(samples, handshakes, 'reason', { result: 'failure' }),
      sumsBy(samples, 'remora_connections_denied_total', 'reason'),
    ]),
  };
}

/** Adds up counts by name. */
export function addCounts(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const counts of all) {
    for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count;
  }
  return sums;
}
