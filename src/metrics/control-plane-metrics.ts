import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { eventLoopLag } from './event-loop.ts';

/** Values that are read when a scrape asks for them. */
export interface ControlPlaneFacts {
  /** Of the root that issues. */
  rootNotAfterMs(): number;
  /** How many are trusted: more than one during a rotation. */
  roots(): number;
  openStreams(): number;
  /** What is revoked, those of CRLs included, and each CRL by the name of its file. */
  revocations(): {
    readonly certificates: number;
    readonly identities: number;
    readonly isUnknown: boolean;
    readonly crls: readonly {
      readonly file: string;
      readonly nextUpdateMs?: number | undefined;
      readonly isStale: boolean;
    }[];
  };
}

/** The families of the control plane. */
export interface ControlPlaneMetrics {
  /** Counts a request for a certificate; `result` is `issued` or the reason of the refusal, from a closed list. */
  certificateRequested(result: string): void;
  /** Counts a request of the webhook and how long its answer took, its body included; `result` is from a closed list. */
  admissionDecided(result: string, seconds: number): void;
  /** The event loop ran something so much later than it was due. */
  eventLoopLagged(lagSeconds: number): void;
  /** The whole page, in Prometheus text format 0.0.4. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** The closed lists of results; each result begins at zero, so that a first failure is a rise. */
export interface ControlPlaneResults {
  readonly certificates: readonly string[];
  /** Empty without a webhook. */
  readonly admissions: readonly string[];
}

export function createControlPlaneMetrics(results: ControlPlaneResults, facts: ControlPlaneFacts): ControlPlaneMetrics {
  const registry = new Registry();
  const registers = [registry];
  const requested = new Counter({
    name: 'remora_ca_certificates_issued_total',
    help: 'Requests for a workload certificate, by result',
    labelNames: ['result'],
    registers,
  });
  for (const result of results.certificates) requested.inc({ result }, 0);
  const admissions = new Counter({
    name: 'remora_injector_requests_total',
    help: 'Requests of API servers to the webhook, by result',
    labelNames: ['result'],
    registers,
  });
  for (const result of results.admissions) admissions.inc({ result }, 0);
  const admissionDuration = new Histogram({
    name: 'remora_injector_duration_seconds',
    help: 'Time from the headers of a request to its answer',
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
    registers,
  });
  new Gauge({
    name: 'remora_ca_root_not_after_timestamp_seconds',
    help: 'End of the root certificate that issues',
    registers,
    collect() {
      this.set(facts.rootNotAfterMs() / 1000);
    },
  });
  new Gauge({
    name: 'remora_ca_roots',
    help: 'Root certificates of the trust domain that are trusted; two during a rotation',
    registers,
    collect() {
      this.set(facts.roots());
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
  revocationGauges(facts, registers);
  return {
    certificateRequested: (result) => requested.inc({ result }),
    admissionDecided(result, seconds) {
      admissions.inc({ result });
      admissionDuration.observe(seconds);
    },
    eventLoopLagged: eventLoopLag(registry),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

/** Files are those of the command line: a closed list. */
function revocationGauges({ revocations }: ControlPlaneFacts, registers: readonly Registry[]): void {
  const shared = { registers: [...registers] };
  new Gauge({
    name: 'remora_ca_revocations',
    help: 'Certificates and identities that sidecars are told are revoked',
    labelNames: ['kind'],
    ...shared,
    collect() {
      const { certificates, identities } = revocations();
      this.set({ kind: 'certificate' }, certificates);
      this.set({ kind: 'identity' }, identities);
    },
  });
  new Gauge({
    name: 'remora_ca_revocations_unknown',
    help: '1 while sidecars are told to trust nobody new, because it is not known who is revoked',
    ...shared,
    collect() {
      this.set(revocations().isUnknown ? 1 : 0);
    },
  });
  new Gauge({
    name: 'remora_ca_crl_next_update_timestamp_seconds',
    help: 'When a newer CRL is due, by file; absent while none is in force that says so',
    labelNames: ['file'],
    ...shared,
    collect() {
      this.reset();
      for (const { file, nextUpdateMs } of revocations().crls)
        if (nextUpdateMs !== undefined) this.set({ file }, nextUpdateMs / 1000);
    },
  });
  new Gauge({
    name: 'remora_ca_crl_stale',
    help: '1 while a file of CRLs is missing, cannot be used or is out of date',
    labelNames: ['file'],
    ...shared,
    collect() {
      for (const { file, isStale } of revocations().crls) this.set({ file }, isStale ? 1 : 0);
    },
  });
}
