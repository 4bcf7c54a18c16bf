import { controlPlaneFamilies } from './control-plane-families.ts';
import type { DeclaredMetrics } from './declared.ts';
import { declareMetrics } from './declared.ts';
import type { MetricsText } from './shared-page.ts';

/** Values that are read when a scrape asks for them. */
export interface ControlPlaneFacts {
  /** Of the root that issues. */
  rootNotAfterMs(): number;
  /** How many are trusted: more than one during a rotation. */
  roots(): number;
  openStreams(): number;
  /** Objects of policy in the registry. */
  policies(): { readonly accepted: number; readonly invalid: number; readonly skipped: number };
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
export interface ControlPlaneMetrics extends MetricsText {
  /** Counts a request for a certificate; `result` is `issued` or the reason of the refusal, from a closed list. */
  certificateRequested(result: string): void;
  /** Counts a request of the webhook and how long its answer took, its body included; `result` is from a closed list. */
  admissionDecided(result: string, seconds: number): void;
  /** The event loop ran something so much later than it was due. */
  eventLoopLagged(lagSeconds: number): void;
}

/** The closed lists of results; each result begins at zero, so that a first failure is a rise. */
export interface ControlPlaneResults {
  readonly certificates: readonly string[];
  /** Empty without a webhook. */
  readonly admissions: readonly string[];
}

export function createControlPlaneMetrics(results: ControlPlaneResults, facts: ControlPlaneFacts): ControlPlaneMetrics {
  const metrics = declareMetrics(controlPlaneFamilies);
  const requested = metrics.counter('remora_ca_certificates_issued_total');
  for (const result of results.certificates) requested.inc({ result }, 0);
  const admissions = metrics.counter('remora_injector_requests_total');
  for (const result of results.admissions) admissions.inc({ result }, 0);
  const admissionDuration = metrics.histogram('remora_injector_duration_seconds');
  const eventLoopLag = metrics.histogram('remora_event_loop_lag_seconds');
  metrics.readAtScrape('remora_ca_root_not_after_timestamp_seconds', (set) => set({}, facts.rootNotAfterMs() / 1000));
  metrics.readAtScrape('remora_ca_roots', (set) => set({}, facts.roots()));
  metrics.readAtScrape('remora_ca_streams_open', (set) => set({}, facts.openStreams()));
  metrics.readAtScrape('remora_policy_objects', (set) => {
    for (const [state, count] of Object.entries(facts.policies())) set({ state }, count);
  });
  readRevocations(metrics, facts);
  return {
    certificateRequested: (result) => requested.inc({ result }),
    admissionDecided(result, seconds) {
      admissions.inc({ result });
      admissionDuration.observe(seconds);
    },
    eventLoopLagged: (lagSeconds) => eventLoopLag.observe(lagSeconds),
    text: metrics.text,
  };
}

function readRevocations(
  metrics: DeclaredMetrics<typeof controlPlaneFamilies>,
  { revocations }: ControlPlaneFacts,
): void {
  metrics.readAtScrape('remora_ca_revocations', (set) => {
    const { certificates, identities } = revocations();
    set({ kind: 'certificate' }, certificates);
    set({ kind: 'identity' }, identities);
  });
  metrics.readAtScrape('remora_ca_revocations_unknown', (set) => set({}, revocations().isUnknown ? 1 : 0));
  metrics.readAtScrape('remora_ca_crl_next_update_timestamp_seconds', (set) => {
    for (const { file, nextUpdateMs } of revocations().crls)
      if (nextUpdateMs !== undefined) set({ file }, nextUpdateMs / 1000);
  });
  metrics.readAtScrape('remora_ca_crl_stale', (set) => {
    for (const { file, isStale } of revocations().crls) set({ file }, isStale ? 1 : 0);
  });
}
