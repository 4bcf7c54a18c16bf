import type { Families } from './family.ts';
import { closed, given } from './family.ts';
import { processFamilies } from './process-families.ts';

const file = given('the files of `--crl`');

/** Every family on 15014 of the control plane. */
export const controlPlaneFamilies = {
  remora_ca_certificates_issued_total: {
    type: 'counter',
    help: 'Requests for a workload certificate, by result',
    labels: {
      result: closed(
        'issued',
        'token_missing',
        'token_invalid',
        'token_expired',
        'token_audience',
        'token_not_bound',
        'identity_revoked',
        'aborted',
        'bad_json',
        'bad_request',
        'csr_invalid',
        'not_found',
        'method_not_allowed',
        'too_large',
        'reply_too_large',
        'unsupported_media_type',
        'too_many_requests',
        'too_many_streams',
        'internal',
        'authority_expired',
        'stopping',
      ),
    },
  },
  remora_injector_requests_total: {
    type: 'counter',
    help: 'Requests of API servers to the webhook, by result',
    labels: { result: closed('injected', 'skipped', 'refused', 'failed') },
    absent: 'without a webhook',
  },
  remora_injector_duration_seconds: {
    type: 'histogram',
    help: 'Time from the headers of a request to its answer',
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
  },
  remora_ca_root_not_after_timestamp_seconds: { type: 'gauge', help: 'End of the root certificate that issues' },
  remora_ca_roots: {
    type: 'gauge',
    help: 'Root certificates of the trust domain that are trusted; two during a rotation',
  },
  remora_ca_streams_open: { type: 'gauge', help: 'Streams of sidecars that are open' },
  remora_ca_revocations: {
    type: 'gauge',
    help: 'Certificates and identities that sidecars are told are revoked',
    labels: { kind: closed('certificate', 'identity') },
  },
  remora_ca_revocations_unknown: {
    type: 'gauge',
    help: '1 while sidecars are told to trust nobody new, because it is not known who is revoked',
  },
  remora_ca_crl_next_update_timestamp_seconds: {
    type: 'gauge',
    help: 'When a newer CRL is due, by file; absent while none is in force that says so',
    labels: { file },
    absent: 'for a file while no CRL of it is in force that says when',
  },
  remora_ca_crl_stale: {
    type: 'gauge',
    help: '1 while a file of CRLs is missing, cannot be used or is out of date',
    labels: { file },
    absent: 'without files of CRLs',
  },
  remora_policy_objects: {
    type: 'gauge',
    help: 'PeerAuthentications and AuthorizationPolicies of the registry: an invalid one makes its scope STRICT or denies everything, a skipped one is for no workload',
    labels: { state: closed('accepted', 'invalid', 'skipped') },
  },
  ...processFamilies,
} as const satisfies Families;
