import { Counter, Gauge, Registry } from 'prom-client';

/** Values that are read when a scrape asks for them. */
export interface ControlPlaneFacts {
  readonly rootNotAfterMs: number;
  openStreams(): number;
}

/** The families of the control plane. */
export interface ControlPlaneMetrics {
  /** Counts a request for a certificate; `result` is `issued` or the reason of the refusal, from a closed list. */
  certificateRequested(result: string): void;
  /** The whole page, in Prometheus text format 0.0.4. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** `results` is the closed list of results; each begins at zero, so that a first failure is a rise. */
export function createControlPlaneMetrics(results: readonly string[], facts: ControlPlaneFacts): ControlPlaneMetrics {
  const registry = new Registry();
  const registers = [registry];
  const requested = new Counter({
    name: 'remora_ca_certificates_issued_total',
    help: 'Requests for a workload certificate, by result',
    labelNames: ['result'],
    registers,
  });
  for (const result of results) requested.inc({ result }, 0);
  new Gauge({
    name: 'remora_ca_root_not_after_timestamp_seconds',
    help: 'End of the root certificate',
    registers,
    collect() {
      this.set(facts.rootNotAfterMs / 1000);
    },
  });
  new Gauge({
    name: 'remora_ca_streams_open',
    help: 'Streams of sidecars that are open',
    registers,
    collect() {
      this.set(facts.openStreams());
    },
  });
  return {
    certificateRequested: (result) => requested.inc({ result }),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
